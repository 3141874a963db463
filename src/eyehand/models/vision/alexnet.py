"""AlexNet: the network that showed, on ImageNet, what depth, ReLU and two GPUs could do."""

from itertools import accumulate

from torch import nn

from eyehand.models.vision.network import FeatureMaps, Images, Logits, VisionNetwork
from eyehand.nn.normalization import LocalResponseNorm
from eyehand.nn.perceptron import Perceptron

HIDDEN_DIM = 4096
"""Width of the two hidden layers of the classifier."""


class AlexNet(VisionNetwork):
    """Five convolutions and three dense layers (Krizhevsky et al., 2012, fig. 2).

    The second, fourth and fifth convolution have two groups: each GPU had half of the channels, and
    they exchanged them before the third convolution and the dense layers only. Pooling windows of 3
    overlap at stride 2. Response normalisation follows the ReLU of the first two convolutions.

    60,965,224 parameters with 1000 classes; the paper says 60 million.

    Differs from the paper: pictures have 227 pixels, not 224. With 224, the first convolution would
    not give the 55 cells that the rest of the paper counts on.

    Args:
        classes: Number of classes; None leaves the dense layers out.
        channels: Channels of the pictures.
        image_size: Height and width of the pictures that are classified; ``maps`` reads others.

    Raises:
        ValueError: If ``image_size`` is less than 67: nothing would be left after the last pooling.

    References:
        Krizhevsky et al., 2012,
        https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks.

    Example:
        >>> import torch
        >>> network = AlexNet(classes=None, channels=3, image_size=227)
        >>> [tuple(part.shape[1:]) for part in network.maps(torch.zeros(1, 3, 227, 227))]
        [(96, 55, 55), (256, 27, 27), (256, 13, 13), (256, 6, 6)]
    """

    dims = (96, 256, 256, 256)
    strides = (4, 8, 16, 32)

    def __init__(self, *, classes: int | None, channels: int, image_size: int) -> None:
        super().__init__()
        if image_size < 67:
            raise ValueError(f"AlexNet reads pictures of 67 pixels or more; got {image_size=}.")
        self.image_size = image_size
        self.stages = nn.Sequential(
            nn.Sequential(nn.Conv2d(channels, 96, 11, stride=4), nn.ReLU(), LocalResponseNorm()),
            nn.Sequential(
                nn.MaxPool2d(3, stride=2),
                nn.Conv2d(96, 256, 5, padding=2, groups=2),
                nn.ReLU(),
                LocalResponseNorm(),
            ),
            nn.Sequential(
                nn.MaxPool2d(3, stride=2),
                nn.Conv2d(256, 384, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(384, 384, 3, padding=1, groups=2),
                nn.ReLU(),
                nn.Conv2d(384, 256, 3, padding=1, groups=2),
                nn.ReLU(),
            ),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = None
        if classes is not None:
            side = (image_size - 11) // 4 + 1
            for _ in range(3):
                side = (side - 3) // 2 + 1
            self.classifier = nn.Sequential(nn.Flatten(), *dense_layers(256 * side * side, classes))
        layers = [part for part in self.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
        for number, layer in enumerate(layers, start=1):  # as sec. 5 of the paper says
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, float(number in (2, 4, 5, 6, 7)))  # type: ignore[arg-type]

    def forward(self, image: Images) -> Logits:
        """Return logits of pictures whose mean was subtracted."""
        self.check_size(image)
        return self.needed(self.classifier)(self.maps(image)[-1])

    def maps(self, image: Images) -> FeatureMaps:
        """Return the maps of the first, second and fifth convolution, and of the last pooling."""
        return list(accumulate([image, *self.stages], lambda x, stage: stage(x)))[1:]


def alexnet(*, classes: int | None = 1000, channels: int = 3, image_size: int = 227) -> AlexNet:
    """Return the published network: 60,965,224 parameters."""
    return AlexNet(classes=classes, channels=channels, image_size=image_size)


def dense_layers(dim: int, classes: int) -> list[nn.Module]:
    """Return the three dense layers, which VGG and SPP-net have too, for ``dim`` inputs."""
    hidden = Perceptron(dim, (HIDDEN_DIM, HIDDEN_DIM), dropout=0.5)
    return [*hidden, nn.Linear(HIDDEN_DIM, classes)]
