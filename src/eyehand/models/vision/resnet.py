"""ResNet: blocks that learn what to add to their input, so that depth can be trained."""

from jaxtyping import Float
from torch import Tensor, nn

from eyehand.models.vision.network import FeatureMaps, Images, Logits, Map, VisionNetwork
from eyehand.nn.residual import ProjectionShortcut


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2016, fig. 5 left).

    Args:
        dim: Channels of the input.
        width: Channels of the convolutions; the output has ``expansion`` times as many.
        stride: Of the first convolution and of the shortcut.

    Example:
        >>> import torch
        >>> BasicBlock(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    expansion = 1

    def __init__(self, dim: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(dim, width, stride)

    def forward(self, x: Map) -> Float[Tensor, "batch out_dim out_height out_width"]:
        """Add what the block has learnt to what came in."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3, 1x1 to more, beside a shortcut (He et al., 2016, fig. 5 right).

    Args:
        dim: Channels of the input.
        width: Channels of the 3x3 convolution; the output has ``expansion`` times as many.
        stride: Of the 3x3 convolution and of the shortcut.

    Example:
        >>> import torch
        >>> Bottleneck(4, 2, stride=2)(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    expansion = 4

    def __init__(self, dim: int, width: int, *, stride: int) -> None:
        super().__init__()
        out_dim = self.expansion * width
        self.conv1 = nn.Conv2d(dim, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_dim, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_dim)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(dim, out_dim, stride)

    def forward(self, x: Map) -> Float[Tensor, "batch out_dim out_height out_width"]:
        """Add what the block has learnt to what came in."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.downsample(x))


class ResNet(VisionNetwork):
    """Four stages of residual blocks (He et al., 2016, Table 1).

    The shortcut is not activated before it is added: a ReLU there would let the signal only grow.
    Parameters have torchvision's names, so that its weights load key by key.

    Differs from the paper: the bottleneck strides in its 3x3 convolution, as torchvision's does,
    not in its first 1x1, which skips three pixels of four and costs less (3.8 billion
    multiply-adds for 50 layers; here 4.1). Shortcuts are the paper's option B: a projection where
    the shape changes, the identity elsewhere.

    Args:
        block: The kind of block.
        depths: Blocks in each of the four stages.
        classes: Width of the answer; ``None`` leaves the classifier out.
        channels: Channels of the picture.

    References:
        He et al., 2016, https://arxiv.org/abs/1512.03385. Initialisation: He et al., 2015,
        https://arxiv.org/abs/1502.01852.

    Example:
        >>> import torch
        >>> network = ResNet(BasicBlock, (1, 1, 1, 1), classes=10)
        >>> network(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 10])
        >>> [tuple(map_.shape[1:]) for map_ in network.maps(torch.zeros(2, 3, 64, 64))]
        [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        classes: int | None = 1000,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.dims = (64, *(block.expansion * width for width in (64, 128, 256, 512)))
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, self.dims[0], 64, depth=depths[0], stride=1)
        self.layer2 = _stage(block, self.dims[1], 128, depth=depths[1], stride=2)
        self.layer3 = _stage(block, self.dims[2], 256, depth=depths[2], stride=2)
        self.layer4 = _stage(block, self.dims[3], 512, depth=depths[3], stride=2)
        self.fc = None if classes is None else nn.Linear(self.dims[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Images) -> Logits:
        """Return logits of pictures of any size."""
        return self.needed(self.fc)(self.maps(image)[-1].mean(dim=(2, 3)))

    def maps(self, image: Images) -> FeatureMaps:
        """Return the stem's map and the last one of each stage."""
        stem = self.relu(self.bn1(self.conv1(image)))
        first = self.layer1(self.maxpool(stem))
        second = self.layer2(first)
        third = self.layer3(second)
        return [stem, first, second, third, self.layer4(third)]


def resnet18(*, classes: int | None = 1000, channels: int = 3) -> ResNet:
    """Return the network of 18 layers: 11.7 million parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes=classes, channels=channels)


def resnet34(*, classes: int | None = 1000, channels: int = 3) -> ResNet:
    """Return the network of 34 layers: 21.8 million parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), classes=classes, channels=channels)


def resnet50(*, classes: int | None = 1000, channels: int = 3) -> ResNet:
    """Return the network of 50 layers: 25.6 million parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes=classes, channels=channels)


def resnet101(*, classes: int | None = 1000, channels: int = 3) -> ResNet:
    """Return the network of 101 layers: 44.5 million parameters."""
    return ResNet(Bottleneck, (3, 4, 23, 3), classes=classes, channels=channels)


def resnet152(*, classes: int | None = 1000, channels: int = 3) -> ResNet:
    """Return the network of 152 layers: 60.2 million parameters."""
    return ResNet(Bottleneck, (3, 8, 36, 3), classes=classes, channels=channels)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], dim: int, width: int, *, depth: int, stride: int
) -> nn.Sequential:
    out_dim = block.expansion * width
    return nn.Sequential(
        block(dim, width, stride=stride),
        *(block(out_dim, width, stride=1) for _ in range(depth - 1)),
    )


def _shortcut(dim: int, out_dim: int, stride: int) -> nn.Module:
    if dim == out_dim and stride == 1:
        return nn.Identity()
    return ProjectionShortcut(dim, out_dim, stride=stride)
