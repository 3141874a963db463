import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from eyehand.nn.pooling import GlobalWeightedPooling, SpatialPyramidPooling


def bins(cells: int, number: int) -> list[slice]:
    """Where each of ``number`` bins of a side begins and ends: floor and ceiling of its share."""
    return [slice(i * cells // number, -((i + 1) * cells // -number)) for i in range(number)]


@pytest.mark.parametrize("size", [(13, 13), (10, 7), (4, 4), (3, 1), (1, 1)])
@pytest.mark.parametrize("levels", [(4, 2, 1), (1,), (6, 3)])
def test_each_number_is_the_largest_of_its_bin(
    size: tuple[int, int], levels: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    want = [
        x[:, channel, rows, columns].amax(dim=(1, 2))
        for level in levels
        for channel in range(3)
        for rows in bins(size[0], level)
        for columns in bins(size[1], level)
    ]
    assert torch.equal(SpatialPyramidPooling(levels)(x), torch.stack(want, dim=1))


@pytest.mark.parametrize("cells", range(1, 20))
def test_every_cell_is_in_a_bin_of_every_level(cells: int) -> None:
    """The largest number of the map is found on every level, wherever it stands."""
    pool = SpatialPyramidPooling((4, 3, 2, 1))
    places = torch.eye(cells)[:, None, None]  # one map of one row per place
    for level in pool(places).split([16, 9, 4, 1], dim=1):
        assert (level.amax(dim=1) == 1).all()


def windows(cells: int, number: int) -> list[range]:
    """Those of the paper, sec. 2.3: ceil(a/n) cells every floor(a/n) cells."""
    window, stride = -(cells // -number), cells // number
    return [range(start, start + window) for start in range(0, cells - window + 1, stride)]


@pytest.mark.parametrize("number", [2, 3, 4, 6])
@pytest.mark.parametrize("cells", range(6, 20))
def test_what_the_docstring_says_of_the_papers_windows(cells: int, number: int) -> None:
    remainder = cells % number
    assert (len(windows(cells, number)) == number) == (remainder <= cells // number)
    covered = {cell for window in windows(cells, number)[:number] for cell in window}
    assert (len(covered) == cells) == (remainder <= 1)
    ours = [range(each.start, each.stop) for each in bins(cells, number)]
    assert (ours == windows(cells, number)) == (remainder <= 1)


@pytest.mark.parametrize("levels", [(), (4, 0)])
def test_a_level_without_bins_is_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"at least 1; got \({', '.join(map(str, levels))}\)"):
        SpatialPyramidPooling(levels)


def test_weighted_pooling_by_its_formula() -> None:
    torch.manual_seed(0)
    layer = GlobalWeightedPooling(3).double()
    nn.init.normal_(layer.to_score.weight)
    x = torch.randn(2, 3, 4, 5).double()
    w = layer.to_score.weight.flatten()
    for got, picture in zip(layer(x), x, strict=True):
        weight = torch.stack([(w @ picture[:, i, j]).exp() for i in range(4) for j in range(5)])
        want = (picture.flatten(1) * weight).sum(dim=1) / weight.sum()
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_weighted_pooling_can_look_at_one_cell_and_learns_from_the_average() -> None:
    torch.manual_seed(0)
    layer = GlobalWeightedPooling(3).double()
    x = torch.randn(1, 3, 4, 5).double()
    weight = torch.zeros(1, 3, 1, 1).double().requires_grad_()

    def pool(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"to_score.weight": weight}, x)

    assert gradcheck(pool, weight)
    pool(weight).sum().backward()
    assert (weight.grad != 0).all()
    layer.to_score.weight.data[0, 0] = 1e4
    brightest = x[0, 0].flatten().argmax()
    assert torch.equal(layer(x)[0], x[0].flatten(1)[:, brightest])


def test_half_precision_maps_are_averaged_in_full_precision() -> None:
    x = torch.rand(1, 2, 64, 64).bfloat16()
    got = GlobalWeightedPooling(2).bfloat16()(x)
    assert torch.equal(got, x.double().mean((2, 3)).bfloat16())
