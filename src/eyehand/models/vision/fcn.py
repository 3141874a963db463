"""FCN: a network that classifies pictures, changed to classify every pixel."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.models.vision.network import FeatureMaps, Images
from eyehand.models.vision.vgg import vgg16


class ConvolutionalVGG16(nn.Module):
    """VGG-16 whose fully connected layers slide over the map (Long et al., 2015, sec. 3.1).

    A fully connected layer is a convolution with a kernel as large as its map: the weights of
    ``classifier.0`` of our VGG-16, or torchvision's, viewed as ``(4096, 512, 7, 7)``, are the
    weights of the first one here, and those of ``classifier.3``, viewed as ``(4096, 4096, 1, 1)``,
    of the second.

    Differs from the paper: the first of them is padded by 3, so that maps keep their size. The
    authors' code pads the picture by 100 pixels, and crops what becomes too large.

    Args:
        channels: Channels of the picture.

    Example:
        >>> with torch.device("meta"):
        ...     eye = ConvolutionalVGG16()
        ...     [tuple(part.shape[1:]) for part in eye.maps(torch.zeros(1, 3, 64, 96))]
        [(256, 8, 12), (512, 4, 6), (4096, 2, 3)]
    """

    dims = (256, 512, 4096)
    strides = (8, 16, 32)

    def __init__(self, *, channels: int = 3) -> None:
        super().__init__()
        self.features = vgg16(classes=None, channels=channels).features
        self.classifier = nn.Sequential(
            nn.Conv2d(512, 4096, 7, padding=3),
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(4096, 4096, 1),
            nn.ReLU(),
            nn.Dropout(),
        )
        for layer in self.classifier:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def maps(self, image: Images) -> FeatureMaps:
        """Return the third and the fourth pooled map, and the last fully connected layer's."""
        pooled = []
        x = image
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        return [pooled[2], pooled[3], self.classifier(x)]


class _Score(nn.Conv2d):
    """A convolution whose bias is added apart.

    In bf16 oneDNN 3.12 (torch 2.13, on a CPU with AMX) writes past the bias's gradient where a
    convolution goes from more than 2,048 channels to fewer than 16, which ends the process.
    """

    def forward(
        self, input: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Return the scores."""
        assert self.bias is not None
        return self._conv_forward(input, self.weight, None) + self.bias[:, None, None]


class FCN(nn.Module):
    """Class scores of the last maps of an eye, the coarse ones enlarged and added (sec. 4.2).

    ``fused`` is 1 for FCN-32s, 2 for FCN-16s and 3 for FCN-8s, with VGG-16 as the eye. Every
    doubling starts as bilinear interpolation and is learnt; the last enlargement, by the stride of
    the finest map in use, stays bilinear (sec. 4.3). Scores start at zero, as the paper's do.

    Differs from the paper: 1. Any eye that has ``maps`` will do. 2. Channels of a doubling do not
    mix. 3. The last enlargement repeats the border where the paper's blends into zeros.

    Args:
        eye: A network with ``maps``, ``dims`` and ``strides``, as every one of the registry has; a
            map must have a cell for every stride. Those of LeNet-5, AlexNet and SPP-net lose some
            at the border.
        classes: Width of the answer at a pixel.
        fused: How many maps are scored, from the coarsest.

    Raises:
        ValueError: If the eye has fewer maps than ``fused``, if strides do not double from one map
            to the next, or, when it runs, if a map lacks a cell for a stride.

    References:
        Long et al., 2015, https://arxiv.org/abs/1411.4038.

    Example:
        >>> from eyehand.models.vision.mobilenet import MobileNet
        >>> network = FCN(MobileNet(width=0.25, classes=None), classes=5, fused=3)
        >>> network(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 5, 64, 96])
    """

    def __init__(self, eye: Any, *, classes: int, fused: int) -> None:
        super().__init__()
        self.eye = eye
        maps = len(eye.strides)
        if not 1 <= fused <= maps:
            raise ValueError(f"`fused` must be from 1 to {maps}, the maps of the eye; got {fused}.")
        self.strides: tuple[int, ...] = eye.strides[-fused:]
        if self.strides != tuple(self.strides[0] * 2**level for level in range(fused)):
            raise ValueError(
                f"The strides of the maps to fuse must double from one to the next; "
                f"got {self.strides}."
            )
        self.scores = nn.ModuleList(_Score(dim, classes, 1) for dim in reversed(eye.dims[-fused:]))
        for value in self.scores.parameters():
            nn.init.zeros_(value)
        self.doublings = nn.ModuleList(_bilinear_doubling(classes) for _ in range(fused - 1))

    def forward(self, image: Images) -> Float[Tensor, "batch classes height width"]:
        """Return logits per pixel of pictures whose sides are multiples of the coarsest stride."""
        height, width = image.shape[-2:]
        finest, coarsest = self.strides[0], self.strides[-1]
        if height % coarsest or width % coarsest:
            raise ValueError(
                f"Height and width must be multiples of {coarsest} for this FCN; "
                f"got {height}x{width}."
            )
        maps = self.eye.maps(image)[::-1]
        for x, stride in zip(maps, reversed(self.strides), strict=False):
            if x.shape[-2:] != (height // stride, width // stride):
                raise ValueError(
                    f"Each map must have one cell for every stride; that of stride {stride} has "
                    f"{x.shape[-2]}x{x.shape[-1]} cells of {height}x{width} pixels."
                )
        logits = self.scores[0](maps[0])
        for number, double in enumerate(self.doublings, start=1):
            logits = double(logits) + self.scores[number](maps[number])
        return F.interpolate(logits, scale_factor=finest, mode="bilinear")


def fcn32s(*, classes: int = 21, channels: int = 3) -> FCN:
    """Return FCN-32s on VGG-16: 134 million parameters."""
    return FCN(ConvolutionalVGG16(channels=channels), classes=classes, fused=1)


def fcn16s(*, classes: int = 21, channels: int = 3) -> FCN:
    """Return FCN-16s on VGG-16."""
    return FCN(ConvolutionalVGG16(channels=channels), classes=classes, fused=2)


def fcn8s(*, classes: int = 21, channels: int = 3) -> FCN:
    """Return FCN-8s on VGG-16."""
    return FCN(ConvolutionalVGG16(channels=channels), classes=classes, fused=3)


def _bilinear_doubling(classes: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1, groups=classes, bias=False)
    tent = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    with torch.no_grad():
        layer.weight.copy_(torch.outer(tent, tent))
    return layer
