"""Quantizers: against loops in numpy, formulas under autograd, and scikit-learn's neighbours."""

from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from eyehand.nn.quantizer import (
    ResidualQuantizer,
    UniformQuantizer,
    VectorQuantizer,
    codebook_use,
    quantile_bounds,
)

FAR = torch.tensor([20.0, -7.0])
CLUSTERS = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)) + FAR


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def with_codebook(codebook: Tensor, *, decay: float = 0.99) -> VectorQuantizer:
    """Return a quantizer that is in the middle of its training."""
    quantizer = VectorQuantizer(codebook.shape[1], codes=len(codebook), decay=decay, dead_below=0.0)
    quantizer = quantizer.to(codebook.dtype)
    weights = {"codebook": codebook, "count": torch.ones(len(codebook)), "total": codebook}
    weights["initialized"] = torch.tensor(True)
    quantizer.load_state_dict({name: weights[name] for name in quantizer.state_dict()})
    return quantizer


@pytest.mark.parametrize(
    ("dtype", "middle"), [(torch.float64, 0.0), (torch.float32, 0.0), (torch.float32, 1000.0)]
)
def test_finds_the_neighbours_that_scikit_learn_finds(dtype: torch.dtype, middle: float) -> None:
    torch.manual_seed(0)
    codebook = (middle + torch.randn(64, 4)).to(dtype)
    x = (middle + torch.randn(20, 25, 4)).to(dtype)
    neighbours = NearestNeighbors(n_neighbors=1).fit(codebook.double().numpy())
    want = neighbours.kneighbors(x.double().flatten(0, 1).numpy(), return_distance=False)
    want = torch.from_numpy(want).view(20, 25)
    assert torch.equal(with_codebook(codebook).encode(x), want)
    if middle:  # what the square of a sum, written out, makes of it
        square = x.square().sum(-1, keepdim=True) + codebook.square().sum(-1) - 2 * x @ codebook.T
        assert (square.argmin(-1) != want).float().mean() > 0.2


def test_moving_averages_match_a_loop_in_numpy() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, codes=3, decay=0.9, dead_below=0.0).double()
    first, *batches = torch.randn(3, 7, 2).double()
    quantizer(first)
    count = quantizer.count.numpy().copy()
    total = quantizer.total.numpy().copy()
    codebook = quantizer.codebook.numpy().copy()
    for batch in batches:
        out = quantizer(batch)
        new_count, new_total, loss = np.zeros(3), np.zeros((3, 2)), 0.0
        for row, (x, code) in enumerate(zip(batch.numpy(), out.codes, strict=True)):
            nearest = int(np.argmin([((x - e) ** 2).sum() for e in codebook]))
            assert code == nearest
            np.testing.assert_allclose(out.quantized[row], codebook[nearest], rtol=0, atol=1e-12)
            new_count[nearest] += 1
            new_total[nearest] += x
            loss += 0.25 * ((x - codebook[nearest]) ** 2).sum() / (7 * 2)
        assert out.loss.item() == pytest.approx(loss, abs=1e-12)
        for code in range(3):
            count[code] = 0.9 * count[code] + 0.1 * new_count[code]
            total[code] = 0.9 * total[code] + 0.1 * new_total[code]
        for code in range(3):
            smooth = (count[code] + 1e-5) / (count.sum() + 3e-5) * count.sum()
            codebook[code] = total[code] / smooth
    np.testing.assert_allclose(quantizer.codebook, codebook, rtol=0, atol=1e-12)
    np.testing.assert_allclose(quantizer.count, count, rtol=0, atol=1e-12)


def test_without_memory_a_code_becomes_the_mean_of_its_inputs() -> None:
    quantizer = with_codebook(torch.tensor([[0.0], [10.0]]).double(), decay=0.0)
    quantizer(torch.tensor([[1.0], [2.0], [3.0], [9.0]]).double())
    torch.testing.assert_close(quantizer.codebook[:, 0].tolist(), [2.0, 9.0], rtol=1e-5, atol=0)


def test_the_gradient_passes_through_as_if_nothing_were_there() -> None:
    torch.manual_seed(0)
    for quantizer in (
        VectorQuantizer(3, codes=4),
        ResidualQuantizer(3, depth=3, codes=4),
    ):
        quantizer.double()
        x = torch.randn(5, 8, 3).double().requires_grad_()
        quantized = quantizer(x).quantized
        (got,) = torch.autograd.grad((quantized**3).sum(), x)
        assert torch.equal(got, 3 * quantized.detach() ** 2)
        assert not torch.allclose(got, 3 * x.detach() ** 2)


def test_the_average_is_touched_by_no_gradient() -> None:
    quantizer = VectorQuantizer(3, codes=4)
    assert list(quantizer.parameters()) == []


def draw(rows: int) -> Tensor:
    return CLUSTERS[torch.randint(16, (rows,))] + 0.05 * torch.randn(rows, 2)


def train(*, first: Tensor, dead_below: float) -> tuple[float, float]:
    """Return the share of codes in use, and the mean squared error, after 150 batches."""
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, codes=16, dead_below=dead_below)
    quantizer(first)
    for _ in range(150):
        quantizer(draw(64))
    x = draw(2048)
    out = quantizer.eval()(x)
    error = (out.quantized - x).square().mean().item()
    return codebook_use(out.codes, size=16).share.item(), error


def test_codes_are_in_use_unless_they_begin_elsewhere_and_are_never_replaced() -> None:
    torch.manual_seed(1)
    here, elsewhere = draw(128), torch.randn(128, 2)
    share, error = train(first=here, dead_below=0.4)
    assert share > 0.8
    assert error < 0.05  # the clusters' own is 0.0025
    share, error = train(first=elsewhere, dead_below=0.4)
    assert share > 0.8
    assert error < 0.3
    share, error = train(first=elsewhere, dead_below=0.0)
    assert share == 1 / 16
    assert error > 1


def test_a_dead_code_becomes_an_input_and_the_others_stay() -> None:
    quantizer = with_codebook(torch.tensor([[0.0, 0.0], [1.0, 1.0], [99.0, 99.0]]))
    quantizer.dead_below = 0.5
    x = torch.tensor([[0.0, 0.1], [0.0, 0.2], [1.0, 0.9], [1.0, 1.1]])
    for _ in range(55):
        quantizer(x)
    before = state(quantizer)  # its count is 0.99 ** 55, the others' 2 - 0.99 ** 55: not yet half
    torch.testing.assert_close(before["codebook"][2], torch.tensor([99.0, 99.0]), rtol=1e-3, atol=0)
    quantizer(x)
    after = state(quantizer)
    assert after["codebook"][2].tolist() in x.tolist()
    torch.testing.assert_close(after["codebook"][:2], before["codebook"][:2], rtol=0, atol=0.01)
    assert after["count"][2].item() == pytest.approx((4 - 0.99**56) / 3)
    quantizer(x)
    torch.testing.assert_close(quantizer.codebook[2], after["codebook"][2], rtol=0, atol=0.01)


def test_the_codebook_begins_as_inputs_of_the_first_training_batch() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, codes=16, dead_below=0.0)
    x = draw(300)
    out = quantizer(x)
    assert len(out.quantized.unique(dim=0)) == 16
    assert len((out.quantized - FAR).round().unique(dim=0)) >= 14  # of 16 rows at random: 10
    assert all(row in x.tolist() for row in out.quantized.tolist())
    begun = quantizer.codebook.detach().clone()
    quantizer(x + 50)
    assert (quantizer.codebook - begun).abs().max() < 25  # it begins once


def test_a_first_batch_with_too_few_inputs_is_no_reason_to_stop() -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, codes=8)
    quantized, _, loss = quantizer(torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]))
    assert quantized.tolist() == [[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]]
    assert loss == 0
    assert quantizer.codebook.isfinite().all()


def test_eval_mode_and_encode_change_nothing() -> None:
    torch.manual_seed(0)
    for quantizer in (
        VectorQuantizer(3, codes=4),
        ResidualQuantizer(3, depth=2, codes=4),
    ):
        new = state(quantizer)
        quantizer.eval()(torch.randn(9, 3))
        quantizer.train().encode(torch.randn(9, 3))
        assert same(state(quantizer), new)
        quantizer(torch.randn(9, 3))
        begun = state(quantizer)
        assert not same(begun, new)
        x = torch.randn(9, 3)
        out = quantizer.eval()(x)
        assert same(state(quantizer), begun)
        assert torch.equal(quantizer.encode(x), out.codes)
        torch.testing.assert_close(quantizer.decode(out.codes), out.quantized, rtol=0, atol=1e-6)


def test_a_checkpoint_goes_on_where_it_stopped(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second, x = torch.randn(3, 40, 3)
    one = ResidualQuantizer(3, depth=2, codes=4)
    one(first)
    save_file(one.state_dict(), tmp_path / "model.safetensors")
    other = ResidualQuantizer(3, depth=2, codes=4)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert same(state(one), state(other))
    for quantizer in (one, other):
        torch.manual_seed(1)
        quantizer(second)
    assert same(state(one), state(other))
    for got, want in zip(other(x), one(x), strict=True):
        assert torch.equal(got, want)


def test_the_seed_alone_decides() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        quantizer = VectorQuantizer(2, codes=8, dead_below=0.9)
        x = torch.linspace(-1, 1, 80).view(40, 2) ** 3
        for _ in range(3):
            quantizer(x)
        states.append(state(quantizer))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = (7 + torch.randn(200, 6)).to(dtype)
    for plain in (
        VectorQuantizer(6, codes=16),
        ResidualQuantizer(6, depth=2, codes=16),
    ):
        cast = deepcopy(plain)
        for _ in range(3):
            torch.manual_seed(1)
            want = plain(x.float())
            torch.manual_seed(1)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                got = cast(x)
            assert got.quantized.dtype == dtype
            assert got.loss.dtype == torch.float32
            assert torch.equal(got.codes, want.codes)
            assert torch.equal(got.quantized, want.quantized.to(dtype))
        assert same(state(plain), state(cast))
        assert {value.dtype for value in state(cast).values()} == {torch.float32, torch.bool}


def test_any_batch_shape() -> None:
    torch.manual_seed(0)
    quantizer = with_codebook(torch.randn(6, 3)).eval()
    x = 1000 * torch.randn(4, 3, 5).transpose(1, 2)
    quantized, codes, _ = quantizer(x)
    assert torch.equal(quantized, quantizer.codebook[codes])  # to the last digit
    assert quantized.shape == x.shape
    assert codes.shape == (4, 5)
    assert codes.dtype == torch.int64
    one = quantizer(x[2, 3])
    assert one.codes.shape == ()
    assert one.codes == codes[2, 3]
    assert torch.equal(one.quantized, quantized[2, 3])


def test_what_is_left_over_shrinks_with_depth() -> None:
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(4, depth=4, codes=16)
    for _ in range(60):
        quantizer(torch.randn(256, 4))
    x = torch.randn(1024, 4)
    codes = quantizer.eval()(x).codes
    assert codes.shape == (1024, 4)
    part, errors = torch.zeros_like(x), []
    for depth in range(4):
        part = part + quantizer.layers[depth].codebook[codes[:, depth]]
        errors.append((part - x).square().mean().item())
    torch.testing.assert_close(quantizer.decode(codes), part)
    for shallow, deep in pairwise(errors):
        assert deep < 0.75 * shallow


def test_every_layer_commits_the_input_to_its_code() -> None:
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(3, depth=2, codes=4).double()
    quantizer(torch.randn(50, 3).double())
    first, second = (layer.codebook.clone() for layer in quantizer.layers)
    x = torch.randn(9, 3).double().requires_grad_()
    out = quantizer(x)
    one, two = first[out.codes[:, 0]], second[out.codes[:, 1]]
    loss = 0.25 * ((x - one) ** 2).mean() + 0.25 * ((x - one - two) ** 2).mean()
    torch.testing.assert_close(out.loss, loss, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, x)[0] for value in (out.loss, loss)), rtol=0, atol=1e-12
    )


def test_use_by_hand() -> None:
    use = codebook_use(torch.tensor([[0, 0], [0, 1]]), size=8)
    assert use.share == 0.25
    assert use.perplexity.item() == pytest.approx(4 / 27**0.25)  # 3/4 and 1/4
    even = codebook_use(torch.arange(40) % 8, size=8)
    assert even.share == 1
    assert even.perplexity.item() == pytest.approx(8)


numbers = st.floats(-1e3, 1e3)


@settings(deadline=None, max_examples=30)
@given(
    low=numbers, width=st.floats(1e-3, 1e3), bins=st.integers(2, 1000), place=st.floats(-0.5, 1.5)
)
def test_what_comes_back_is_half_a_bin_away_at_most(
    low: float, width: float, bins: int, place: float
) -> None:
    bounds = torch.tensor([[low], [low + width]], dtype=torch.float64)
    quantizer = UniformQuantizer(*bounds, bins=bins)
    x = bounds[0] + place * (bounds[1] - bounds[0])
    codes = quantizer.encode(x)
    back = quantizer.decode(codes)
    assert 0 <= codes.item() < bins
    inside = x.clamp(bounds[0], bounds[1])
    assert (back - inside).abs().item() <= width / bins / 2 + 1e-9
    assert torch.equal(quantizer.encode(back), codes)


def test_bins_by_hand_and_in_order() -> None:
    quantizer = UniformQuantizer(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 8.0]), bins=4)
    x = torch.tensor([[-1.0, 0.0], [-0.51, 1.99], [-0.49, 2.01], [0.99, 7.9], [1.0, 8.0], [9, -9]])
    codes = quantizer.encode(x)
    assert codes.tolist() == [[0, 0], [0, 0], [1, 1], [3, 3], [3, 3], [3, 0]]
    assert codes.dtype == torch.int64
    assert quantizer.decode(codes)[1:3].tolist() == [[-0.75, 1.0], [-0.25, 3.0]]
    line = torch.linspace(-2, 9, 1000)[:, None].expand(-1, 2)
    assert (quantizer.encode(line).diff(dim=0) >= 0).all()
    assert (quantizer.decode(quantizer.encode(line)).diff(dim=0) >= 0).all()
    assert torch.equal(quantizer.encode(line[None, :5]), quantizer.encode(line)[None, :5])


def test_bins_are_as_fine_for_half_precision_as_their_bounds() -> None:
    quantizer = UniformQuantizer(torch.tensor([-1.0]), torch.tensor([1.0]), bins=256)
    x = torch.linspace(-1, 1, 4096)[:, None].bfloat16()
    assert torch.equal(quantizer.encode(x), quantizer.encode(x.float()))
    assert len(quantizer.encode(x).unique()) == 256


def test_a_dimension_that_never_moves_comes_back_as_it_is() -> None:
    quantizer = UniformQuantizer(torch.tensor([0.3, -1.0]), torch.tensor([0.3, 1.0]), bins=4)
    codes = quantizer.encode(torch.tensor([[0.3, 0.9], [0.7, 0.9], [-5.0, 0.9]]))
    assert codes.tolist() == [[0, 3]] * 3
    assert torch.equal(quantizer.decode(codes)[:, 0], torch.full((3,), 0.3))


def test_bounds_travel_with_the_weights(tmp_path: Path) -> None:
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 5.0])
    one = UniformQuantizer(low, high, bins=8)
    low.zero_()  # the caller's own
    save_file(one.state_dict(), tmp_path / "model.safetensors")
    other = UniformQuantizer(torch.zeros(2), torch.ones(2), bins=8)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert other.encode(torch.tensor([[-1.2, 4.9]])).tolist() == [[1, 7]]


def test_quantile_bounds_match_numpy_and_leave_the_stray_out() -> None:
    torch.manual_seed(0)
    x = torch.randn(1000, 3).double()
    x[0] = 1e6
    low, high = quantile_bounds(x)
    np.testing.assert_allclose(low, np.quantile(x.numpy(), 0.01, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high, np.quantile(x.numpy(), 0.99, axis=0), rtol=1e-12)
    assert (high < 5).all()
    assert quantile_bounds(x, tail=0.0)[1].tolist() == [1e6] * 3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VectorQuantizer(0, codes=4), "Got dim=0, codes=4"),
        (lambda: VectorQuantizer(2, codes=0), "Got dim=2, codes=0"),
        (lambda: VectorQuantizer(2, codes=4, decay=1.0), r"`decay` must .* Got 1\.0"),
        (lambda: VectorQuantizer(2, codes=4, commitment=-0.5), r"`commitment` .* Got -0\.5"),
        (lambda: VectorQuantizer(2, codes=4, dead_below=1.5), r"`dead_below` .* Got 1\.5"),
        (lambda: ResidualQuantizer(2, depth=0, codes=4), r"`depth` .* Got 0"),
        (lambda: UniformQuantizer(torch.zeros(1), torch.ones(1), bins=1), r"`bins` .* Got 1"),
        (
            lambda: UniformQuantizer(torch.tensor([0.0, 2.5]), torch.ones(2), bins=4),
            r"Got low=\[0.0, 2.5\], high=\[1.0, 1.0\]",
        ),
        (
            lambda: UniformQuantizer(torch.zeros(1), torch.tensor([torch.inf]), bins=4),
            r"high=\[inf\]",
        ),
        (
            lambda: UniformQuantizer(torch.tensor([torch.nan]), torch.ones(1), bins=4),
            r"low=\[nan\]",
        ),
        (
            lambda: UniformQuantizer(torch.zeros(1), torch.ones(1), bins=4).encode(
                torch.tensor([[0.5], [torch.nan]])
            ),
            "Got 1 of 2",
        ),
        (lambda: quantile_bounds(torch.zeros(3, 1), tail=0.5), r"`tail` .* Got 0\.5"),
    ],
)
def test_what_makes_no_sense_is_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
