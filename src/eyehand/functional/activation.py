"""Sigmoid and softmax in the forms that do not overflow.

Torch's are as safe and faster; these show why. Its softmax is the same, its sigmoid is the plain
formula with a derivative that was written by hand.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""Logistic function, with an exponential that is never more than 1.

    .. math:: \sigma(x) = \begin{cases} 1 / (1 + e^{-x}) & x \ge 0 \\
              e^{x} / (1 + e^{x}) & x < 0 \end{cases}

    The first line alone overflows for large negative numbers: its value survives (one over
    infinity is 0), its gradient is 0 times infinity. For the logarithm of a sigmoid use
    ``torch.nn.functional.logsigmoid``: a sigmoid that underflowed to 0 has none.

    Returns:
        Numbers in [0, 1]; exactly 0 and 1 where the true value rounds to them.

    References:
        Goodfellow, Bengio and Courville, 2016, Deep Learning, sec. 4.1 (overflow and underflow).

    Example:
        >>> sigmoid(torch.tensor([-1e4, 0.0, 1e4]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    positive = x >= 0
    # The choice is made before the exponential. Chosen after it, the branch not taken would
    # overflow, and the gradient would be 0 times infinity.
    small = torch.where(positive, -x, x).exp()
    return torch.where(positive, 1, small) / (1 + small)


def softmax(x: Float[Tensor, "*shape"], *, dim: int) -> Float[Tensor, "*shape"]:
    r"""Softmax along one dimension, shifted so that the largest exponent is 0.

    .. math:: \mathrm{softmax}(x)_i = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}, \qquad m = \max_j x_j

    The shift cancels: every exponential is in [0, 1] and the sum is at least 1, so that nothing
    overflows and nothing is divided by zero. For the logarithm use
    ``torch.nn.functional.log_softmax``, for a loss ``torch.nn.functional.cross_entropy`` on the
    logits: the logarithm of a probability that underflowed to 0 is minus infinity.

    Args:
        x: Logits; minus infinity is allowed where it stands beside a finite one.
        dim: Dimension that sums to 1.

    Returns:
        Probabilities in [0, 1].

    References:
        Blanchard, Higham and Higham, 2021, https://arxiv.org/abs/1909.03469.

    Example:
        >>> softmax(torch.tensor([1e4, 1e4, -1e4]), dim=0)
        tensor([0.5000, 0.5000, 0.0000])
    """
    # Without a gradient: the result does not depend on the shift, and neither does its derivative.
    exponential = (x - x.detach().amax(dim, keepdim=True)).exp()
    return exponential / exponential.sum(dim, keepdim=True)
