"""VGG: nothing but 3x3 convolutions, two or more of them in place of one larger."""

from torch import nn

from eyehand.models.vision.alexnet import dense_layers
from eyehand.models.vision.network import FeatureMaps, Images, Logits, VisionNetwork


class VGG(VisionNetwork):
    """Five stages of 3x3 convolutions, each ended by a pooling (Simonyan & Zisserman, 2015).

    Two 3x3 convolutions see 5x5 pixels, three see 7x7: with fewer weights than one of that size,
    and a ReLU after each. Most parameters are in the first dense layer, not in the convolutions.
    Parameters have torchvision's names, so that its weights load key by key.

    Differs from the paper: 1. The last map is averaged to 7x7 cells before the dense layers, as
    torchvision does, so that any size is read; 224 pixels give 7x7 anyway. 2. Weights start as He
    et al. (2015) propose; the paper started the deeper networks from the shallowest.

    Args:
        depths: Convolutions of each stage.
        classes: Number of classes; None leaves the dense layers out.
        channels: Channels of the pictures.

    References:
        Simonyan & Zisserman, 2015, Table 1, https://arxiv.org/abs/1409.1556. Initialisation: He et
        al., 2015, https://arxiv.org/abs/1502.01852.

    Example:
        >>> import torch
        >>> network = VGG((1, 1, 2, 2, 2), classes=None)
        >>> [tuple(part.shape[1:]) for part in network.maps(torch.zeros(1, 3, 32, 32))][3:]
        [(512, 4, 4), (512, 2, 2), (512, 1, 1)]
    """

    dims = (64, 128, 256, 512, 512, 512)
    strides = (1, 2, 4, 8, 16, 32)

    def __init__(
        self,
        depths: tuple[int, int, int, int, int],
        *,
        classes: int | None = 1000,
        channels: int = 3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        dim = channels
        for depth, out_dim in zip(depths, self.dims[:5], strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(dim, out_dim, 3, padding=1), nn.ReLU()]
                dim = out_dim
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = None
        if classes is not None:
            self.classifier = nn.Sequential(*dense_layers(dim * 7 * 7, classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # none was left out

    def forward(self, image: Images) -> Logits:
        """Return logits of pictures of 32 pixels or more."""
        return self.needed(self.classifier)(self.avgpool(self.features(image)).flatten(1))

    def maps(self, image: Images) -> FeatureMaps:
        """Return the map before each pooling, and the one after the last."""
        maps = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(image)
            image = layer(image)
        return [*maps, image]


def vgg11(*, classes: int | None = 1000, channels: int = 3) -> VGG:
    """Return configuration A: 132,863,336 parameters (published: 133 million, Table 2)."""
    return VGG((1, 1, 2, 2, 2), classes=classes, channels=channels)


def vgg13(*, classes: int | None = 1000, channels: int = 3) -> VGG:
    """Return configuration B: 133,047,848 parameters (published: 133 million, Table 2)."""
    return VGG((2, 2, 2, 2, 2), classes=classes, channels=channels)


def vgg16(*, classes: int | None = 1000, channels: int = 3) -> VGG:
    """Return configuration D: 138,357,544 parameters (published: 138 million, Table 2)."""
    return VGG((2, 2, 3, 3, 3), classes=classes, channels=channels)


def vgg19(*, classes: int | None = 1000, channels: int = 3) -> VGG:
    """Return configuration E: 143,667,240 parameters (published: 144 million, Table 2)."""
    return VGG((2, 2, 4, 4, 4), classes=classes, channels=channels)
