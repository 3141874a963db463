r"""Stochastic approximation: find a root, or a mean, from measurements that are noisy.

.. math:: w_{k+1} = w_k - a_k \tilde g_k, \qquad E[\tilde g_k \mid w_k] = g(w_k)

Robbins and Monro, 1951, doi 10.1214/aoms/1177729586: w converges to the root of g if g rises with a
slope between two positive bounds, the noise has mean zero and bounded variance, and the step sizes
reach anywhere, :math:`\sum a_k = \infty`, while their noise dies out, :math:`\sum a_k^2 < \infty`.
For ``scale / k**power`` that is 1/2 < power <= 1.

A mean is the root of :math:`w - E[x]`; a minimum the root of a gradient, which makes stochastic
gradient descent a case; temporal differences and Q-learning are the same with a root each state
(Zhao, 2025, *Mathematical Foundations of Reinforcement Learning*, chapter 6).
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from eyehand.types import InputError


def step_sizes(
    count: int, *, scale: float = 1.0, power: float = 1.0
) -> Float64[np.ndarray, " step"]:
    r"""Return the first step sizes of :math:`a_k = c / k^p`, k from 1.

    Raises:
        InputError: If ``count`` is below 1, the scale not above 0, or the power negative.

    Example:
        >>> step_sizes(3, power=2.0).round(3)
        array([1.   , 0.25 , 0.111])
    """
    if count < 1 or not scale > 0 or not power >= 0:
        raise InputError(
            "step sizes need a count of at least 1, a scale above 0 and a power of at least 0. "
            f"Got {count}, {scale} and {power}."
        )
    return scale / np.arange(1, count + 1) ** power


def conditions(power: float) -> tuple[bool, bool]:
    r"""Tell whether :math:`1 / k^p` has an infinite sum, and whether its squares have a finite one.

    Both are wanted: without the first w may stop before it arrives, without the second it never
    comes to rest.

    Example:
        >>> conditions(1.0), conditions(2.0), conditions(0.0)
        ((True, True), (False, True), (True, False))
    """
    return power <= 1, power > 0.5


def robbins_monro(
    measure: Callable[[np.ndarray, int], np.ndarray],
    start: Float64[np.ndarray, " *run"],
    sizes: Float64[np.ndarray, " step"],
) -> Float64[np.ndarray, " step+1 *run"]:
    r"""Find a root of a function that can only be measured with noise.

    What people get wrong: step sizes that meet the conditions may still be slow. Near a root with
    slope s, c / k errs like :math:`k^{-1/2}` only if :math:`c s > 1/2`, and like :math:`k^{-cs}`
    below. Larger, slower falling steps need not know s, if the mean of all places is the answer
    instead of the last one (Polyak and Juditsky, 1992, doi 10.1137/0330046).

    Args:
        measure: Returns a noisy value at a point; it is handed the point and the number of the
            step, from 0.
        start: Where to begin, in as many runs beside each other as wanted.
        sizes: Step sizes.

    Returns:
        Where it was before the first step and after each.

    Example:
        >>> path = robbins_monro(lambda w, k: w**3 - 8, np.array(1.0), step_sizes(99, scale=0.1))
        >>> round(float(path[-1]), 2)
        2.0
    """
    path = np.empty((len(sizes) + 1, *start.shape))
    path[0] = start
    for number, size in enumerate(sizes):
        path[number + 1] = path[number] - size * measure(path[number], number)
    return path


def incremental_mean(
    samples: Float64[np.ndarray, " sample *run"],
) -> Float64[np.ndarray, " sample *run"]:
    r"""Return the mean of the first sample, of the first two, and so on, without keeping them.

    .. math:: w_{k} = w_{k-1} - \tfrac1k (w_{k-1} - x_k)

    Example:
        >>> incremental_mean(np.array([1.0, 3.0, 8.0]))
        array([1., 2., 4.])
    """
    start = np.zeros(samples.shape[1:])  # forgotten: the first step has size 1
    return robbins_monro(lambda w, k: w - samples[k], start, step_sizes(len(samples)))[1:]


def stochastic_gradient_descent(
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray],
    samples: Float64[np.ndarray, "sample ..."],
    start: Float64[np.ndarray, " *run"],
    sizes: Float64[np.ndarray, " sample"],
) -> Float64[np.ndarray, " sample+1 *run"]:
    """Minimise the mean of a loss over samples: find the root of the mean of its gradient.

    Args:
        gradient: Of the loss at a point, for one sample.
        samples: One for each step.
        start: Where to begin.
        sizes: Step sizes.

    Returns:
        Where it was before the first step and after each.

    References:
        Zhao, 2025, sec. 6.4.

    Example:
        >>> x = np.array([4.0, 6.0])  # the loss (w - x)**2 / 2 has its minimum at the mean
        >>> stochastic_gradient_descent(lambda w, x: w - x, x, np.array(0.0), step_sizes(2))
        array([0., 4., 5.])
    """
    return robbins_monro(lambda w, k: gradient(w, samples[k]), start, sizes)


def dvoretzky(
    start: Float64[np.ndarray, " *run"],
    pull: Float64[np.ndarray, " step"],
    push: Float64[np.ndarray, " step"],
    noise: Float64[np.ndarray, " step *run"],
) -> Float64[np.ndarray, " step+1 *run"]:
    r"""Follow the process of Dvoretzky's theorem: it is pulled towards zero and pushed by noise.

    .. math:: \Delta_{k+1} = (1 - \alpha_k) \Delta_k + \beta_k \eta_k

    It converges to zero almost surely if :math:`\sum \alpha_k = \infty`,
    :math:`\sum \alpha_k^2 < \infty`, :math:`\sum \beta_k^2 < \infty`, and the noise has mean zero
    and bounded variance. Robbins and Monro's theorem follows from it. That temporal differences and
    Q-learning converge needs an extension to many numbers at once, in which the mean of the noise
    may be as large as a share of the largest number (Jaakkola, Jordan and Singh, 1994).

    Args:
        start: Delta at first, in as many runs beside each other as wanted.
        pull: alpha of each step.
        push: beta of each step.
        noise: eta of each step.

    Returns:
        Delta before the first step and after each.

    References:
        Dvoretzky, 1956, *On Stochastic Approximation*, Proc. 3rd Berkeley Symp.; Zhao, 2025,
        sec. 6.3; the extension: Jaakkola, Jordan and Singh, 1994, doi 10.1162/neco.1994.6.6.1185.

    Example:
        >>> half = np.full(2, 0.5)
        >>> dvoretzky(np.array(8.0), half, half, np.array([2.0, 0.0]))
        array([8. , 5. , 2.5])
    """
    path = np.empty((len(pull) + 1, *start.shape))
    path[0] = start
    for number, (alpha, beta) in enumerate(zip(pull, push, strict=True)):
        path[number + 1] = (1 - alpha) * path[number] + beta * noise[number]
    return path
