"""Two normalizations written out: over the batch, and over neighbouring channels.

Both are here to be read: torch's do the same faster. The tests hold them equal.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.Module):
    r"""Batch normalization of vectors or maps (Ioffe and Szegedy, 2015, algorithms 1 and 2).

    .. math:: y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    In training mean and variance are those of the batch, one pair per channel, over rows and
    places; in evaluation they are running averages. What people get wrong:

    - The batch is normalized by its biased variance (divided by n), the running average takes the
      unbiased one (divided by n - 1).
    - ``momentum`` is the weight of the *new* batch, as in torch; in other libraries of the old.
    - In training the output of one picture depends on the others. Small batches make it noisy, and
      forgetting ``eval()`` makes a policy's action depend on what it is batched with.
    - A bias before it is taken out again by the mean.

    Parameters and buffers have the names of ``torch.nn.BatchNorm1d`` and ``BatchNorm2d``, so that
    weights can be exchanged.

    Args:
        dim: Channels.
        momentum: Weight of the new batch in the running averages, in [0, 1].
        eps: Added to the variance.

    Raises:
        ValueError: In training with one number per channel, whose variance says nothing.

    References:
        Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167.

    Example:
        >>> y = BatchNorm(3)(5 + 2 * torch.randn(8, 3, 4, 4))
        >>> torch.allclose(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
        True
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, dim: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Float[Tensor, "batch dim *place"]) -> Float[Tensor, "batch dim *place"]:
        """Normalize every channel of ``x``; in training, also move the running averages."""
        # Channels last, where they broadcast; at least as precise as the parameters, because sums
        # over a batch in half precision are too coarse.
        rows = x.movedim(1, -1).to(torch.promote_types(x.dtype, self.weight.dtype))
        if self.training:
            mean, variance = self._statistics_of(rows)
        else:
            mean, variance = self.running_mean, self.running_var
        normal = (rows - mean) / (variance + self.eps).sqrt()
        return (normal * self.weight + self.bias).movedim(-1, 1).to(x.dtype)

    def _statistics_of(
        self, rows: Float[Tensor, "*batch dim"]
    ) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
        """Return mean and biased variance of the batch, and remember them."""
        count = rows[..., 0].numel()
        if count < 2:
            raise ValueError(
                "BatchNorm in training needs at least 2 numbers per channel; "
                f"got rows of shape {tuple(rows.shape)}."
            )
        axes = tuple(range(rows.ndim - 1))
        mean, variance = rows.mean(axes), rows.var(axes, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        return mean, variance


class LocalResponseNorm(nn.Module):
    r"""Divide by the activity of neighbouring channels (Krizhevsky et al., 2012, sec. 3.3).

    .. math:: b_i = a_i \Big/ \Big(k + \alpha \sum_{j} a_j^2\Big)^{\beta}

    The sum runs over the ``size`` channels around ``i`` at the same place; beyond the first and the
    last there is nothing to add. The defaults are the paper's.

    ``torch.nn.LocalResponseNorm`` is the same with two differences: it divides ``alpha`` by
    ``size``, so that the paper's 1e-4 is its 5e-4, and its ``k`` is 1 by default. With the paper's
    ``alpha`` torch's weighs the squares five times less than the paper.

    Args:
        size: Channels summed, at least 1; an even window reaches one further down than up.
        alpha: Weight of the sum of squares.
        beta: Exponent.
        k: Added to the sum; with 0 a silent neighbourhood divides by zero.

    Raises:
        ValueError: If ``size`` is less than 1.

    References:
        Krizhevsky et al., 2012,
        https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks.

    Example:
        >>> x = torch.randn(2, 8, 3, 3)
        >>> theirs = nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)
        >>> torch.allclose(LocalResponseNorm()(x), theirs(x))
        True
    """

    def __init__(
        self, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
    ) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"`size` of LocalResponseNorm must be at least 1; got {size}.")
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(
        self, x: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Normalize every number of ``x`` by its neighbours."""
        dim = x.shape[1]
        square = F.pad(x.square(), (0, 0, 0, 0, self.size // 2, (self.size - 1) // 2))
        activity = sum(square[:, start : start + dim] for start in range(self.size))
        return x / (self.k + self.alpha * activity) ** self.beta
