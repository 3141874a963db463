"""GoogLeNet: convolutions of several sizes side by side, and no dense layers but the last."""

from collections import OrderedDict
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.models.vision.network import FeatureMaps, Images, Logits, Map, VisionNetwork
from eyehand.nn.normalization import LocalResponseNorm


class GoogLeNetLogits(NamedTuple):
    """What the network answers in training where it has auxiliary classifiers."""

    logits: Float[Tensor, "batch classes"]
    """Of the network's end."""
    early: Float[Tensor, "batch classes"]
    """Of the auxiliary classifier on inception 4a."""
    late: Float[Tensor, "batch classes"]
    """Of the auxiliary classifier on inception 4d."""


class Inception(nn.Module):
    """Four branches over one map, stacked (Szegedy et al., 2015, fig. 2b).

    1x1 convolutions reduce the channels before the larger kernels, which would otherwise cost most.

    Args:
        dim: Channels of the input.
        dims: Channels as a row of Table 1 lists them: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool.
        batch_norm: As for :class:`GoogLeNet`.

    Example:
        >>> layer = Inception(192, (64, 96, 128, 16, 32, 32), batch_norm=False)
        >>> layer(torch.zeros(1, 192, 28, 28)).shape
        torch.Size([1, 256, 28, 28])
    """

    def __init__(
        self, dim: int, dims: tuple[int, int, int, int, int, int], *, batch_norm: bool
    ) -> None:
        super().__init__()
        one, reduce_three, three, reduce_five, five, pool = dims
        large = 3 if batch_norm else 5
        self.branch1 = _unit(dim, one, 1, batch_norm=batch_norm)
        self.branch2 = nn.Sequential(
            _unit(dim, reduce_three, 1, batch_norm=batch_norm),
            _unit(reduce_three, three, 3, batch_norm=batch_norm),
        )
        self.branch3 = nn.Sequential(
            _unit(dim, reduce_five, 1, batch_norm=batch_norm),
            _unit(reduce_five, five, large, batch_norm=batch_norm),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), _unit(dim, pool, 1, batch_norm=batch_norm)
        )

    def forward(self, x: Map) -> Float[Tensor, "batch out_dim height width"]:
        """Apply the branches side by side."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], dim=1)


class GoogLeNet(VisionNetwork):
    """Nine inception modules after three convolutions (Szegedy et al., 2015, Table 1).

    Two networks bear this name. The published one has 5x5 convolutions and response normalisation:
    6,998,552 parameters, without auxiliary classifiers. torchvision's, with ``batch_norm``, has
    batch normalisation and, by a bug that it keeps for its weights (its issue 906), 3x3 in place of
    5x5: 6,624,904 parameters, 13,004,888 with auxiliary classifiers. Parameters of both have
    torchvision's names; its weights ask for pictures in [-1, 1].

    Table 1 counts weights, in units of 1024, and some of its rows are not what its own channels
    give: 2.7 for the first convolution (9.2), 364 for 4a (366.8), 463 for 4c (497.5), 580 for 4d
    (590.5), 840 for 4e (847), 1072 for 5a (1018), 1388 for 5b (1409).

    Differs from the paper: 1. Auxiliary classifiers average their map to 4x4 cells, as torchvision
    does, so that any size is read; the paper's windows of 5 with stride 3 give 4x4 for 224 pixels
    only. 2. The paper does not give the constants of response normalisation; these are those of the
    replication in Caffe by BVLC. 3. Weights start as He et al. (2015) propose.

    Args:
        classes: Number of classes; None leaves the classifiers out.
        channels: Channels of the pictures.
        auxiliary: Whether two classifiers inside the network help to train it; each one's loss is
            to be added with weight 0.3.
        batch_norm: Whether to build torchvision's variant.

    References:
        Szegedy et al., 2015, https://arxiv.org/abs/1409.4842. Constants of the normalisation:
        https://github.com/BVLC/caffe/tree/master/models/bvlc_googlenet.

    Example:
        >>> network = GoogLeNet(classes=10, auxiliary=True)
        >>> network.eval()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 10])
        >>> [tuple(logits.shape) for logits in network.train()(torch.zeros(1, 3, 64, 64))]
        [(1, 10), (1, 10), (1, 10)]
    """

    dims = (64, 192, 480, 832, 1024)
    strides = (2, 4, 8, 16, 32)

    def __init__(
        self,
        *,
        classes: int | None = 1000,
        channels: int = 3,
        auxiliary: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = _unit(channels, 64, 7, stride=2, batch_norm=batch_norm)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm1 = _normalization(batch_norm)
        self.conv2 = _unit(64, 64, 1, batch_norm=batch_norm)
        self.conv3 = _unit(64, 192, 3, batch_norm=batch_norm)
        self.norm2 = _normalization(batch_norm)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, (64, 96, 128, 16, 32, 32), batch_norm=batch_norm)
        self.inception3b = Inception(256, (128, 128, 192, 32, 96, 64), batch_norm=batch_norm)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, (192, 96, 208, 16, 48, 64), batch_norm=batch_norm)
        self.inception4b = Inception(512, (160, 112, 224, 24, 64, 64), batch_norm=batch_norm)
        self.inception4c = Inception(512, (128, 128, 256, 24, 64, 64), batch_norm=batch_norm)
        self.inception4d = Inception(512, (112, 144, 288, 32, 64, 64), batch_norm=batch_norm)
        self.inception4e = Inception(528, (256, 160, 320, 32, 128, 128), batch_norm=batch_norm)
        self.maxpool4 = nn.MaxPool2d(2 if batch_norm else 3, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, (256, 160, 320, 32, 128, 128), batch_norm=batch_norm)
        self.inception5b = Inception(832, (384, 192, 384, 48, 128, 128), batch_norm=batch_norm)
        self.aux1 = self.aux2 = self.fc = None
        if classes is not None:
            if auxiliary:
                self.aux1 = _AuxiliaryClassifier(512, classes, batch_norm=batch_norm)
                self.aux2 = _AuxiliaryClassifier(528, classes, batch_norm=batch_norm)
            self.dropout = nn.Dropout(0.4)
            self.fc = nn.Linear(1024, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Images) -> Logits | GoogLeNetLogits:
        """Return logits of pictures of any size; three of them where auxiliary ones are trained."""
        classify = self.needed(self.fc)
        maps, early, late = self._stages(image)
        logits = classify(self.dropout(maps[-1].mean(dim=(2, 3))))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return GoogLeNetLogits(logits, self.aux1(early), self.aux2(late))
        return logits

    def maps(self, image: Images) -> FeatureMaps:
        """Return the maps of the first and third convolution, and of inception 3b, 4e and 5b."""
        return self._stages(image)[0]

    def _stages(self, image: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the maps, and those of inception 4a and 4d, which auxiliary classifiers read."""
        first = self.conv1(image)
        second = self.norm2(self.conv3(self.conv2(self.norm1(self.maxpool1(first)))))
        third = self.inception3b(self.inception3a(self.maxpool2(second)))
        early = self.inception4a(self.maxpool3(third))
        late = self.inception4d(self.inception4c(self.inception4b(early)))
        fourth = self.inception4e(late)
        fifth = self.inception5b(self.inception5a(self.maxpool4(fourth)))
        return [first, second, third, fourth, fifth], early, late


def googlenet(*, classes: int | None = 1000, channels: int = 3) -> GoogLeNet:
    """Return the published network: 6,998,552 parameters.

    The rows of the paper's Table 1 add up to 6.96 million weights.
    """
    return GoogLeNet(classes=classes, channels=channels)


def googlenet_auxiliary(*, classes: int | None = 1000, channels: int = 3) -> GoogLeNet:
    """Return it with the two classifiers that help to train it: 13,378,280 parameters."""
    return GoogLeNet(classes=classes, channels=channels, auxiliary=True)


def googlenet_batch_norm(*, classes: int | None = 1000, channels: int = 3) -> GoogLeNet:
    """Return torchvision's variant: 6,624,904 parameters."""
    return GoogLeNet(classes=classes, channels=channels, batch_norm=True)


class _AuxiliaryClassifier(nn.Module):
    """Asks a map in the middle of the network for the classes (sec. 5)."""

    def __init__(self, dim: int, classes: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.conv = _unit(dim, 128, 1, batch_norm=batch_norm)
        self.fc1 = nn.Linear(2048, 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x)).flatten(1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


def _unit(
    dim: int, out_dim: int, kernel_size: int, *, stride: int = 1, batch_norm: bool
) -> nn.Sequential:
    """Convolve, keeping the size at stride 1, and rectify."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(
        dim, out_dim, kernel_size, stride=stride, padding=kernel_size // 2, bias=not batch_norm
    )
    if batch_norm:
        layers["bn"] = nn.BatchNorm2d(out_dim, eps=1e-3)
    layers["relu"] = nn.ReLU()
    return nn.Sequential(layers)


def _normalization(batch_norm: bool) -> nn.Module:
    # Caffe's alpha is divided by the 5 channels.
    return nn.Identity() if batch_norm else LocalResponseNorm(alpha=1e-4 / 5, k=1.0)
