"""One policy for all fifty tasks of Meta-World, from nothing, in about two hours on two cores.

Run:
    eyehand reproduce mt50
    eyehand reproduce mt50-corner4
    eyehand reproduce mt50-roboflamingo

What they reached, on which seeds and in how long: docs/benchmarks/mt50.md.
"""

from dataclasses import replace
from pathlib import Path

from eyehand.recipes.bcz_mt50 import bcz_mt50
from eyehand.recipes.roboflamingo_mt50 import roboflamingo_mt50
from eyehand.runs.reproduce import ReproduceConfig, Reproduction


def mt50() -> Reproduction:
    """Return the result of BC-Z."""
    stages = ReproduceConfig(
        out=Path("outputs/mt50"),
        suite="metaworld",
        tasks="all",
        cameras=("work_area",),
        perturbation=0.4,
        demonstrations=50,
        corrections=50,
        minutes=(40.0, 50.0),
    )
    return Reproduction(stages, bcz_mt50())


def mt50_corner4() -> Reproduction:
    """Return BC-Z's before corrections with the whole picture of Meta-World's camera corner4.

    The camera `work_area` is a crop of it, chosen with knowledge of where the tasks' objects are.
    """
    result = mt50()
    policy = replace(bcz_mt50().policy, cameras=("corner4",))
    stages = replace(
        result.stages, out=Path("outputs/mt50-corner4"), cameras=("corner4",), minutes=(40.0,)
    )
    return Reproduction(stages, replace(result.run, policy=policy))


def mt50_roboflamingo() -> Reproduction:
    """Return the same of RoboFlamingo."""
    stages = replace(mt50().stages, out=Path("outputs/mt50-roboflamingo"))
    return Reproduction(stages, roboflamingo_mt50())
