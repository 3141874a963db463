from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from eyehand.models.registry import build_network
from eyehand.models.vision import fcn
from eyehand.models.vision.fcn import FCN, ConvolutionalVGG16
from eyehand.models.vision.mobilenet import MobileNet

VGG16 = 138_357_544
"""Parameters of the classifying network (Simonyan and Zisserman, 2015, Table 2: 138 million)."""
LAST_LAYER = 4096 * 1000 + 1000


def _small(fused: int) -> FCN:
    """A network of a few thousand parameters, none of them zero."""
    torch.manual_seed(0)
    network = FCN(MobileNet(width=0.0625, classes=None), classes=3, fused=fused).double().eval()
    for score in network.scores:
        nn.init.normal_(score.weight)
        nn.init.normal_(score.bias)
    return network


@pytest.mark.parametrize(
    ("name", "scored", "doublings"),
    [("fcn32s", [4096], 0), ("fcn16s", [4096, 512], 1), ("fcn8s", [4096, 512, 256], 2)],
)
def test_size_is_vgg_without_its_last_layer_and_scores(
    name: str, scored: list[int], doublings: int
) -> None:
    with torch.device("meta"):
        network = getattr(fcn, name)(classes=21)
    want = VGG16 - LAST_LAYER + sum(21 * dim + 21 for dim in scored) + doublings * 21 * 16
    parameters = sum(value.numel() for value in network.parameters())
    assert parameters == want
    assert round(parameters / 1e6) == 134  # Long et al., 2015, Table 1


def test_the_eye_reads_the_pooled_maps_and_the_fully_connected_layers() -> None:
    with torch.device("meta"):
        eye = ConvolutionalVGG16(channels=1)
        maps = eye.maps(torch.zeros(1, 1, 64, 96))
        assert [tuple(part.shape[1:]) for part in maps] == [(256, 8, 12), (512, 4, 6), (4096, 2, 3)]
        x = eye.features(torch.zeros(1, 1, 64, 96))
    assert x.shape[1:] == (512, 2, 3)
    assert eye.classifier[0].weight.shape == (4096, 512, 7, 7)


@pytest.mark.parametrize("fused", [1, 3])
def test_matches_the_sum_of_enlarged_scores(fused: int) -> None:
    network = _small(fused)
    image = torch.randn(2, 3, 64, 96).double()
    maps = network.eye.maps(image)
    scores = [
        F.conv2d(x, score.weight, score.bias)
        for x, score in zip(reversed(maps), network.scores, strict=False)
    ]
    logits = scores[0]
    for step in range(1, fused):
        # An untrained doubling is bilinear, but for the border.
        doubled = F.pad(logits, (1, 1, 1, 1))
        doubled = F.interpolate(doubled, scale_factor=2, mode="bilinear")[..., 2:-2, 2:-2]
        logits = doubled + scores[step]
    want = F.interpolate(logits, size=(64, 96), mode="bilinear")
    torch.testing.assert_close(network(image), want, rtol=0, atol=1e-12)


def test_scores_start_at_zero_and_doublings_learn() -> None:
    network = FCN(MobileNet(width=0.0625, classes=None), classes=3, fused=3)
    assert not network(torch.randn(2, 3, 32, 32)).any()
    assert all(double.weight.requires_grad for double in network.doublings)


@pytest.mark.slow
def test_a_classifiers_weights_slide_over_the_map() -> None:
    from eyehand.models.vision.vgg import vgg16

    torch.manual_seed(0)
    vgg, eye = vgg16().eval(), ConvolutionalVGG16().eval()
    eye.features.load_state_dict(vgg.features.state_dict())
    with torch.no_grad():
        for index in (0, 3):
            ours, theirs = eye.classifier[index], vgg.classifier[index]
            ours.weight.copy_(theirs.weight.view(ours.weight.shape))
            ours.bias.copy_(theirs.bias)
        image = torch.randn(1, 3, 224, 224)
        want = vgg.classifier[:6](vgg.features(image).flatten(1))
        got = eye.maps(image)[-1][:, :, 3, 3]
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fused", [0, 6])
def test_maps_that_the_eye_lacks_are_refused(fused: int) -> None:
    eye = MobileNet(width=0.0625, classes=None)
    with pytest.raises(ValueError, match=f"`fused` must be from 1 to 5, .*; got {fused}"):
        FCN(eye, classes=3, fused=fused)


def test_maps_that_do_not_double_are_refused() -> None:
    eye = MobileNet(width=0.0625, classes=None)
    eye.strides = (2, 4, 8, 16, 48)  # type: ignore[misc,assignment]
    with pytest.raises(ValueError, match=r"must double from one to the next; got \(16, 48\)"):
        FCN(eye, classes=3, fused=2)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be multiples of 32 for this FCN; got 64x80\."):
        _small(2)(torch.zeros(1, 3, 64, 80).double())


def test_an_eye_that_loses_cells_at_the_border_is_refused() -> None:
    network = FCN(build_network("alexnet", classes=None), classes=3, fused=1)
    with pytest.raises(ValueError, match="one cell for every stride; that of stride"):
        network(torch.zeros(1, 3, 96, 96))


class WideEye(nn.Module):
    """An eye with one map of 2,304 channels."""

    dims = (2304,)
    strides = (32,)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2304, 1, stride=32, bias=False)

    def maps(self, image: Tensor) -> list[Tensor]:
        return [self.layer(image)]


class BiasGradients(TorchDispatchMode):
    """Notes which convolutions are asked for the gradient of a bias: (to, from) channels."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: list[tuple[int, ...]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.convolution_backward.default and args[-1][2]:
            self.channels.append(tuple(args[2].shape[:2]))
        return func(*args, **(kwargs or {}))


def test_no_convolution_is_asked_for_the_bias_gradient_that_breaks_memory() -> None:
    torch.manual_seed(0)
    network = FCN(WideEye(), classes=5, fused=1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(
            network(torch.randn(2, 3, 64, 64)).float(), torch.ones(2, 64, 64).long()
        )
    with BiasGradients() as asked:
        loss.backward()
    assert asked.channels == []
    share = torch.full((5,), 0.2)  # of every class, at the start
    share[1] -= 1
    torch.testing.assert_close(network.scores[0].bias.grad, share, rtol=0, atol=1e-2)
