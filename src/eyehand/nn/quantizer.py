"""Quantizers: vectors become codes out of a finite set, and codes become vectors again.

``VectorQuantizer`` learns its set, ``ResidualQuantizer`` stacks several of them, and
``UniformQuantizer`` cuts every dimension into equal bins.
"""

from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-5
"""Added to every count before it divides (Laplace smoothing), as in the authors' code (Sonnet)."""


class Quantized(NamedTuple):
    """What comes out of a quantizer: vectors, their codes, and the loss to add to the task's."""

    quantized: Float[Tensor, "*batch dim"]
    codes: Int64[Tensor, "*codes"]
    loss: Float[Tensor, ""]


class ResidualQuantized(NamedTuple):
    """What comes out of several quantizers: as above, and the vector that each of them added.

    The vectors are those that were chosen. In training ``decode`` finds others under the same codes
    already: the codebooks have moved on, and dead codes are replaced.
    """

    quantized: Float[Tensor, "*batch dim"]
    codes: Int64[Tensor, "*batch depth"]
    loss: Float[Tensor, ""]
    vectors: Float[Tensor, "*batch depth dim"]


class VectorQuantizer(nn.Module):
    r"""Replace each vector by the nearest of a learned codebook (van den Oord et al., 2017, eq. 3).

    .. math:: L = \beta \|x - \mathrm{sg}[e]\|^2

    Squares are averaged over all numbers. The gradient of what comes out passes to ``x`` unchanged
    (straight-through). Every code is the moving average of the inputs that chose it (appendix A.1),
    in place of the paper's other term of the loss: no optimizer touches it.

    The codebook begins as inputs of the first training batch, far apart (the seeds of k-means++).
    Random vectors begin where no inputs are: the nearest of them takes all inputs, and the others,
    never chosen, never learn. That batch should hold several inputs per code.

    A code is dead when the moving average of its uses per batch falls below ``dead_below`` times
    the mean over all codes. A random input of the batch takes its place, as if used like the mean.

    All of this happens in training mode only, after the batch has been quantized. Where the model
    around it trains and the codebook must not, call ``encode``. Keep the module in float32: under
    autocast it computes in float32 all the same.

    Args:
        dim: Width of the vectors.
        codes: Number of vectors in the codebook.
        decay: Share of the old average kept at each batch, in [0, 1).
        commitment: Weight of the term that keeps inputs near their codes, at least 0.
        dead_below: Share of the mean use below which a code is dead, in [0, 1); 0 replaces none.

    Raises:
        ValueError: If an argument is out of its range.

    References:
        van den Oord et al., 2017, https://arxiv.org/abs/1711.00937. Beginning in the first batch
        and replacing dead codes: Zeghidour et al., 2021 (SoundStream, sec. III-C),
        https://arxiv.org/abs/2107.03312; they run k-means on that batch to its end, and their codes
        are dead below two uses per batch, whatever its size.

    Example:
        >>> quantizer = VectorQuantizer(2, codes=2)
        >>> x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 9.0]])
        >>> quantized, codes, loss = quantizer(x)
        >>> bool(codes[0] == codes[1] != codes[2]), torch.equal(quantized, x), loss.item()
        (True, True, 0.0)
    """

    codebook: Tensor
    count: Tensor
    total: Tensor
    initialized: Tensor

    def __init__(
        self,
        dim: int,
        *,
        codes: int,
        decay: float = 0.99,
        commitment: float = 0.25,
        dead_below: float = 0.05,
    ) -> None:
        super().__init__()
        if dim < 1 or codes < 1:
            raise ValueError(f"`dim` and `codes` must be at least 1. Got dim={dim}, codes={codes}.")
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` must be in [0, 1). Got {decay}.")
        if not commitment >= 0:
            raise ValueError(f"`commitment` must be at least 0. Got {commitment}.")
        if not 0 <= dead_below < 1:
            raise ValueError(f"`dead_below` must be in [0, 1). Got {dead_below}.")
        self.decay = decay
        self.commitment = commitment
        self.dead_below = dead_below
        self.register_buffer("codebook", torch.randn(codes, dim))
        self.register_buffer("total", torch.zeros(codes, dim))
        self.register_buffer("count", torch.zeros(codes))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Quantized:
        """Return nearest vectors in the type of ``x``, codes ``(*batch)`` and the loss.

        In training mode the codebook has moved on by then: ``decode`` gives its new vectors.
        """
        rows = self._rows(x)
        if self.training and not self.initialized:
            self._begin(rows.detach())
        codes = self._nearest(rows)
        nearest = self.codebook[codes]
        loss = self.commitment * F.mse_loss(rows, nearest)
        quantized = _straight_through(x, nearest.reshape(x.shape))
        if self.training:
            self._learn(rows.detach(), codes)
        return Quantized(quantized, codes.reshape(x.shape[:-1]), loss)

    def encode(self, x: Float[Tensor, "*batch dim"]) -> Int64[Tensor, "*batch"]:
        """Return the code of the nearest vector; nothing is learned."""
        return self._nearest(self._rows(x)).reshape(x.shape[:-1])

    def decode(self, codes: Int64[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Return the vectors of ``codes``."""
        return self.codebook[codes]

    def _rows(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "row dim"]:
        return x.reshape(-1, x.shape[-1]).to(self.codebook.dtype)

    @torch.no_grad()
    def _nearest(self, x: Float[Tensor, "row dim"]) -> Int64[Tensor, " row"]:
        # The squared distance without x's own square. Far from zero the product would lose digits,
        # so both sides are measured from the middle of the codebook.
        middle = self.codebook.mean(dim=0)
        codebook = self.codebook - middle
        with torch.autocast(x.device.type, enabled=False):
            return (codebook.square().sum(dim=1) - 2 * (x - middle) @ codebook.T).argmin(dim=1)

    @torch.no_grad()
    def _begin(self, x: Float[Tensor, "row dim"]) -> None:
        fair = torch.full_like(self.count, len(x) / len(self.count))
        self._place(fair > 0, _seeds(x, len(fair)), fair.mean())
        self.initialized.fill_(True)

    @torch.no_grad()
    def _learn(self, x: Float[Tensor, "row dim"], codes: Int64[Tensor, " row"]) -> None:
        size = len(self.count)
        share = 1 - self.decay
        self.count.lerp_(torch.bincount(codes, minlength=size).to(self.count), share)
        self.total.lerp_(torch.zeros_like(self.total).index_add_(0, codes, x), share)
        uses = self.count.sum()
        smooth = (self.count + EPSILON) / (uses + size * EPSILON) * uses
        self.codebook.copy_(self.total / smooth[:, None])
        fair = self.count.mean()
        dead = self.count < self.dead_below * fair
        if dead.any():
            chosen = torch.randint(len(x), (int(dead.sum()),), device=x.device)
            self._place(dead, x[chosen], fair)

    def _place(self, which: Bool[Tensor, " code"], vectors: Tensor, count: Tensor) -> None:
        self.codebook[which] = vectors
        self.count[which] = count
        self.total[which] = vectors * count


class ResidualQuantizer(nn.Module):
    """Several vector quantizers, each for what those before it left over (SoundStream).

    ``depth`` codebooks tell ``codes ** depth`` vectors apart. The gradient of what comes out passes
    to ``x`` unchanged, once; the losses of the layers are added up.

    Args:
        dim: Width of the vectors.
        depth: Number of quantizers; 2 in VQ-BeT.
        codes: Number of vectors in each codebook.

    Raises:
        ValueError: If an argument is out of its range.

    References:
        Zeghidour et al., 2021 (SoundStream, sec. III-C), https://arxiv.org/abs/2107.03312; for
        actions: Lee et al., 2024 (VQ-BeT), https://arxiv.org/abs/2403.03181.

    Example:
        >>> quantizer = ResidualQuantizer(8, depth=2, codes=16)
        >>> quantized, codes, loss, vectors = quantizer(torch.randn(5, 64, 8))
        >>> quantized.shape, codes.shape, vectors.shape
        (torch.Size([5, 64, 8]), torch.Size([5, 64, 2]), torch.Size([5, 64, 2, 8]))
    """

    def __init__(self, dim: int, *, depth: int, codes: int) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"`depth` must be at least 1. Got {depth}.")
        self.layers = nn.ModuleList(VectorQuantizer(dim, codes=codes) for _ in range(depth))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> ResidualQuantized:
        """Return the sum of the layers' vectors, their codes, the loss, and the vectors."""
        rest = x.to(self._quantizers[0].codebook.dtype)
        vectors, codes, loss = [], [], rest.new_zeros(())
        for layer in self._quantizers:
            quantized, code, layer_loss = layer(rest)
            # Detached, or straight-through would cancel the gradient of the next commitment.
            vectors.append(quantized.detach())
            rest = rest - vectors[-1]
            codes.append(code)
            loss = loss + layer_loss
        chosen = torch.stack(vectors, dim=-2)
        quantized = _straight_through(x, chosen.sum(dim=-2))
        return ResidualQuantized(quantized, torch.stack(codes, dim=-1), loss, chosen)

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "*batch dim"]) -> Int64[Tensor, "*batch depth"]:
        """Return the codes of every layer; nothing is learned."""
        rest, codes = x.to(self._quantizers[0].codebook.dtype), []
        for layer in self._quantizers:
            codes.append(layer.encode(rest))
            rest = rest - layer.decode(codes[-1])
        return torch.stack(codes, dim=-1)

    def decode(self, codes: Int64[Tensor, "*batch depth"]) -> Float[Tensor, "*batch dim"]:
        """Return the sum of the vectors of ``codes``."""
        layers = zip(self._quantizers, codes.unbind(-1), strict=True)
        return torch.stack([layer.decode(code) for layer, code in layers]).sum(dim=0)

    @property
    def _quantizers(self) -> list[VectorQuantizer]:
        return cast(list[VectorQuantizer], list(self.layers))


class UniformQuantizer(nn.Module):
    """Cut each dimension into equal bins between its bounds, and know a number by its bin.

    Numbers outside are clipped. What comes back is the centre of the bin, at most half a bin from a
    number inside. Where both bounds are the same, every number falls into bin 0 and comes back as
    the bound.

    Args:
        low: Lower bound of each dimension.
        high: Upper bound of each dimension, at least ``low``.
        bins: Number of bins, at least 2; 256 in RT-1 and RT-2.

    Raises:
        ValueError: If there are fewer than 2 bins, a bound is not finite, or ``high`` is below
            ``low``.

    References:
        Brohan et al., 2022 (RT-1), https://arxiv.org/abs/2212.06817; Kim et al., 2024 (OpenVLA),
        https://arxiv.org/abs/2406.09246, whose code has 256 edges and so 255 bins.

    Example:
        >>> quantizer = UniformQuantizer(torch.tensor([-1.0]), torch.tensor([1.0]), bins=4)
        >>> codes = quantizer.encode(torch.tensor([[-5.0], [0.1], [1.0]]))
        >>> codes.tolist(), quantizer.decode(codes).tolist()
        ([[0], [2], [3]], [[-0.75], [0.25], [0.75]])
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, low: Float[Tensor, " dim"], high: Float[Tensor, " dim"], *, bins: int
    ) -> None:
        super().__init__()
        if bins < 2:
            raise ValueError(f"`bins` must be at least 2. Got {bins}.")
        if not ((high >= low) & (high - low).isfinite()).all():
            raise ValueError(
                "`low` and `high` must be finite and `high` at least `low`. "
                f"Got low={low.tolist()}, high={high.tolist()}."
            )
        self.bins = bins
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())

    def encode(self, x: Float[Tensor, "*batch dim"]) -> Int64[Tensor, "*batch dim"]:
        """Return the bin of every number.

        Raises:
            ValueError: If a number is NaN, which has no bin.
        """
        if x.isnan().any():
            raise ValueError(f"`x` must not have NaN. Got {int(x.isnan().sum())} of {x.numel()}.")
        width = self.high - self.low
        share = (x.clamp(self.low, self.high) - self.low) / width.masked_fill(width == 0, 1)
        return (share * self.bins).long().clamp(max=self.bins - 1)

    def decode(self, codes: Int64[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Return the centre of every bin; ``codes`` are in [0, bins)."""
        return self.low + (codes + 0.5) * ((self.high - self.low) / self.bins)


def quantile_bounds(
    x: Float[Tensor, "row dim"], *, tail: float = 0.01
) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
    """Return bounds of each dimension with a share ``tail`` of the rows below and above.

    By default the 1st and the 99th percentile (OpenVLA, sec. 3.2): one stray action would otherwise
    widen every bin. What is rare but meant is clipped away as well.

    Args:
        x: Data, up to 16 million rows.
        tail: Share of the rows to leave out at each end, in [0, 0.5).

    Raises:
        ValueError: If ``tail`` is out of its range.

    Example:
        >>> low, high = quantile_bounds(torch.arange(101.0)[:, None])
        >>> low.item(), high.item()
        (1.0, 99.0)
    """
    if not 0 <= tail < 0.5:
        raise ValueError(f"`tail` must be in [0, 0.5). Got {tail}.")
    return torch.quantile(x, tail, dim=0), torch.quantile(x, 1 - tail, dim=0)


class CodebookUse(NamedTuple):
    """Share of the codes that occur, in [0, 1], and their perplexity, from 1 to their number."""

    share: Float[Tensor, ""]
    perplexity: Float[Tensor, ""]


def codebook_use(codes: Int64[Tensor, "*batch"], *, size: int) -> CodebookUse:
    """Return how much of a codebook of ``size`` a batch of codes uses.

    The perplexity, the exponential of the entropy, is the number of codes that would give the same
    entropy if all were used alike. A batch smaller than the codebook cannot use all of it.

    Example:
        >>> codebook_use(torch.tensor([0, 0, 3, 3]), size=4)
        CodebookUse(share=tensor(0.5000), perplexity=tensor(2.))
    """
    count = torch.bincount(codes.flatten(), minlength=size)
    perplexity = torch.special.entr(count / count.sum()).sum().exp()
    return CodebookUse((count > 0).float().mean(), perplexity)


def _straight_through(
    x: Float[Tensor, "*batch dim"], value: Float[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch dim"]:
    # x - x is exactly 0: the value stays exact, which x + (value - x) would round.
    return value.detach().to(x.dtype) + (x - x.detach())


def _seeds(x: Float[Tensor, "row dim"], count: int) -> Float[Tensor, "{count} dim"]:
    """Choose rows, each with a probability by its squared distance to the nearest before it."""
    chosen = [x[torch.randint(len(x), (1,), device=x.device)]]
    distance = (x - chosen[0]).square().sum(dim=1)
    while len(chosen) < count:
        # The smallest positive number lets rows repeat where there are too few different ones.
        chosen.append(x[torch.multinomial(distance + torch.finfo(x.dtype).tiny, 1)])
        distance = distance.minimum((x - chosen[-1]).square().sum(dim=1))
    return torch.cat(chosen)
