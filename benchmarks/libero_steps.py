"""Control steps/s of LIBERO on one core: physics alone, and with both pictures now and then.

Run (pinned to one core, so that the OpenGL driver has no other):
    taskset -c 0 python benchmarks/libero_steps.py

The actions are the expert's, and its own time is left out.
"""

import argparse
import time

from eyehand.envs.libero import CAMERAS, LiberoEnv

TASK, SEED, STEPS = "put_the_bowl_on_the_stove", 10_000, 60
EVERY = (None, 4, 1)
"""Steps from one pair of pictures to the next; None draws none."""


def seconds(env: LiberoEnv, every: int | None) -> float:
    """Return the time of one episode's beginning, without the expert's."""
    env.reset(seed=SEED)
    spent = 0.0
    for number in range(STEPS):
        action = env.expert_action()
        began = time.perf_counter()
        env.step(action)
        if every and number % every == 0:
            env.pictures()
        spent += time.perf_counter() - began
    return spent


def robosuite_seconds(env: LiberoEnv) -> float:
    """Return the time of the same steps by robosuite's own loop, without pictures."""
    env.reset(seed=SEED)
    spent = 0.0
    for _ in range(STEPS):
        action = env.expert_action()
        began = time.perf_counter()
        env._world.step(action)
        spent += time.perf_counter() - began
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=96, help="of the pictures, pixels")
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    env = LiberoEnv(TASK, cameras=dict.fromkeys(CAMERAS, wanted.size), render_observations=False)
    seconds(env, 1)  # loads meshes, makes the renderers
    for every in EVERY:
        rates = sorted(STEPS / seconds(env, every) for _ in range(wanted.repeats))
        drawn = "no pictures" if every is None else f"both pictures at every {every}. step"
        print(f"{drawn}: {rates[len(rates) // 2]:.0f} steps/s ({rates[0]:.0f}-{rates[-1]:.0f})")
    rates = sorted(STEPS / robosuite_seconds(env) for _ in range(wanted.repeats))
    print(f"robosuite's own loop, no pictures: {rates[len(rates) // 2]:.0f} steps/s")
    env.close()


if __name__ == "__main__":
    main()
