"""Axes of a comparison: values and ranges are read, combined and suggested; the rest is refused."""

import optuna
import pytest

from eyehand.runs.axis import Axis, cells_of, parse_axis
from eyehand.types import InputError


def test_values_and_ranges_are_read() -> None:
    assert parse_axis("policy.head=mlp,flow") == Axis("policy.head", ("mlp", "flow"))
    found = parse_axis("training.learning-rate=1e-4..1e-2")
    assert found.is_range
    assert (found.low, found.high) == (1e-4, 1e-2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("policy.head", "'policy.head' is not an axis"),
        ("=3", "'=3' is not an axis"),
        ("a=1..many", "the ends of a range must be numbers"),
        ("a=0..2", "a range must begin above 0"),
        ("a=3..2", "a range must begin above 0"),
    ],
)
def test_what_is_neither_is_named(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_axis(text)


def test_a_sampler_chooses_from_values_whole_numbers_or_a_logarithmic_scale() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"a": "x", "b": 3, "c": 0.01})
    trial = study.ask()
    axes = [Axis("a", ("x", "y")), Axis("b", low=1.0, high=4.0), Axis("c", low=0.001, high=0.1)]
    assert [axis.suggest(trial) for axis in axes] == ["x", "3", "0.01"]
    assert isinstance(trial.distributions["b"], optuna.distributions.IntDistribution)
    rate = trial.distributions["c"]
    assert isinstance(rate, optuna.distributions.FloatDistribution)
    assert rate.log


def test_cells_are_every_combination() -> None:
    cells = cells_of([Axis("a", ("1", "2")), Axis("b", ("3", "4"))])
    assert len({tuple(cell.items()) for cell in cells}) == 4
    assert cells_of([]) == [{}]
