"""MobileNet: every convolution but the first split into one per channel and one across channels."""

from itertools import accumulate

from torch import nn

from eyehand.models.vision.network import FeatureMaps, Images, Logits, VisionNetwork

_STAGES = ((64,), (128,) * 2, (256,) * 2, (512,) * 6, (1024,) * 2)
"""Channels of the blocks of Table 1, by resolution."""


class MobileNet(VisionNetwork):
    """Depthwise separable convolutions from picture to class (Howard et al., 2017, Table 1).

    A depthwise separable block needs ``1 / out_dim + 1 / 9`` of the multiply-adds of a full 3x3
    convolution (sec. 3.1). That is not its share of the time: the depthwise half does little
    arithmetic for each number that it reads, and waits for memory.

    Differs from the paper: 1. Table 1 gives the last depthwise convolution stride 2, and equal
    sizes before and after it; the stride here is 1, which the sizes ask for. 2. Weights start as
    He et al. (2015) propose; the paper does not say how its own do.

    Args:
        width: The paper's alpha: every layer has this share of its channels.
        classes: Width of the answer; ``None`` leaves the classifier out.
        channels: Channels of the picture.

    Raises:
        ValueError: If ``width`` is not positive.

    References:
        Howard et al., 2017, https://arxiv.org/abs/1704.04861.

    Example:
        >>> import torch
        >>> network = MobileNet(width=0.25, classes=10)
        >>> network(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 10])
        >>> [tuple(map_.shape[1:]) for map_ in network.maps(torch.zeros(2, 3, 64, 64))]
        [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)]
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(
        self, *, width: float = 1.0, classes: int | None = 1000, channels: int = 3
    ) -> None:
        super().__init__()
        if width <= 0:
            raise ValueError(f"`width` of MobileNet must be positive; got {width}.")
        dim = _thinned(32, width)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, dim, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
        )
        self.stages = nn.ModuleList()
        for number, stage in enumerate(_STAGES):
            blocks = nn.Sequential()
            for index, published in enumerate(stage):
                out_dim = _thinned(published, width)
                stride = 2 if index == 0 and number > 0 else 1
                blocks.append(_separable_block(dim, out_dim, stride=stride))
                dim = out_dim
            self.stages.append(blocks)
        self.dims = tuple(_thinned(stage[-1], width) for stage in _STAGES)
        self.classifier = None if classes is None else nn.Linear(dim, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Images) -> Logits:
        """Return logits of pictures of any size."""
        return self.needed(self.classifier)(self.maps(image)[-1].mean(dim=(2, 3)))

    def maps(self, image: Images) -> FeatureMaps:
        """Return the last map of each resolution, from fine to coarse."""
        return list(accumulate([self.stem(image), *self.stages], lambda x, stage: stage(x)))[1:]


def mobilenet(*, classes: int | None = 1000, channels: int = 3) -> MobileNet:
    """Return the full width of the paper: 4.2 million parameters."""
    return MobileNet(classes=classes, channels=channels)


def _thinned(dim: int, width: float) -> int:
    return max(1, round(dim * width))


def _separable_block(dim: int, out_dim: int, *, stride: int) -> nn.Sequential:
    """Figure 3, right: batch norm and ReLU after both convolutions."""
    return nn.Sequential(
        nn.Conv2d(dim, dim, 3, stride=stride, padding=1, groups=dim, bias=False),
        nn.BatchNorm2d(dim),
        nn.ReLU(),
        nn.Conv2d(dim, out_dim, 1, bias=False),
        nn.BatchNorm2d(out_dim),
        nn.ReLU(),
    )
