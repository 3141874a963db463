import torch

from eyehand.models.vision.patch_encoder import CellTokens, PatchEncoder


def test_a_cell_sees_its_patch_and_its_neighbours() -> None:
    torch.manual_seed(0)
    encoder = PatchEncoder((4, 6, 8))
    image = torch.randn(1, 3, 96, 96)
    other = image.clone()
    other[:, :, :4, :4] += 1
    changed = [
        (before != after).any(dim=1).nonzero()[:, 1:].amax(dim=0).tolist()
        for before, after in zip(encoder(image), encoder(other), strict=True)
    ]
    assert changed == [[0, 0], [0, 0], [0, 0]]
    other[:, :, 4:8, 4:8] += 1
    fine, middle, _ = (
        (before != after).any(dim=1).nonzero()[:, 1:].amax(dim=0).tolist()
        for before, after in zip(encoder(image), encoder(other), strict=True)
    )
    assert fine == [1, 1]
    assert middle == [1, 1]


def test_maps_stay_channels_last() -> None:
    image = torch.randn(2, 32, 32, 3).permute(0, 3, 1, 2)
    for feature in PatchEncoder((4, 6, 8))(image):
        assert feature.is_contiguous(memory_format=torch.channels_last)


def test_tokens_are_the_cells_row_by_row() -> None:
    torch.manual_seed(0)
    tokens = CellTokens((4, 6, 8), dim=5, image_size=48)
    image = torch.randn(2, 3, 48, 48)
    fine, middle, coarse = tokens.encoder(image)
    found = tokens(image)
    assert found.shape == (2, tokens.tokens, 5) == (2, 36, 5)
    row, column = 2, 5  # its token is number 2 * 6 + 5
    weight = tokens.from_fine.weight
    want = tokens.from_fine.bias + tokens.from_middle.bias + tokens.from_coarse.bias
    want = want + middle[:, :, row, column] @ tokens.from_middle.weight[:, :, 0, 0].T
    want = want + coarse[:, :, row // 2, column // 2] @ tokens.from_coarse.weight[:, :, 0, 0].T
    for down in (0, 1):
        for right in (0, 1):
            part = fine[:, :, 2 * row + down, 2 * column + right]
            want = want + part @ weight[:, :, down, right].T
    torch.testing.assert_close(found[:, 17], want)
