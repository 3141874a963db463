import torch
from torch import Tensor, nn

from eyehand.inspection.findings import (
    FIELD,
    GRIDDING,
    PADDED,
    SKIPPED,
    Finding,
    geometric_findings,
    gridding,
    last_field,
    mostly_padding,
    skipped_cells,
)
from eyehand.inspection.geometry import MapGeometry, feature_map_geometry


def look(network: nn.Module, size: int | tuple[int, int] = 64) -> list[MapGeometry]:
    height, width = (size, size) if isinstance(size, int) else size
    return feature_map_geometry(network, torch.zeros(1, 2, height, width))


def dilated(*dilations: int, kernel_size: int = 3) -> list[nn.Module]:
    return [
        nn.Conv2d(2, 2, kernel_size, dilation=d, padding=d * (kernel_size // 2)) for d in dilations
    ]


class Parallel(nn.Module):
    """Dilated convolutions side by side, as in spatial pyramids: they are no stack."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(dilated(2, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([branch(x) for branch in self.branches]).sum(0)


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x).relu()
        return x


class Swap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_gridding() -> None:
    (found,) = gridding(look(nn.Sequential(*dilated(2, 2, 2))))
    # 13x13 cells of which the even ones, 7x7, are read.
    share = round(100 * (1 - 49 / 169))
    message = (
        f"Dilations [2, 2, 2] of 3x3 kernels (0, 1, 2) never read {share} % of the field; by the "
        "hybrid rule M2 = 2 <= 3."
    )
    assert found == Finding(GRIDDING, "2", message)


def test_stacks_are_what_reads_one_another() -> None:
    one = nn.Conv2d(2, 2, 1)
    relu = nn.ReLU()
    assert [f.layer for f in gridding(look(Residual(*dilated(2, 2))))] == ["layers.1"]
    assert [f.layer for f in gridding(look(nn.Sequential(*dilated(2), relu, one, *dilated(2))))]
    for fine in (
        nn.Sequential(*dilated(1, 2, 5)),
        nn.Sequential(*dilated(5, 1, 2)),
        nn.Sequential(*dilated(2)),
        nn.Sequential(*dilated(1, 1)),
        nn.Sequential(*dilated(2), nn.MaxPool2d(2), *dilated(2)),
        nn.Sequential(*dilated(2), *dilated(2, kernel_size=5)),
        Parallel(),
    ):
        assert gridding(look(fine)) == [], fine
    assert "(1, 2)" in gridding(look(nn.Sequential(nn.MaxPool2d(2), *dilated(3, 3))))[0].message
    assert "M2 = 4 > 3" in gridding(look(nn.Sequential(*dilated(1, 2, 8))))[0].message


def test_skipped_cells() -> None:
    (found,) = skipped_cells(look(nn.Conv2d(2, 2, 1, stride=2)))
    assert found == Finding(
        SKIPPED, "", "A 1x1 kernel with stride 2x2 never reads 75 % of its 64x64 map."
    )
    (found,) = skipped_cells(look(nn.AvgPool2d((3, 2), (3, 5)), (33, 42)))
    assert "A 3x2 kernel with stride 3x5 never reads 60 % of its 33x42 map" in found.message
    # taps two apart and steps of two: only even cells, though the kernel spans three
    (found,) = skipped_cells(look(nn.Conv2d(2, 2, 2, stride=2, dilation=2), 9))
    assert "never reads 75 %" in found.message
    fine = [
        nn.Conv2d(2, 2, 3, stride=3),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(2, 2, 1, 2),
        nn.Conv2d(2, 2, 3, dilation=3),
        nn.Conv2d(2, 2, 2, 2, dilation=3),
    ]
    for network in fine:
        assert skipped_cells(look(network)) == [], network


def test_a_shortcut_skips_nothing_that_is_read_beside_it() -> None:
    class Block(nn.Module):
        def __init__(self, kernel_size: int) -> None:
            super().__init__()
            self.shortcut = nn.Conv2d(2, 2, 1, stride=2)
            self.long = nn.Conv2d(2, 2, kernel_size, stride=2, padding=kernel_size // 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.shortcut(x) + self.long(x)

    assert skipped_cells(look(Block(3))) == []
    assert [found.layer for found in skipped_cells(look(Block(1)))] == ["shortcut", "long"]


def test_a_deep_stack_has_no_paths_to_count() -> None:
    (found,) = gridding(look(nn.Sequential(*dilated(*[2] * 20))))
    share = round(100 * (1 - (41 / 81) ** 2))  # the even ones of 81 cells
    assert f"never read {share} % of the field" in found.message


def test_maps_smaller_than_the_kernel() -> None:
    assert mostly_padding(look(nn.Conv2d(2, 2, 5, padding=2), 5)) == []
    (found,) = mostly_padding(look(nn.Conv2d(2, 2, 5, padding=2), 4))
    # of the 5 taps at 4 places 3, 4, 4 and 3 lie inside
    share = round(100 * (1 - (14 / 20) ** 2))
    assert found == Finding(
        PADDED,
        "",
        f"A 5x5 kernel, holes included, reads a 4x4 map: {share} % of what it reads is padding.",
    )
    (found,) = mostly_padding(look(nn.Sequential(*dilated(1, 6)), 12))
    assert found.layer == "1"
    assert "A 13x13 kernel" in found.message


def test_the_field_of_the_last_map() -> None:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)]
    (small,) = last_field(look(nn.Sequential(*dilated(1, 1), *head)))
    assert small == Finding(
        FIELD, "1", "A cell of the last map sees 5x5 pixels of a picture of 64x64: "
        "what is larger it sees in part.",
    )  # fmt: skip
    assert last_field(look(nn.Sequential(*dilated(20, 20), *head))) == []  # 81x81 of 64x64
    assert last_field(look(nn.Sequential(nn.Conv2d(2, 2, 9), *head), 9)) == []
    attention = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    patches = [nn.Conv2d(2, 8, 8, 8), nn.Flatten(2), Swap()]
    assert "sees 8x8 pixels" in last_field(look(nn.Sequential(*patches)))[0].message
    assert last_field(look(nn.Sequential(*patches, attention))) == []
    assert last_field(look(nn.Sequential(nn.Flatten(), nn.Linear(8192, 3)))) == []


def test_all_together() -> None:
    maps = look(
        nn.Sequential(*dilated(2, 2), nn.Conv2d(2, 2, 1, 2), nn.Conv2d(2, 2, 9, padding=4)), 16
    )
    rules = [finding.rule for finding in geometric_findings(maps)]
    assert rules == [GRIDDING, SKIPPED, PADDED]
    assert [found.rule for found in geometric_findings(maps[:2])] == [GRIDDING, FIELD]
