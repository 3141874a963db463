"""What ways to practise share is tested through them; here, rounds and their numbers."""

from collections.abc import Callable
from typing import Any

import pytest

from eyehand.rl.practising import Practising, PractisingConfig
from eyehand.types import InputError


class Still(Practising):
    """Practises, and learns nothing."""

    learners = {}  # noqa: RUF012  (nothing learns)

    @classmethod
    def policy_of(cls, policy: Any, config: Any, *, executed: int) -> Any:
        return policy

    def step(self, batch: Any) -> dict[str, float]:
        return {"loss": 0.0}


def test_rounds_are_counted_and_go_on_where_they_were(
    make_policy: Callable[..., Any], practise_once: Callable[..., Any]
) -> None:
    told: list[tuple[int, float]] = []

    def practise(policy: Any, number: int, randomness: float) -> Any:
        told.append((number, randomness))
        return practise_once(policy, number, randomness)

    one, other = (Still(make_policy(), PractisingConfig(), practise) for _ in range(2))
    one.next_round(0.3)
    one.next_round(0.1)
    other.load_state_dict(one.state_dict())
    other.next_round(0.2)
    assert told == [(0, 0.3), (1, 0.1), (2, 0.2)]


@pytest.mark.parametrize("wrong", [{"learning_rate": 2.0}, {"gradient_clip": float("nan")}])
def test_a_number_out_of_its_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=rf"PractisingConfig\.{next(iter(wrong))} must be"):
        PractisingConfig(**wrong)
