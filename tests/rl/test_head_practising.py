"""What all ways to practise share is tested through them; here, how random a head draws."""

from collections.abc import Callable
from typing import Any

import pytest

from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HeadConfig
from eyehand.rl.practising import Practising, PractisingConfig
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
    class Still(Practising):
        def step(self, batch: Any) -> dict[str, float]:
            return {"loss": 0.0}

    made = Still(make_policy(head), PractisingConfig(randomness=wanted), lambda *_: None)
    assert made.randomness == used


def test_no_randomness_is_none() -> None:
    with pytest.raises(InputError, match=r"PractisingConfig\.randomness"):
        PractisingConfig(randomness=0.0)
