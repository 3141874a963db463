import torch
from torch import Tensor, nn

from eyehand.functional.receptive_field import unused_share
from eyehand.inspection.findings import Finding
from eyehand.inspection.geometric_findings import geometric_findings
from eyehand.inspection.geometry import measure_geometry


def found(network: nn.Module, size: int = 64) -> dict[str, Finding]:
    geometry = measure_geometry(network, torch.zeros(1, 2, size, size))
    return {one.name: one for one in geometric_findings(geometry)}


def dilated(*dilations: int) -> list[nn.Module]:
    return [nn.Conv2d(2, 2, 3, dilation=d, padding=d) for d in dilations]


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x).relu()
        return x


def test_gridding_is_the_share_of_the_formula() -> None:
    (place,) = found(nn.Sequential(*dilated(2, 2, 2)))["Gridding"].places
    share = 100 * unused_share([2, 2, 2], kernel_size=3)
    assert place == ("2", f"a cell leaves out {share:.0f} % of the pixels of its 13x13 field")
    assert found(Residual(*dilated(2, 2)))["Gridding"].verdict == "look here"
    for network in (nn.Sequential(*dilated(1, 2, 5)), nn.Sequential(*dilated(2, 2, 1))):
        assert found(network)["Gridding"].verdict == "ok"


def test_unread_cells_and_kernels_that_are_too_large() -> None:
    network = nn.Sequential(*dilated(1), nn.Conv2d(2, 2, 1, 2), *dilated(6))
    findings = found(network, 16)
    assert findings["Unread cells"].places == (("0", "75 % of its cells are never read"),)
    (place,) = findings["Kernel and map"].places
    assert place == ("2", "a 13x13 kernel, holes included, reads a 8x8 map")
    fine = found(nn.Sequential(*dilated(1, 1)), 16)
    assert fine["Unread cells"].verdict == fine["Kernel and map"].verdict == "ok"


def test_the_largest_field_against_the_picture() -> None:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)]
    (place,) = found(nn.Sequential(*dilated(1, 1), *head))["Receptive field"].places
    assert place == ("1", "a cell sees 5x5 pixels of a picture of 64x64, no other map's sees more")
    enough = found(nn.Sequential(nn.Conv2d(2, 2, 17, padding=8), *head), 16)["Receptive field"]
    assert (enough.verdict, enough.places) == ("ok", ())  # 17x17 of 16x16
    assert "nothing to do" in enough.advice
