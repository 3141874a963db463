import pytest
import torch
from torch import nn

from eyehand.models.vision import alexnet
from eyehand.models.vision.spp_net import SPPNet, spp_net


def test_parameters_are_those_of_the_papers_layers() -> None:
    # He et al., 2014, Table 1 (ZF-5) and sec. 3.1: (inputs x kernel + 1) x outputs, by hand. The
    # pyramid gives the first dense layer 256 x 50 inputs. The paper gives no total.
    want = [14_208, 614_656, 885_120, 1_327_488, 884_992, 52_432_896, 16_781_312, 4_097_000]
    with torch.device("meta"):
        network = spp_net()
    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert [sum(value.numel() for value in part.parameters()) for part in layers] == want
    assert sum(value.numel() for value in network.parameters()) == sum(want) == 77_037_672


@pytest.mark.parametrize(("pixels", "cells"), [(224, [110, 55, 27, 13]), (180, [88, 44, 21, 10])])
def test_maps_have_the_published_cells(pixels: int, cells: list[int]) -> None:
    # Table 1 for 224 pixels; sec. 2.3 says 10 cells for 180.
    with torch.device("meta"):
        maps = spp_net(classes=None).maps(torch.zeros(1, 3, pixels, pixels))
    assert [part.shape[2] for part in maps] == cells


def test_any_size_is_classified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alexnet, "HIDDEN_DIM", 16)
    torch.manual_seed(0)
    network = SPPNet(classes=7).eval()
    for height, width in ((32, 32), (50, 91), (224, 64)):
        assert network(torch.randn(1, 3, height, width)).shape == (1, 7)


def test_without_classes_there_are_only_maps() -> None:
    with pytest.raises(ValueError, match="only `maps` works"):
        spp_net(classes=None)(torch.zeros(1, 3, 64, 64))
