"""The rate of a run that is made longer: where it goes on, and that it never jumps."""

from itertools import pairwise

import pytest

from eyehand.functional.schedule import warmup_cosine
from eyehand.training.config import TrainConfig
from eyehand.training.cycle import Cycle


def test_the_same_length_keeps_the_cycle() -> None:
    config = TrainConfig(steps=100, warmup=0.1)
    cycle = Cycle.of(config)
    assert cycle.resumed(config, step=40, seconds=3.0) is cycle
    assert cycle.resumed(config, step=100, seconds=3.0) is cycle
    wanted = [warmup_cosine(step / 100, warmup=0.1, final=0.0) for step in range(101)]
    assert [cycle.share(float(step), config) for step in range(101)] == wanted


@pytest.mark.parametrize("step", [400, 1000])  # on its way, and finished
@pytest.mark.parametrize("unit", ["steps", "minutes"])
def test_another_length_begins_where_the_rate_was(step: int, unit: str) -> None:
    """At 10 steps a second, 1000 steps are 100 seconds."""
    before = TrainConfig(steps=1000, warmup=0.1, final_learning_rate=0.05)
    length = {"steps": 2000} if unit == "steps" else {"minutes": 200 / 60}
    longer = TrainConfig(**length, warmup=0.1, final_learning_rate=0.05)
    scale = 1.0 if unit == "steps" else 0.1
    old = Cycle.of(before)
    new = old.resumed(longer, step=step, seconds=step / 10)
    rates = [old.share(float(at), before) for at in range(step)]
    rates += [new.share(at * scale, longer) for at in range(step, 2001)]
    jumps = [abs(b - a) for a, b in pairwise(rates)]
    assert max(jumps) < 0.011, "no more than a step of the warm-up"
    assert max(rates[step:]) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] == pytest.approx(0.05)


def test_a_third_length_goes_on_from_the_second_cycle() -> None:
    first, second = TrainConfig(steps=10), TrainConfig(steps=20)
    cycle = Cycle.of(first).resumed(second, step=10, seconds=1.0)
    assert (cycle.begin, cycle.end, cycle.start) == (10, 20, 0)
    third = cycle.resumed(TrainConfig(steps=40), step=15, seconds=2.0)
    assert (third.begin, third.end, third.start) == (15, 40, cycle.share(15.0, second))
