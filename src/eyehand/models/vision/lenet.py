"""LeNet-5: the network that read handwritten digits, with the parameters it had in 1998."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.models.vision.network import FeatureMaps, Images, Logits, Map, VisionNetwork

C3_CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip
"""Which of S2's six maps each of C3's sixteen reads (LeCun et al., 1998, Table I)."""


class ScaledTanh(nn.Module):
    """The squashing ``1.7159 tanh(2 x / 3)`` (LeCun et al., 1998, eq. 6 and appendix A).

    It goes through (1, 1) and (-1, -1), where it bends most.

    Example:
        >>> round(ScaledTanh()(torch.tensor(1.0)).item(), 3)
        1.0
    """

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Squash every number."""
        return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """The sum of each 2x2 square, scaled and shifted by two parameters a map (sec. II-B).

    It is no average: the coefficient says how much of the sum goes on, so that a map can be
    blurred, or turned into an "or" or an "and" by the squashing that follows.

    Args:
        dim: Number of maps.

    Example:
        >>> Subsampling(6)(torch.zeros(1, 6, 28, 28)).shape
        torch.Size([1, 6, 14, 14])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sum = nn.AvgPool2d(2, divisor_override=1)
        self.weight = nn.Parameter(torch.empty(dim, 1, 1))
        self.bias = nn.Parameter(torch.zeros(dim, 1, 1))

    def forward(self, x: Map) -> Float[Tensor, "batch dim out_height out_width"]:
        """Halve the height and the width."""
        return self.sum(x) * self.weight + self.bias


class PartialConvolution(nn.Module):
    """A 5x5 convolution each of whose maps reads only some of the maps below (sec. II-B).

    Args:
        connections: For each map, the numbers of the maps that it reads.

    Example:
        >>> PartialConvolution(((0, 1), (1, 2)))(torch.zeros(1, 3, 14, 14)).shape
        torch.Size([1, 2, 10, 10])
    """

    def __init__(self, connections: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.connections = connections
        self.maps = nn.ModuleList(nn.Conv2d(len(below), 1, 5) for below in connections)

    def forward(self, x: Map) -> Float[Tensor, "batch out_dim out_height out_width"]:
        """Convolve without padding."""
        parts = [
            convolution(x[:, list(below)])
            for convolution, below in zip(self.maps, self.connections, strict=True)
        ]
        return torch.cat(parts, dim=1)


class LeNet5(VisionNetwork):
    """Convolutions and subsampling by turns, then a classifier (LeCun et al., 1998, sec. II-B).

    Layers bear the paper's names. C1 to F6 have 60,000 parameters, as published: 156, 12, 1,516,
    32, 48,120 and 10,164. The paper pads digits of 28x28 to 32x32: a stroke that ends at the rim of
    the picture must still fall into the middle of some receptive field. ``eyehand classify`` scales
    pictures instead.

    Differs from the paper: the last layer is linear (850 more parameters) and is trained through
    cross-entropy, where the paper measures distances to fixed 7x12 drawings of the characters.

    Args:
        classes: Number of classes; None leaves out F6 and the last layer.
        channels: Channels of the pictures.
        image_size: Height and width of the pictures that are classified; C5 is a convolution, so
            ``maps`` reads larger ones too.

    Raises:
        ValueError: If ``image_size`` is less than 32.

    References:
        LeCun et al., 1998, https://doi.org/10.1109/5.726791.

    Example:
        >>> network = LeNet5(classes=10, channels=1, image_size=32)
        >>> network(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 10])
        >>> [tuple(part.shape[1:]) for part in network.maps(torch.zeros(2, 1, 32, 32))]
        [(6, 28, 28), (16, 10, 10), (120, 1, 1)]
    """

    dims = (6, 16, 120)
    strides = (1, 2, 4)

    def __init__(self, *, classes: int | None, channels: int, image_size: int) -> None:
        super().__init__()
        if image_size < 32:
            raise ValueError(f"LeNet-5 reads pictures of 32 pixels or more; got {image_size=}.")
        self.image_size = image_size
        self.squash = ScaledTanh()
        self.c1 = nn.Conv2d(channels, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConvolution(C3_CONNECTIONS)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        side = ((image_size - 4) // 2 - 4) // 2 - 4
        self.f6 = None if classes is None else nn.Linear(120 * side * side, 84)
        self.output = None if classes is None else nn.Linear(84, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | Subsampling):
                inputs = 4 if isinstance(module, Subsampling) else module.weight[0].numel()
                nn.init.uniform_(module.weight, -2.4 / inputs, 2.4 / inputs)  # appendix A
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # none was left out

    def forward(self, image: Images) -> Logits:
        """Return logits of pictures of about mean 0 and variance 1."""
        self.check_size(image)
        f6 = self.needed(self.f6)(self.maps(image)[-1].flatten(1))
        return self.needed(self.output)(self.squash(f6))

    def maps(self, image: Images) -> FeatureMaps:
        """Return the maps of C1, C3 and C5."""
        c1 = self.squash(self.c1(image))
        c3 = self.squash(self.c3(self.squash(self.s2(c1))))
        return [c1, c3, self.squash(self.c5(self.squash(self.s4(c3))))]


def lenet5(*, classes: int | None = 10, channels: int = 1, image_size: int = 32) -> LeNet5:
    """Return the published network: 60,850 parameters with its linear last layer."""
    return LeNet5(classes=classes, channels=channels, image_size=image_size)
