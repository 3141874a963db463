import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eyehand.functional.ensembling import temporal_ensemble


def test_worked_by_hand() -> None:
    # weights 1, 1/2, 1/4 from the oldest: (8 + 4 / 2 + 4 / 4) / (7 / 4) = 44 / 7
    predictions = torch.tensor([[8.0], [4.0], [4.0]], dtype=torch.float64)
    got = temporal_ensemble(predictions, decay=math.log(2))
    torch.testing.assert_close(got, torch.tensor([44 / 7], dtype=torch.float64), rtol=0, atol=1e-12)


def test_matches_numbered_algorithm() -> None:
    """Algorithm 2 of the paper: a loop over predictions, the oldest with index 0."""
    torch.manual_seed(0)
    predictions = torch.randn(5, 4, dtype=torch.float64)
    total, weights = torch.zeros(4, dtype=torch.float64), 0.0
    for i, prediction in enumerate(predictions):
        total, weights = total + math.exp(-0.3 * i) * prediction, weights + math.exp(-0.3 * i)
    got = temporal_ensemble(predictions, decay=0.3)
    torch.testing.assert_close(got, total / weights, rtol=0, atol=1e-12)


def test_order_matters() -> None:
    predictions = torch.tensor([[0.0], [1.0]])
    assert temporal_ensemble(predictions, decay=1.0) < 0.5
    assert temporal_ensemble(predictions.flip(0), decay=1.0) > 0.5


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8), st.floats(0, 5))
def test_stays_between_its_inputs(values: list[float], decay: float) -> None:
    predictions = torch.tensor(values, dtype=torch.float64)
    got = float(temporal_ensemble(predictions, decay=decay))
    assert min(values) - 1e-12 <= got <= max(values) + 1e-12


def test_one_prediction_is_itself_and_dtype_stays() -> None:
    prediction = torch.tensor([[0.25, -1.0]], dtype=torch.bfloat16)
    got = temporal_ensemble(prediction, decay=0.01)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, prediction[0])


@pytest.mark.parametrize("decay", [-0.5, math.inf, math.nan])
def test_refuses_decay(decay: float) -> None:
    with pytest.raises(ValueError, match=str(decay)):
        temporal_ensemble(torch.zeros(2, 1), decay=decay)


def test_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="Got 0"):
        temporal_ensemble(torch.zeros(0, 4), decay=0.1)
