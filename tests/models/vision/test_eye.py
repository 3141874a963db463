import pytest
import torch

from eyehand.models.registry import build_network
from eyehand.models.vision.eye import FINEST, Eye, EyeTokens
from eyehand.types import InputError


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "mobilenet", "vit-tiny"])
def test_reads_the_networks_own_maps_from_fine_to_coarse(name: str) -> None:
    torch.manual_seed(0)
    eye = Eye(name, image_size=96).eval()
    image = torch.rand(1, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        found = eye(image)
        every = eye.network.maps(image)
    assert tuple(feature.shape[1] for feature in found) == eye.dims
    assert found[-1].shape[-2:] == eye.cells
    sizes = [feature.shape[-1] for feature in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= 96 / FINEST
    torch.testing.assert_close(found[-1], every[-1])


def test_every_weight_of_an_eye_is_used() -> None:
    eye = Eye("mobilenet", image_size=32)
    sum(feature.square().sum() for feature in eye(torch.randn(2, 3, 32, 32))).backward()
    assert all(weight.grad is not None for weight in eye.parameters())
    whole = sum(p.numel() for p in build_network("mobilenet", classes=1000).parameters())
    assert sum(p.numel() for p in eye.parameters()) == whole - 1024 * 1000 - 1000


def test_tokens_are_the_coarsest_maps_cells_row_by_row() -> None:
    torch.manual_seed(0)
    tokens = EyeTokens("mobilenet", image_size=64).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        coarse = tokens.eye(image)[-1]
        got = tokens(image)
    assert got.shape == (2, tokens.tokens, tokens.dim) == (2, 4, 1024)
    torch.testing.assert_close(got[:, 1], coarse[:, :, 0, 1])


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("resnet19", 96, "no classifier 'resnet19'. Did you mean 'resnet18'"),
        ("unet", 96, "no classifier 'unet'"),
        ("vgg11", 16, "vgg11 cannot be the eye for pictures of 16 pixels"),
        ("vit-tiny", 100, "100"),
    ],
)
def test_refuses_what_cannot_see(name: str, size: int, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Eye(name, image_size=size)
