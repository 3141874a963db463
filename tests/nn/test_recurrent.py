"""Against torch, and against themselves: streamed, padded, and a frame at a time."""

from math import exp, tanh
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eyehand.nn.recurrent import GRU, LSTM

KINDS = [(LSTM, nn.LSTM), (GRU, nn.GRU)]
kinds = pytest.mark.parametrize(("kind", "their_kind"), KINDS, ids=["lstm", "gru"])
ours_only = pytest.mark.parametrize("kind", [LSTM, GRU])


def pair(kind: Any, their_kind: Any, depth: int = 3, dropout: float = 0.0) -> tuple[Any, Any]:
    """Return ours and torch's with the same weights, far from zero, the biases too."""
    torch.manual_seed(0)
    theirs = their_kind(5, 4, depth, batch_first=True, dropout=dropout).double()
    for value in theirs.parameters():
        nn.init.normal_(value, std=0.7)
    ours = kind(5, 4, depth=depth, dropout=dropout).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def random_state(kind: Any, batch: int, depth: int = 3) -> Tensor:
    parts = (2,) if kind is LSTM else ()
    return torch.randn(*parts, depth, batch, 4).double()


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@kinds
@pytest.mark.parametrize("given", [False, True], ids=["empty", "given"])
@pytest.mark.parametrize("depth", [1, 3])
def test_matches_torch_forward_and_backward(
    kind: Any, their_kind: Any, given: bool, depth: int
) -> None:
    ours, theirs = pair(kind, their_kind, depth)
    x = torch.randn(2, 7, 5).double().requires_grad_()
    state = random_state(kind, 2, depth).requires_grad_() if given else None
    output, end = ours(x, state)
    parts = tuple(state) if given and kind is LSTM else state
    their_output, their_end = theirs(x, parts)
    their_end = torch.stack(their_end) if kind is LSTM else their_end
    close(output, their_output)
    close(end, their_end)

    weights = [torch.randn_like(output), torch.randn_like(end)]
    inputs = [x, state] if given else [x]
    got = torch.autograd.grad([output, end], [*inputs, *ours.parameters()], weights)
    want = torch.autograd.grad([their_output, their_end], [*inputs, *theirs.parameters()], weights)
    for one, other in zip(got, want, strict=True):
        assert other.abs().max() > 1e-3
        close(one, other)


@kinds
def test_drops_what_torch_drops(kind: Any, their_kind: Any) -> None:
    """Between two layers, in training, and nowhere else."""
    ours, theirs = pair(kind, their_kind, dropout=0.4)
    x = torch.randn(2, 6, 5).double()
    torch.manual_seed(1)
    got = ours(x)[0]
    torch.manual_seed(1)
    close(got, theirs(x)[0])
    assert not torch.allclose(got, ours.eval()(x)[0])
    close(ours.eval()(x)[0], theirs.eval()(x)[0])


@kinds
def test_begins_as_torch_begins(kind: Any, their_kind: Any) -> None:
    torch.manual_seed(2)
    want = their_kind(5, 4, 3).state_dict()
    torch.manual_seed(2)
    got = kind(5, 4, depth=3).state_dict()
    assert list(got) == list(want)
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_the_lstm_by_hand() -> None:
    def sigmoid(x: float) -> float:
        return 1 / (1 + exp(-x))

    lstm = LSTM(1, 1, depth=1).double()
    rows = {"weight_ih": [1, 2, 3, 4], "weight_hh": [5, 6, 7, 8], "bias_ih": [-1, 0, 1, 2]}
    rows["bias_hh"] = [0.5, -0.5, 0.25, -0.25]
    for name, row in rows.items():
        value = lstm.get_parameter(f"{name}_l0")
        value.data = torch.tensor(row).double().reshape(value.shape)
    x, h, c = 0.25, -0.125, 0.75
    state = torch.tensor([h, c]).double().reshape(2, 1, 1, 1)
    _, (hidden, cell) = lstm(torch.full((1, 1, 1), x).double(), state)
    i, f, g, o = (
        row[0] * x + row[1] * h + row[2] + row[3] for row in zip(*rows.values(), strict=True)
    )
    want = sigmoid(f) * c + sigmoid(i) * tanh(g)
    assert cell.item() == pytest.approx(want, abs=1e-12)
    assert hidden.item() == pytest.approx(sigmoid(o) * tanh(want), abs=1e-12)


def test_the_gru_resets_after_the_product_and_not_before_as_the_paper() -> None:
    gru, _ = pair(GRU, nn.GRU, depth=1)
    W, U, b, c = gru.parameters()
    x, h = torch.randn(2, 5).double(), torch.randn(2, 4).double()
    r, z = ((x @ W.T + b + h @ U.T + c)[:, :8]).sigmoid().chunk(2, dim=-1)
    after = (x @ W[8:].T + b[8:] + r * (h @ U[8:].T + c[8:])).tanh()
    before = (x @ W[8:].T + b[8:] + (r * h) @ U[8:].T + c[8:]).tanh()
    output, _ = gru(x[:, None], h[None])
    close(output[:, 0], (1 - z) * after + z * h)
    assert (output[:, 0] - (1 - z) * before - z * h).abs().max() > 0.05


@kinds
def test_streamed_frame_by_frame_equals_the_window(kind: Any, their_kind: Any) -> None:
    ours, _ = pair(kind, their_kind)
    x = torch.randn(2, 6, 5).double()
    window, end = ours(x)
    state = None
    for time in range(6):
        frame, state = ours(x[:, time : time + 1], state)
        close(frame[:, 0], window[:, time])
    close(state, end)


@kinds
@pytest.mark.parametrize("given", [False, True], ids=["empty", "given"])
def test_a_padded_window_equals_the_frames_alone(kind: Any, their_kind: Any, given: bool) -> None:
    ours, _ = pair(kind, their_kind)
    x = torch.randn(3, 5, 5).double().requires_grad_()
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, :2] = False
    mask[2, :] = False  # nothing but padding
    state = random_state(kind, 3) if given else None
    output, end = ours(x, state, mask=mask)
    assert torch.equal(output[~mask], torch.zeros(7, 4).double())
    for row, start in enumerate((0, 2)):
        before = state[..., row : row + 1, :] if given else None
        want, want_end = ours(x[row : row + 1, start:], before)
        close(output[row, start:], want[0])
        close(end[..., row, :], want_end[..., 0, :])
    untouched = state[..., 2, :] if given else torch.zeros_like(end[..., 2, :])
    assert torch.equal(end[..., 2, :], untouched)
    (gradient,) = torch.autograd.grad(output.square().sum() + end.square().sum(), x)
    assert torch.equal(gradient[~mask], torch.zeros(7, 5).double())
    assert gradient[mask].abs().min() > 0


@ours_only
def test_inputs_stay_as_they_were(kind: Any) -> None:
    x, state = torch.randn(2, 4, 5).double(), random_state(kind, 2)
    before = x.clone(), state.clone()
    kind(5, 4, depth=3).double()(x, state, mask=torch.tensor([[False, True, True, True]] * 2))
    assert torch.equal(x, before[0])
    assert torch.equal(state, before[1])


@ours_only
def test_types_of_numbers(kind: Any) -> None:
    """What goes in comes out; under autocast the memory stays in float32."""
    x, mask = torch.randn(2, 4, 5), torch.tensor([[False, True, True, True]] * 2)
    for dtype in (torch.float32, torch.bfloat16):
        output, end = kind(5, 4, depth=2).to(dtype)(x.to(dtype), mask=mask)
        assert output.dtype == end.dtype == dtype
    ours = kind(5, 4, depth=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, end = ours(x.bfloat16(), mask=mask)
    assert end.dtype == torch.float32
    torch.testing.assert_close(end, ours(x, mask=mask)[1], rtol=0, atol=0.02)


@ours_only
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"depth": 0}, "`depth` must be at least 1; got 0"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\); got 1.0"),
        ({"dropout": -0.1}, r"`dropout` must be in \[0, 1\); got -0.1"),
    ],
)
def test_numbers_that_make_no_network_are_refused(
    kind: Any, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        kind(5, 4, **{"depth": 2, **changes})


def test_a_state_of_another_network_is_refused() -> None:
    """Fewer layers would run, and be silently shallow."""
    with pytest.raises(ValueError, match=r"= \(2, 1, 4\); got \(1, 1, 4\)"):
        LSTM(5, 4, depth=2)(torch.zeros(1, 3, 5), torch.zeros(2, 1, 1, 4))
    with pytest.raises(ValueError, match=r"= \(1, 1, 4\); got \(1, 1, 3\)"):
        GRU(5, 4, depth=1)(torch.zeros(1, 3, 5), torch.zeros(1, 1, 3))
