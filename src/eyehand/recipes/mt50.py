"""One policy for all fifty tasks of Meta-World, from nothing, in under four hours on two cores.

Run:
    eyehand reproduce mt50
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
        minutes=(40.0, 25.0, 25.0, 55.0),
    )
    return Reproduction(stages, bcz_mt50())


def mt50_roboflamingo() -> Reproduction:
    """Return the same of RoboFlamingo."""
    stages = replace(mt50().stages, out=Path("outputs/mt50-roboflamingo"))
    return Reproduction(stages, roboflamingo_mt50())
