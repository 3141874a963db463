"""Every kind of environments side by side keeps the contract."""

from collections.abc import Callable
from functools import partial

import pytest

from eyehand.envs.check import check_environments
from eyehand.envs.gymnasium_environments import GymnasiumEnvironments
from eyehand.envs.mazes import Mazes, MazesConfig
from eyehand.envs.rough_ground import RoughGround, RoughGroundConfig
from eyehand.types import Environments

KINDS: dict[str, Callable[[], Environments]] = {
    "CartPole-v1": partial(GymnasiumEnvironments.make, "CartPole-v1", 3),
    "Pendulum-v1": partial(GymnasiumEnvironments.make, "Pendulum-v1", 2),
    "mazes": partial(Mazes, MazesConfig(seconds=3.0), 2),
    "rough-ground": partial(
        RoughGround, RoughGroundConfig(seconds=0.6, randomize=True, delay=(2, 2)), 2
    ),
    "rough-ground-learning": partial(RoughGround, RoughGroundConfig(seconds=0.6), 2, learning=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_is_kept(kind: str) -> None:
    check_environments(KINDS[kind], steps=40)
