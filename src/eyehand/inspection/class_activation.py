"""Class activation maps: where a classifier saw the class that it names."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.inspection.nested import tensors
from eyehand.inspection.operators import Call, traced

REMEMBERED = 16
"""Maps before the last layer that may be the one that is averaged."""


@dataclass(frozen=True)
class ClassActivationMap:
    """How much each place of the last map speaks for a class."""

    values: Float[np.ndarray, "rows columns"]
    """Their mean, with the bias added, is the class's logit."""
    class_index: int


def class_activation_map(
    module: nn.Module,
    image: Float[Tensor, "1 channel height width"],
    *,
    class_index: int | None = None,
) -> ClassActivationMap:
    r"""Weigh the channels of the last map as the classifier does (Zhou et al., 2016, eq. 2).

    .. math:: M_c(y, x) = \sum_k w_{ck} f_k(y, x)

    The network must end in an average over space and one linear layer; whether it does is told by
    its numbers on this picture, so that functional calls and dropout between the two are allowed.

    Args:
        module: A classifier, run in evaluation mode.
        image: One picture.
        class_index: The class; ``None`` means the one with the largest logit.

    Raises:
        ValueError: If the network does not end so, or the class is out of range.

    References:
        Zhou et al., 2016, https://arxiv.org/abs/1512.04150.

    Example:
        >>> ending = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)]
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), *ending)
        >>> class_activation_map(network, torch.ones(1, 3, 8, 8)).values.shape
        (6, 6)
    """
    ending = _Ending()
    with traced(module, observe=ending), torch.no_grad():
        output = next(tensors(module.eval()(image)), None)
    if output is None or ending.logits is None or not torch.equal(output, ending.logits):
        raise ValueError(
            "A class activation map needs a network that ends in an average over space and one "
            f"linear layer (Zhou et al., 2016); {type(module).__name__} does not."
        )
    classes = output.shape[1]
    chosen = int(output.argmax()) if class_index is None else class_index
    if not 0 <= chosen < classes:
        raise ValueError(f"`class_index` must lie in 0 to {classes - 1}. Got {chosen}.")
    values = torch.einsum("k,kyx->yx", ending.weight[:, chosen], ending.map[0])
    return ClassActivationMap(values.detach().cpu().numpy(), chosen)


class _Ending:
    """Called after every operator, finds the last linear layer and the map that it reads."""

    def __init__(self) -> None:
        self.logits: Tensor | None = None
        self.weight = self.map = torch.empty(0)
        self._maps: deque[Tensor] = deque(maxlen=REMEMBERED)

    def __call__(self, call: Call) -> None:
        """Remember a map, or look which one a matrix product read the means of."""
        result = call.result
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return
        if result.ndim == 4 and result.shape[2:].numel() > 1:
            self._maps.append(result)
        if call.operator.name not in ("addmm", "mm"):
            return
        features, weight = call.args[-2:]
        for candidate in reversed(self._maps):
            means = candidate.mean(dim=(2, 3))
            if means.shape == features.shape and torch.allclose(means, features, 1e-4, 1e-6):
                self.logits, self.weight, self.map = result, weight, candidate
                return
