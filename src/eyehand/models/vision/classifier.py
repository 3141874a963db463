"""A network with its loss: pictures as they are stored go in, logits of classes come out."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.picture import scale_image
from eyehand.functional.segmentation import confusion_matrix
from eyehand.types import PictureBatch

AUXILIARY_WEIGHT = 0.3
"""Weight of each auxiliary classifier's loss (Szegedy et al., 2015, sec. 5)."""


class Classifier(nn.Module):
    """Scales pictures, asks a network, and compares with the labels by cross-entropy.

    It serves whole pictures and pixels alike: the classes are the second axis of the logits.

    Args:
        network: From pictures in [-1, 1] to logits; one with auxiliary classifiers returns a tuple
            in training, its own logits first.
        image_size: Height and width that pictures are scaled to before the network sees them;
            ``None`` leaves them as they are, as labels of pixels ask for.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> Classifier(network, image_size=8)(torch.zeros(2, 28, 28, 1, dtype=torch.uint8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, network: nn.Module, *, image_size: int | None) -> None:
        super().__init__()
        self.network = network
        self.image_size = image_size

    def forward(
        self, image: UInt8[Tensor, "batch height width channel"]
    ) -> Float[Tensor, "batch classes *place"] | tuple[Float[Tensor, "batch classes"], ...]:
        """Return the logits of stored pictures."""
        x = scale_image(image)
        if self.image_size is not None and x.shape[-2:] != (self.image_size, self.image_size):
            x = F.interpolate(x, size=(self.image_size, self.image_size), mode="bilinear")
        return self.network(x)

    def loss(self, batch: PictureBatch) -> dict[str, Tensor]:
        """Return ``loss``, the mean cross-entropy, and ``error``, the share of wrong answers."""
        found = self(batch.image)
        logits, *auxiliary = found if isinstance(found, tuple) else (found,)
        loss = F.cross_entropy(logits.float(), batch.label)
        error = (logits.argmax(dim=1) != batch.label).float().mean()
        for other in auxiliary:
            loss = loss + AUXILIARY_WEIGHT * F.cross_entropy(other.float(), batch.label)
        return {"loss": loss, "error": error.detach()}

    @torch.inference_mode()
    def confusion(
        self, batches: Iterable[PictureBatch], *, classes: int
    ) -> Int64[Tensor, "classes classes"]:
        """Count pictures, or pixels, by their class (row) and what they are taken for (column).

        The network is put into evaluation mode, and stays in it.
        """
        self.eval()
        counts = torch.zeros(classes, classes, dtype=torch.int64)
        for batch in batches:
            answer = self(batch.image).argmax(dim=1)
            counts += confusion_matrix(answer, batch.label, classes=classes)
        return counts
