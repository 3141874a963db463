"""Exponential moving average of the weights: what is evaluated and served."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    r"""Average of every trainable weight over the latest updates, in float32 (Polyak averaging).

    .. math:: a_t = d_t\, a_{t-1} + (1 - d_t)\, w_t, \qquad
              d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    The decay grows from 2/11, so that a short run averages over its last tenth, not over the
    weights it began with (TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``).

    Args:
        parameters: The trainable parameters, float32; the average begins as a copy of them.
        decay: The decay ``d`` of a long run, in [0, 1).

    Raises:
        ValueError: If a parameter is not float32.

    Example:
        >>> weight = nn.Parameter(torch.zeros(1))
        >>> average = MovingAverage([weight], decay=0.999)
        >>> _ = weight.data.fill_(11.0)
        >>> average.update(1)
        >>> average.values[0].item()
        9.0
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, decay: float) -> None:
        kinds = {parameter.dtype for parameter in parameters}
        if kinds != {torch.float32}:
            raise ValueError(
                "weights that train must be float32, autocast computes in bf16; got "
                f"{', '.join(sorted(map(str, kinds)))}."
            )
        self.parameters: list[Tensor] = list(parameters)
        self.decay = decay
        self.values: list[Tensor] = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self.parameters, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Hold the averages in the parameters, and the parameters' values in ``values``."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, value in zip(self.parameters, self.values, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(held)
