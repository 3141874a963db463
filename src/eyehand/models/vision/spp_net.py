"""SPP-net: pools the last map into a fixed number of bins, so that any picture size will do."""

from itertools import accumulate

from torch import nn

from eyehand.models.vision.alexnet import dense_layers
from eyehand.models.vision.network import FeatureMaps, Images, Logits, VisionNetwork
from eyehand.nn.normalization import LocalResponseNorm
from eyehand.nn.pooling import SpatialPyramidPooling

LEVELS = (6, 3, 2, 1)
"""Bins along each side of the pyramid's levels: 50 bins in all (He et al., 2014, sec. 3.1)."""


class SPPNet(VisionNetwork):
    """The convolutions of ZF-5, a spatial pyramid and three dense layers (He et al., 2014).

    Dense layers ask for a fixed number of inputs; a pyramid whose bins grow with the picture gives
    it, where a crop or a warp would lose or bend what is seen. It has 77,037,672 parameters with
    1000 classes (counted here; the paper gives none), most in the first dense layer.

    Padding is such that pictures of 224 pixels give the maps of Table 1 (55, 27 and 13 cells), and
    those of 180 pixels, on which the paper also trains, the 10 cells of sec. 2.3.

    Differs from the paper: 1. It does not give the constants of response normalisation; these are
    AlexNet's. 2. Weights start as He et al. (2015) propose.

    Args:
        classes: Number of classes; None leaves the pyramid and the dense layers out.
        channels: Channels of the pictures.

    References:
        He et al., 2014, https://arxiv.org/abs/1406.4729, Table 1 and sec. 3.1. Initialisation: He
        et al., 2015, https://arxiv.org/abs/1502.01852.

    Example:
        >>> import torch
        >>> network = SPPNet(classes=None)
        >>> [tuple(part.shape[1:]) for part in network.maps(torch.zeros(1, 3, 224, 224))]
        [(96, 110, 110), (96, 55, 55), (256, 27, 27), (256, 13, 13)]
    """

    dims = (96, 96, 256, 256)
    strides = (2, 4, 8, 16)

    def __init__(self, *, classes: int | None = 1000, channels: int = 3) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(channels, 96, 7, stride=2, padding=1), nn.ReLU(), LocalResponseNorm()
            ),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Sequential(
                nn.Conv2d(96, 256, 5, stride=2, padding=1), nn.ReLU(), LocalResponseNorm()
            ),
            nn.Sequential(
                nn.MaxPool2d(3, stride=2),
                nn.Conv2d(256, 384, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(384, 384, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.ReLU(),
            ),
        )
        self.classifier = None
        if classes is not None:
            bins = sum(level**2 for level in LEVELS)
            self.classifier = nn.Sequential(
                SpatialPyramidPooling(LEVELS), *dense_layers(256 * bins, classes)
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # none was left out

    def forward(self, image: Images) -> Logits:
        """Return logits of pictures of any size."""
        return self.needed(self.classifier)(self.maps(image)[-1])

    def maps(self, image: Images) -> FeatureMaps:
        """Return the maps of the first convolution and pooling, and of the second and fifth one."""
        return list(accumulate([image, *self.stages], lambda x, stage: stage(x)))[1:]


def spp_net(*, classes: int | None = 1000, channels: int = 3) -> SPPNet:
    """Return the published network: 77,037,672 parameters."""
    return SPPNet(classes=classes, channels=channels)
