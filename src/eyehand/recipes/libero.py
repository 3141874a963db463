"""One policy for all forty tasks of LIBERO, from nothing, on its official start states.

Run:
    eyehand reproduce libero

It has not been measured yet.
"""

from pathlib import Path

from eyehand.recipes.bcz_libero import bcz_libero
from eyehand.runs.reproduce import ReproduceConfig, Reproduction


def libero() -> Reproduction:
    """Return the result of BC-Z."""
    stages = ReproduceConfig(
        out=Path("outputs/libero"),
        suite="libero",
        tasks="all",
        cameras=("agentview", "eye_in_hand"),
        perturbation=0.4,
        demonstrations=50,
        corrections=25,
        minutes=(90.0, 60.0),
        episodes=50,
        seed=1_000_000,  # of the official start states
    )
    return Reproduction(stages, bcz_libero())
