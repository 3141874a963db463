"""U-Net: an encoder and a decoder, joined at every resolution."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.models.vision.network import Images


class UNet(nn.Module):
    """A class for every pixel, from maps of all resolutions (Ronneberger et al., 2015, fig. 1).

    At every resolution the encoder's map is concatenated to the decoder's. Without these bridges
    the fine outlines are lost in the coarsest map.

    Differs from the paper: 1. Convolutions are padded, so the answer has the size of the picture
    and the bridges need no cropping; the paper's are not, and its 572 pixels become 388. 2. No
    dropout at the end of the way down.

    Args:
        classes: Width of the answer at a pixel.
        channels: Channels of the picture.
        dim: Channels at full resolution; every halving doubles them.
        depth: Number of halvings.

    References:
        Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597.

    Example:
        >>> UNet(classes=5, dim=8, depth=2)(torch.zeros(1, 3, 32, 48)).shape
        torch.Size([1, 5, 32, 48])
    """

    def __init__(self, *, classes: int, channels: int = 3, dim: int = 64, depth: int = 4) -> None:
        super().__init__()
        dims = [dim * 2**level for level in range(depth + 1)]
        self.stride = 2**depth
        self.down = nn.ModuleList(
            _two_convolutions(fine, coarse)
            for fine, coarse in zip([channels, *dims[:-1]], dims, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(dims[:-1])
        )
        self.merge = nn.ModuleList(
            _two_convolutions(2 * width, width) for width in reversed(dims[:-1])
        )
        self.score = nn.Conv2d(dim, classes, 1)
        self._initialise()

    def forward(self, image: Images) -> Float[Tensor, "batch classes height width"]:
        """Return logits per pixel of pictures whose sides are multiples of ``2**depth``."""
        height, width = image.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"Height and width must be multiples of {self.stride} for this UNet; "
                f"got {height}x{width}."
            )
        x = self.down[0](image)
        bridges = []
        for level in self.down[1:]:
            bridges.append(x)
            x = level(self.pool(x))
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([bridges.pop(), up(x)], dim=1))
        return self.score(x)

    def _initialise(self) -> None:
        """Sec. 3: deviation sqrt(2 / incoming); strides of a 2x2 up-convolution do not overlap."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=(2 / module.in_channels) ** 0.5)


def unet(*, classes: int = 2, channels: int = 3) -> UNet:
    """Return the size of the paper: 31.0 million parameters."""
    return UNet(classes=classes, channels=channels)


def _two_convolutions(dim: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(dim, out_dim, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out_dim, out_dim, 3, padding=1),
        nn.ReLU(),
    )
