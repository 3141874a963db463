"""How well pixels are classified: the measures of Long et al., 2015, from a confusion matrix."""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor


class SegmentationScores(NamedTuple):
    """The measures of Long et al., 2015, sec. 5, each in [0, 1]."""

    pixel_accuracy: float
    """Share of the pixels whose class is right."""
    mean_accuracy: float
    """The same for each class, averaged over classes."""
    mean_iou: float
    """Intersection over union of each class, averaged over classes."""
    frequency_weighted_iou: float
    """The same, each class counted by its share of the pixels."""


def confusion_matrix(
    predicted: Int64[Tensor, "*place"], label: Int64[Tensor, "*place"], *, classes: int
) -> Int64[Tensor, "classes classes"]:
    """Count pixels by what they are (row) and what they are taken for (column).

    Matrices of several pictures add up; means of their scores do not.

    Raises:
        ValueError: If a number is not that of a class.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]), classes=2).tolist()
        [[1, 1], [0, 1]]
    """
    for name, values in (("predicted", predicted), ("label", label)):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < classes:
            ends = f"{int(values.min())} to {int(values.max())}"
            raise ValueError(f"`{name}` must be 0 to {classes - 1}; got {ends}.")
    pairs = classes * label.flatten() + predicted.flatten()
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def segmentation_scores(confusion: Int64[Tensor, "classes classes"]) -> SegmentationScores:
    r"""Return the figures of a confusion matrix.

    .. math:: \frac{\sum_i n_{ii}}{\sum_i t_i}, \quad
              \frac{1}{n} \sum_i \frac{n_{ii}}{t_i}, \quad
              \frac{1}{n} \sum_i \frac{n_{ii}}{u_i}, \quad
              \frac{1}{\sum_k t_k} \sum_i \frac{t_i n_{ii}}{u_i}, \qquad
              u_i = t_i + \sum_j n_{ji} - n_{ii}

    A class without a pixel is left out of the means, because it has no value. A pixel that is taken
    for such a class still counts as wrong.

    Args:
        confusion: Pixels by class (row) and by what they were taken for (column), at least one.

    References:
        Long, Shelhamer and Darrell, 2015, https://arxiv.org/abs/1411.4038.

    Example:
        >>> segmentation_scores(torch.tensor([[3, 1], [0, 4]])).mean_iou
        0.775
    """
    counts = confusion.double()
    right, there = counts.diagonal(), counts.sum(dim=1)
    union = there + counts.sum(dim=0) - right
    present = there > 0
    right, there, union = right[present], there[present], union[present]
    return SegmentationScores(
        pixel_accuracy=float(right.sum() / there.sum()),
        mean_accuracy=float((right / there).mean()),
        mean_iou=float((right / union).mean()),
        frequency_weighted_iou=float((there * right / union).sum() / there.sum()),
    )
