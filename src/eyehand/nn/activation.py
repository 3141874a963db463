"""Activations that torch has not: step, maxout, Swish with a learned slope, gated feed-forward.

For ReLU, LeakyReLU, PReLU, ELU, SELU, GELU, SiLU, Hardswish, Mish, Softplus and tanh take torch's.
"""

from typing import Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Gate = Literal["sigmoid", "relu", "gelu", "silu"]


class Step(nn.Module):
    """Fire or not: 1 where the input is at least 0, else 0 (Rosenblatt, 1958).

    Its gradient is zero everywhere, so that nothing below it learns by gradient descent: this is
    what the sigmoid was brought in for. Train what feeds it with the perceptron rule.

    References:
        Rosenblatt, 1958, https://doi.org/10.1037/h0042519.

    Example:
        >>> Step()(torch.tensor([-0.1, 0.0, 3.0]))
        tensor([0., 1., 1.])
    """

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Threshold ``x`` at 0."""
        # Not `(x >= 0).to(x.dtype)`: that has no gradient at all, and backward() would raise.
        return (x.sign() + 1).clamp(max=1)


class Maxout(nn.Module):
    r"""Largest of several linear maps (Goodfellow et al., 2013, sec. 3).

    .. math:: h_i(x) = \max_j\, (W_{ij} x + b_{ij})

    A convex, piecewise linear activation that is learned; ReLU is the case of two pieces of which
    one is zero. It costs ``pieces`` times the parameters of a linear layer.

    Args:
        dim: Width of the input.
        out_dim: Width of the output.
        pieces: Linear maps that each output chooses from.

    References:
        Goodfellow et al., 2013, https://arxiv.org/abs/1302.4389.

    Example:
        >>> Maxout(3, 5, pieces=2)(torch.zeros(4, 3)).shape
        torch.Size([4, 5])
    """

    def __init__(self, dim: int, out_dim: int, *, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.to_pieces = nn.Linear(dim, out_dim * pieces)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch out_dim"]:
        """Map ``x`` by every piece and keep the largest."""
        pieces = rearrange(self.to_pieces(x), "... (out j) -> ... out j", j=self.pieces)
        return pieces.amax(dim=-1)


class Swish(nn.Module):
    r"""Swish with a learned slope (Ramachandran et al., 2017, sec. 4).

    .. math:: f(x) = x\, \sigma(\beta x)

    Between x/2 (slope 0) and ReLU (slope towards infinity). With the slope fixed at 1, where this
    one starts, it is torch's ``SiLU``, which the paper calls Swish-1. One slope serves the whole
    layer; keep it out of weight decay, which pulls it towards the linear x/2.

    References:
        Ramachandran et al., 2017, https://arxiv.org/abs/1710.05941.

    Example:
        >>> x = torch.randn(4)
        >>> torch.allclose(Swish()(x), F.silu(x))
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Gate ``x`` by itself."""
        return x * (self.beta * x).sigmoid()


class GatedLinearUnit(nn.Module):
    r"""Feed-forward layer of which one half gates the other (Shazeer, 2020, eq. 5 and 6).

    .. math:: y = (g(x W) \odot x V)\, W_2

    The name of the activation makes the name of the layer: ``sigmoid`` GLU, ``relu`` ReGLU,
    ``gelu`` GEGLU, ``silu`` SwiGLU. It has three matrices where a plain feed-forward layer has two:
    for the same size take two thirds of its hidden width. No bias, no dropout, no normalization.

    Torch's ``nn.GLU`` is the sigmoid gate alone, without matrices, and gates the *first* half of
    its input by the second; here the first half of ``to_gate_value`` is the gate.

    Args:
        dim: Width of the stream.
        hidden_dim: Width of the gate and of what it gates.
        activation: Of the gate.

    Raises:
        ValueError: If ``activation`` is none of the four.

    References:
        Shazeer, 2020, https://arxiv.org/abs/2002.05202.

    Example:
        >>> swiglu = GatedLinearUnit(12, hidden_dim=32, activation="silu")
        >>> swiglu(torch.zeros(1, 5, 12)).shape
        torch.Size([1, 5, 12])
    """

    def __init__(self, dim: int, *, hidden_dim: int, activation: Gate) -> None:
        super().__init__()
        if activation not in get_args(Gate):
            raise ValueError(f"`activation` must be one of {get_args(Gate)}; got {activation!r}.")
        self.activation = getattr(F, activation)
        self.to_gate_value = nn.Linear(dim, 2 * hidden_dim, bias=False)
        self.to_output = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Return the gated mixture of every vector of ``x``."""
        gate, value = self.to_gate_value(x).chunk(2, dim=-1)
        return self.to_output(self.activation(gate) * value)
