import torch

from eyehand.models.vision.patch_encoder import PatchEncoder, PatchTokens


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
    tokens = PatchTokens((4, 6, 8), image_size=48)
    image = torch.randn(2, 3, 48, 48)
    coarse = tokens.encoder(image).coarse
    assert tokens(image).shape == (2, tokens.tokens, tokens.dim)
    torch.testing.assert_close(tokens(image)[:, 5], coarse[:, :, 1, 2])
