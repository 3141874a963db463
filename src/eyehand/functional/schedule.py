"""The learning rate over a run, as a pure function of progress: warm-up, then half a cosine."""

import math


def warmup_cosine(progress: float, *, warmup: float, final: float, start: float = 0.0) -> float:
    r"""Return the learning rate as a share of its peak (cosine: Loshchilov and Hutter, 2017).

    .. math:: s + (1 - s)\,\frac{p}{w} \text{ for } p < w, \qquad
              f + (1 - f)\,\frac{1 + \cos(\pi q)}{2}, \quad q = \frac{p - w}{1 - w} \text{ after}

    Args:
        progress: Share of the run that is done, in [0, 1]; of steps or of minutes.
        warmup: Share of the run over which the rate rises from ``start`` to its peak, in [0, 1).
        final: Share of the peak that is left at the end, in [0, 1].
        start: Share of the peak that the rate rises from, in [0, 1].

    Raises:
        ValueError: If an argument lies outside its range.

    References:
        Loshchilov and Hutter, 2017, https://arxiv.org/abs/1608.03983 (a warm restart is another
        call, with ``start`` the rate that was left).

    Example:
        >>> [warmup_cosine(p, warmup=0.5, final=0.2) for p in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.5, 1.0, 0.2]
        >>> round(warmup_cosine(0.25, warmup=0.5, final=0.0, start=0.2), 6)
        0.6
    """
    for name, share in (("progress", progress), ("final", final), ("start", start)):
        if not 0 <= share <= 1:
            raise ValueError(f"`{name}` must be in [0, 1]; got {share}.")
    if not 0 <= warmup < 1:
        raise ValueError(f"`warmup` must be in [0, 1); got {warmup}.")
    if progress < warmup:
        return start + (1 - start) * (progress / warmup)
    share = (progress - warmup) / (1 - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2
