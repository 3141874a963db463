"""Recurrent networks: a state that is read and updated at every frame.

State goes in and comes out, so that a robot can be streamed: frame by frame gives what the window
gives. Names, shapes and seeded first values of the parameters are those of `torch.nn.LSTM` and
`torch.nn.GRU`: their weights load as they are.

Sources: Hochreiter and Schmidhuber, 1997 (doi 10.1162/neco.1997.9.8.1735); Gers et al., 2000 (doi
10.1162/089976600300015015); Cho et al., 2014 (https://arxiv.org/abs/1406.1078).
"""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def lstm_cell(
    projected: Float[Tensor, "batch gates"],
    hidden: Float[Tensor, "batch hidden"],
    cell: Float[Tensor, "batch hidden"],
    *,
    weight: Float[Tensor, "gates hidden"],
    bias: Float[Tensor, " gates"],
) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]:
    r"""One step of an LSTM (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000).

    .. math::
        i, f, o &= \sigma(x_{i,f,o} + U_{i,f,o} h + b_{i,f,o}), \qquad
        g = \tanh(x_g + U_g h + b_g) \\
        c' &= f \odot c + i \odot g, \qquad h' = o \odot \tanh c'

    Args:
        projected: The frame after its own linear map, :math:`x`; blocks i, f, g, o.
        hidden: What the step before gave out, :math:`h`, in (-1, 1).
        cell: What it remembered, :math:`c`; without bounds.
        weight: :math:`U`, blocks as in ``projected``.
        bias: :math:`b`, likewise.

    Returns:
        The new hidden and the new cell.

    Example:
        >>> zero, eight = torch.zeros(1, 1), torch.full((1, 1), 8.0)
        >>> weight, bias = torch.zeros(4, 1), torch.zeros(4)
        >>> lstm_cell(torch.zeros(1, 4), zero, eight, weight=weight, bias=bias)[1]
        tensor([[4.]])
    """
    i, f, g, o = (projected + F.linear(hidden, weight, bias)).chunk(4, dim=-1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def gru_cell(
    projected: Float[Tensor, "batch gates"],
    hidden: Float[Tensor, "batch hidden"],
    *,
    weight: Float[Tensor, "gates hidden"],
    bias: Float[Tensor, " gates"],
) -> tuple[Float[Tensor, "batch hidden"]]:
    r"""One step of a GRU (Cho et al., 2014) in the variant of torch and cuDNN.

    .. math::
        r, z &= \sigma(x_{r,z} + U_{r,z} h + b_{r,z}), \qquad
        n = \tanh(x_n + r \odot (U_n h + b_n)) \\
        h' &= (1 - z) \odot n + z \odot h

    Differs from the paper: its eq. 8 resets the state before the product, :math:`U_n (r \odot h)`;
    here the product, with its bias, is reset. Weights of one are not weights of the other.

    Arguments are those of `lstm_cell`, blocks r, z, n; the new hidden comes alone in a tuple.

    Example:
        >>> weight, bias = torch.zeros(3, 1), torch.zeros(3)
        >>> gru_cell(torch.zeros(1, 3), torch.full((1, 1), 0.8), weight=weight, bias=bias)
        (tensor([[0.4000]]),)
    """
    x_r, x_z, x_n = projected.chunk(3, dim=-1)
    h_r, h_z, h_n = F.linear(hidden, weight, bias).chunk(3, dim=-1)
    z = (x_z + h_z).sigmoid()
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return ((1 - z) * n + z * hidden,)


class _Layers(nn.Module):
    """Layers of one cell, each reading the outputs of the one below."""

    gates: int  # blocks of a weight
    parts: int  # tensors in the state of a layer

    def __init__(self, dim: int, hidden_dim: int, *, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"`depth` must be at least 1; got {depth}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1); got {dropout}.")
        self.hidden_dim, self.depth, self.dropout = hidden_dim, depth, dropout
        rows, bound = self.gates * hidden_dim, hidden_dim**-0.5
        for layer, columns in enumerate([dim] + [hidden_dim] * (depth - 1)):
            shapes = [(rows, columns), (rows, hidden_dim), (rows,), (rows,)]
            for name, shape in zip(NAMES, shapes, strict=True):
                value = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
                self.register_parameter(f"{name}_l{layer}", value)

    def _unroll(
        self,
        cell: Callable[..., tuple[Tensor, ...]],
        x: Float[Tensor, "batch time dim"],
        state: Float[Tensor, "part depth batch hidden"] | None,
        mask: Bool[Tensor, "batch time"] | None,
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "part depth batch hidden"]]:
        shape = (self.depth, len(x), self.hidden_dim)
        if state is None:
            # The weights' type, not the input's: under autocast the memory keeps its precision.
            state = self.get_parameter("bias_hh_l0").new_zeros(self.parts, *shape)
        elif (got := tuple(state.shape[1:])) != shape:
            raise ValueError(f"`state` must end in (depth, batch, hidden) = {shape}; got {got}.")
        x = rearrange(x, "b t d -> t b d")
        real = None if mask is None else rearrange(mask, "b t -> t b 1")
        ends = []
        for layer, start in enumerate(state.unbind(dim=1)):
            w_ih, w_hh, b_ih, b_hh = (self.get_parameter(f"{name}_l{layer}") for name in NAMES)
            x = x if layer == 0 else F.dropout(x, self.dropout, self.training)
            # One product for all frames: only what waits for the state stays in the loop.
            projected = F.linear(x, w_ih, b_ih)
            now, outputs = start.unbind(), []
            for time, frame in enumerate(projected.unbind()):
                before, now = now, cell(frame, *now, weight=w_hh, bias=b_hh)
                if real is not None:
                    now = tuple(torch.where(real[time], *p) for p in zip(now, before, strict=True))
                outputs.append(now[0])
            x = torch.stack(outputs)
            x = x if real is None else x.masked_fill(~real, 0)
            ends.append(torch.stack(now))
        return rearrange(x, "t b d -> b t d"), torch.stack(ends, dim=1)


class LSTM(_Layers):
    """Layers of `lstm_cell`.

    Args:
        dim: Width of a frame.
        hidden_dim: Width of the state and of the output.
        depth: Number of layers, at least 1.
        dropout: Share dropped between two layers in training, in [0, 1).

    Raises:
        ValueError: If ``depth`` or ``dropout`` is out of range, or a state does not fit.

    Example:
        >>> lstm = LSTM(3, 8, depth=2)
        >>> x = torch.randn(1, 5, 3)
        >>> _, state = lstm(x[:, :4])
        >>> torch.allclose(lstm(x[:, 4:], state)[0], lstm(x)[0][:, 4:], atol=1e-6)
        True
    """

    gates, parts = 4, 2

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        state: Float[Tensor, "2 depth batch hidden"] | None = None,
        *,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "2 depth batch hidden"]]:
        """Return the last layer's outputs, and the state (hidden, cell) to go on from.

        Without ``state`` the memory is empty; `torch.stack` makes one of torch's tuple. ``mask`` is
        True where a frame is real; padding, which comes first, leaves the state and gives zeros.
        """
        return self._unroll(lstm_cell, x, state, mask)


class GRU(_Layers):
    """Layers of `gru_cell`; arguments as those of `LSTM`.

    Example:
        >>> output, state = GRU(3, 8, depth=2)(torch.randn(1, 5, 3))
        >>> torch.equal(output[:, -1], state[-1])
        True
    """

    gates, parts = 3, 1

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        state: Float[Tensor, "depth batch hidden"] | None = None,
        *,
        mask: Bool[Tensor, "batch time"] | None = None,
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "depth batch hidden"]]:
        """Return the last layer's outputs, and the state to go on from; see `LSTM.forward`."""
        output, parts = self._unroll(gru_cell, x, None if state is None else state[None], mask)
        return output, parts[0]
