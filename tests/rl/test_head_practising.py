"""What ways to teach a head share is tested through them; here, how random it draws."""

from collections.abc import Callable
from typing import Any

import pytest

from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.rl.head_practising import HeadPractising, HeadPractisingConfig
from eyehand.types import InputError


@pytest.mark.parametrize(
    ("head", "wanted", "used"),
    [
        (MLPHeadConfig(dims=(8,)), None, 0.1),
        (MLPHeadConfig(dims=(8,)), 0.3, 0.3),
        (BinsHeadConfig(bins=8, dim=8, depth=1, heads=2, head_dim=4), None, 1.0),
    ],
)
def test_a_head_says_how_random_it_draws_unless_it_is_told(
    head: HeadConfig, wanted: float | None, used: float, make_policy: Callable[..., Any]
) -> None:
    class Still(HeadPractising):
        def step(self, batch: Any) -> dict[str, float]:
            return {"loss": 0.0}

    made = Still(make_policy(head), HeadPractisingConfig(randomness=wanted), lambda *_: None)
    assert made.randomness == used


def test_no_randomness_is_none() -> None:
    with pytest.raises(InputError, match=r"HeadPractisingConfig\.randomness"):
        HeadPractisingConfig(randomness=0.0)
