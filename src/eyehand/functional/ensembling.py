"""Temporal ensembling: average the actions that overlapping plans have for the same moment.

Source: Zhao et al., 2023, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware"
(ACT), sec. IV-A and algorithm 2, https://arxiv.org/abs/2304.13705.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def temporal_ensemble(
    predictions: Float[Tensor, " prediction *shape"], *, decay: float
) -> Float[Tensor, " *shape"]:
    r"""Return the weighted mean of several predictions of the same thing.

    .. math:: \bar a = \sum_i w_i a_i / \sum_i w_i, \qquad w_i = e^{-m i}

    Prediction ``i = 0`` is the *oldest*: with a positive decay, the first plan weighs most.

    Args:
        predictions: Oldest first, at least one.
        decay: The paper's m, at least 0; 0 is the plain mean. ACT uses 0.01.

    Raises:
        ValueError: If there is no prediction, or ``decay`` is negative or not finite.

    Example:
        >>> temporal_ensemble(torch.tensor([[0.0], [4.0]]), decay=math.log(3))
        tensor([1.])
    """
    if not (math.isfinite(decay) and decay >= 0):
        raise ValueError(f"`decay` must be a finite number, at least 0. Got {decay}.")
    if len(predictions) == 0:
        raise ValueError("there must be at least one prediction to average. Got 0.")
    age = torch.arange(len(predictions), dtype=predictions.dtype, device=predictions.device)
    weights = torch.softmax(-decay * age, dim=0)
    return torch.tensordot(weights, predictions, dims=1)
