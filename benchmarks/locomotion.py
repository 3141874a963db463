"""A legged robot on ground that it never saw, and what its policy is worth in other worlds.

    python -m benchmarks.locomotion --out outputs/locomotion

Three policies learn by PPO, each in so many steps: on flat ground, on rough ground, and on rough
ground with a robot that varies. They, and a robot that stands still, are measured on the same 100
unseen grounds, in worlds that are as in training and in worlds that are not. Writes
docs/benchmarks/locomotion.md and its film.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from benchmarks.learnt_worlds import Episodes, learnt, measured, successes, what_learnt
from eyehand.envs.rough_ground import (
    ENOUGH,
    LEG,
    REPEAT,
    SCAN,
    TIMESTEP,
    RoughGround,
    RoughGroundConfig,
    ant,
)
from eyehand.files import replace_text
from eyehand.functional.start_seed import start_seed
from eyehand.rl.experience import Act
from eyehand.rl.ppo import PPOConfig
from eyehand.runs.environment_run import MEASURED_FROM, EnvironmentRun, load_environment_policy

# isort: split
import mujoco  # after what chooses its library

DOCS = Path(__file__).parents[1] / "docs"
PAGE, FILM = DOCS / "benchmarks" / "locomotion.md", DOCS / "images" / "walker.webp"
FIRST, EPISODES = 2_100_000, 100
"""First seed of the grounds that are measured, and how many there are."""
STEPS, ROBOTS = 6_000_000, 64
PPO = PPOConfig(steps=32, epochs=5, minibatch=512, learning_rate=3e-4, normalize_observations=True)
ROUGH = RoughGroundConfig()
TRAININGS = {
    "rough": ROUGH,
    "flat": replace(ROUGH, roughness=0.0),
    "rough, varied robot": replace(ROUGH, randomize=True),
}
"""Name of a policy to the world it learns in."""
MEASURED = replace(ROUGH, speed=(0.5, 0.5))


def shifted(**changed: Any) -> RoughGroundConfig:
    """Return rough ground with a robot that is another one, always alike."""
    one = (1.0, 1.0)
    robot: dict[str, Any] = {"friction": one, "mass": one, "strength": one, "delay": (0, 0)}
    return replace(MEASURED, randomize=True, **(robot | changed))


WORLDS = {
    "flat": replace(MEASURED, roughness=0.0),
    "rough": MEASURED,
    "rougher (35 %)": replace(MEASURED, roughness=0.35),
    "slippery (friction 0.4)": shifted(friction=(0.4, 0.4)),
    "heavy (1.5 times)": shifted(mass=(1.5, 1.5)),
    "weak motors (0.5 times)": shifted(strength=(0.5, 0.5)),
    "late motors (2 actions, 80 ms)": shifted(delay=(2, 2)),
}
"""Name of a world to its config; all after the second are outside of what the policies saw."""


def stand_still(observation: Tensor) -> Tensor:
    """Return the action that holds the stance."""
    return torch.zeros(len(observation), 8)


def film(act: Act, file: Path, *, seed: int) -> None:
    """Write one episode as a picture that moves: every other step, at the robot's own speed."""
    shown = [Image.fromarray(one) for one in pictures(act, RoughGround(MEASURED, 1), seed)][::2]
    duration = round(2000 * TIMESTEP * REPEAT)
    shown[0].save(file, save_all=True, append_images=shown[1:], duration=duration, quality=40)


def pictures(act: Act, world: RoughGround, seed: int) -> Iterator[UInt8[np.ndarray, "y x 3"]]:
    """Yield a picture of every step of an episode."""
    seen, over, renderer = world.begin(0, seed)[None], False, None
    while not over:
        model, data = world.picture(0)
        renderer = renderer or mujoco.Renderer(model, 240, 360)
        camera = mujoco.MjvCamera()
        camera.lookat, camera.distance = data.qpos[:3], 4.5
        camera.azimuth, camera.elevation = 60, -25
        renderer.update_scene(data, camera)
        yield renderer.render()
        with torch.no_grad():
            action = act(torch.from_numpy(seen))
        seen, _, terminated, truncated = world.step(action)
        over = bool(terminated[0] or truncated[0])


def page(found: Mapping[str, Mapping[str, Episodes]], learning: str) -> str:
    """Return the page.

    Args:
        found: Name of a policy to its episodes in every world.
        learning: What learnt, and how long.
    """
    names = list(found)
    table = "\n".join(
        f"| {title} | " + " | ".join(successes(found[name][title]) for name in names) + " |"
        for title in WORLDS
    )
    distances = "\n".join(
        f"| {title} | "
        + " | ".join(f"{np.mean([one['share'] for one in found[n][title]]):.2f}" for n in names)
        + " |"
        for title in WORLDS
    )
    head = f"| world | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}"
    settings = ", ".join(f"{name} {value}" for name, value in asdict(PPO).items())
    weight, first_learnt = ant().body_mass.sum(), start_seed("ppo", 0) % MEASURED_FROM // 2
    return f"""# A legged robot on ground it never saw

<!-- Written by `python -m benchmarks.locomotion`. -->

![The robot walks over bumps and hollows](../images/walker.webp)

Gymnasium's Ant ({weight:.0f} kg here, motors that hold angles) is told a direction and a speed of
{MEASURED.speed[0]} m/s for {MEASURED.seconds:.0f} seconds. The ground rises and falls by
{100 * ROUGH.roughness:.0f} % of a leg ({ROUGH.roughness * LEG:.2f} m) within a metre, on average
over the ground. An episode is a success if the robot comes {100 * ENOUGH:.0f} % of the wanted
distance or more in the wanted direction, and its torso never touches the ground. Successes of
{EPISODES} grounds (seeds {FIRST:,} to {FIRST + EPISODES - 1:,}, looked at once; the seeds of
learning begin at {first_learnt:,}), with the 95 % interval by Wilson; one training each:

{head}
{table}

The mean share of the wanted distance:

{head}
{distances}

What learnt, and how long:

{learning}

The varied robot has in every episode another friction ({ROUGH.friction[0]} to
{ROUGH.friction[1]}), mass ({ROUGH.mass[0]} to {ROUGH.mass[1]} times), strength of the motors
({ROUGH.strength[0]} to {ROUGH.strength[1]} times) and delay ({ROUGH.delay[0]} to {ROUGH.delay[1]}
actions of {1000 * TIMESTEP * REPEAT:.0f} ms). The last four worlds lie outside of these ranges.
Wanted speeds are {ROUGH.speed[0]} to {ROUGH.speed[1]} m/s in learning, in any direction; roughness
begins at 0 and grows for every place of a robot with its success. The policy feels the ground's
height at {len(SCAN)} places around it, without noise. Minutes are those of a clock, with another
training on the other core.

PPO: {settings}; {ROBOTS} robots.

```bash
python -m benchmarks.locomotion --out outputs/locomotion
```
"""


def main() -> None:
    """Learn and measure what is not kept yet, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    run = EnvironmentRun(environment="rough-ground", steps=STEPS, environments=ROBOTS)
    folders = {
        name: learnt(name, run, PPO, world, out=wanted.out) for name, world in TRAININGS.items()
    }
    acts: dict[str, Act] = {"stands still": stand_still}
    acts |= {name: load_environment_policy(folder) for name, folder in folders.items()}
    seeds = range(FIRST, FIRST + EPISODES)
    found = {
        name: measured(name, act, WORLDS, RoughGround, seeds=seeds, out=wanted.out)
        for name, act in acts.items()
    }
    film(acts["rough"], FILM, seed=FIRST)
    replace_text(PAGE, page(found, what_learnt(folders)))


if __name__ == "__main__":
    main()
