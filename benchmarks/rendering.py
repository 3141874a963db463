"""Frames/s of our renderer over ``env.render()`` of Meta-World: same scenes, same size, one core.

Run:
    python benchmarks/rendering.py [--size 96] [--tasks drawer-open,soccer,plate-slide]

Rounds of both alternate, so that what else runs on the machine slows both alike, and processor time
is counted, not time on the wall.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

# On Linux a process and the threads that the driver starts later stay on this core.
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np  # noqa: E402
from metaworld.env_dict import ALL_V3_ENVIRONMENTS  # noqa: E402

from eyehand.envs.metaworld import CAMERA, METAWORLD, MetaWorldEnv  # noqa: E402

ROUNDS = 5
FRAMES = {"meta-world": 4, "eyehand": 80}


def rate(render: Callable[[], object], frames: int) -> float:
    """Return frames for each second of processor time."""
    began = time.process_time()
    for _ in range(frames):
        render()
    return frames / (time.process_time() - began)


def measure(task: str, size: int) -> float:
    """Print both rates for one task and return their ratio."""
    theirs: Any = ALL_V3_ENVIRONMENTS[f"{task}-v3"](
        render_mode="rgb_array", camera_name=CAMERA, width=size, height=size
    )
    theirs._set_task_called = theirs.seeded_rand_vec = True
    theirs._freeze_rand_vec = False
    theirs.seed(0)
    theirs.reset()
    ours = MetaWorldEnv(task, cameras={"corner4": size})
    ours.reset(seed=0)
    rounds: dict[str, list[float]] = {"meta-world": [], "eyehand": []}
    viewer = theirs.mujoco_renderer._get_viewer("rgb_array")

    def render_theirs() -> object:
        viewer.make_context_current()  # it takes for granted that nobody else draws
        return theirs.render()

    renders = {"meta-world": render_theirs, "eyehand": ours.render}
    pictures = [render() for render in renders.values()]  # compiles the driver's shaders
    assert all(np.std(picture) > 10 for picture in pictures)
    for _ in range(ROUNDS):
        for name, render in renders.items():
            rounds[name].append(rate(render, FRAMES[name]))
    medians = {name: statistics.median(rates) for name, rates in rounds.items()}
    ratio = medians["eyehand"] / medians["meta-world"]
    print(
        f"{task}: Meta-World {medians['meta-world']:.1f} frames/s, eyehand "
        f"{medians['eyehand']:.0f} frames/s, ratio {ratio:.1f}"
    )
    theirs.close()
    ours.close()
    return ratio


def main() -> None:
    """Measure every task that was named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--tasks", default="drawer-open,soccer,plate-slide")
    arguments = parser.parse_args()
    ratios = [measure(task, arguments.size) for task in METAWORLD.select_tasks(arguments.tasks)]
    print(f"median ratio {statistics.median(ratios):.1f} at {arguments.size} px")


if __name__ == "__main__":
    main()
