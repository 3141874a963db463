"""Stochastic approximation: rates against the conditions of the theorems, and what breaks them."""

import numpy as np
import pytest

from eyehand.rl.stochastic_approximation import (
    conditions,
    dvoretzky,
    incremental_mean,
    robbins_monro,
    step_sizes,
    stochastic_gradient_descent,
)
from eyehand.types import InputError

RUNS, STEPS = 1000, 3000
NOISE = np.random.default_rng(0).normal(size=(STEPS, RUNS))


def root_mean_square(path: np.ndarray) -> np.ndarray:
    return np.sqrt((path**2).mean(axis=1))


def errors(scale: float, power: float, *, start: float = 1.0) -> np.ndarray:
    """Typical error at each step of finding the root, 0, of g(w) = w."""
    sizes = step_sizes(STEPS, scale=scale, power=power)
    path = robbins_monro(lambda w, k: w + NOISE[k], np.full(RUNS, start), sizes)
    return root_mean_square(path)


def rate(error: np.ndarray) -> float:
    """The exponent with which an error falls over the last nine tenths of the steps."""
    late = np.arange(STEPS // 10, STEPS + 1)
    return float(np.polyfit(np.log(late), np.log(error[late]), 1)[0])


def test_the_running_mean_is_the_mean() -> None:
    samples = np.random.default_rng(1).normal(size=(50, 3))
    wanted = samples.cumsum(axis=0) / np.arange(1, 51)[:, None]
    np.testing.assert_allclose(incremental_mean(samples), wanted, atol=1e-14)


def test_of_steps_1_over_k_the_error_falls_with_the_root() -> None:
    error = errors(1.0, 1.0)
    assert rate(error) == pytest.approx(-0.5, abs=0.03)
    assert error[-1] == pytest.approx(STEPS**-0.5, rel=0.1)  # it is the mean of the noise


@pytest.mark.parametrize("power", [0.6, 0.75])
def test_of_slower_steps_it_falls_with_half_their_power(power: float) -> None:
    error = errors(1.0, power)
    assert rate(error) == pytest.approx(-power / 2, abs=0.03)
    assert error[-1] == pytest.approx((STEPS**-power / 2) ** 0.5, rel=0.1)


def test_of_steps_too_small_for_the_slope_it_falls_more_slowly() -> None:
    """All conditions hold, and a scale of 1/4 errs like k**-(1/4)."""
    assert conditions(1.0) == (True, True)
    assert rate(errors(0.25, 1.0, start=10.0)) == pytest.approx(-0.25, abs=0.03)


def test_constant_steps_hover() -> None:
    """For ever, with variance a / (2 - a): the squares have no finite sum."""
    assert conditions(0.0) == (True, False)
    for size in (0.1, 0.5):
        error = errors(size, 0.0)
        assert error[-500:].mean() == pytest.approx((size / (2 - size)) ** 0.5, rel=0.05)


def test_steps_whose_sum_is_finite_stall() -> None:
    """The negative control, 1/k^2 from its second step on: half of the way is never made."""
    assert conditions(2.0) == (False, True)
    sizes = step_sizes(STEPS + 1, power=2.0)[1:]
    path = robbins_monro(lambda w, k: w, np.array(8.0), sizes)
    left = 8 * (STEPS + 2) / (2 * (STEPS + 1))  # the product of 1 - 1/k^2
    assert path[-1] == pytest.approx(left, rel=1e-12)
    arrives = robbins_monro(lambda w, k: w, np.array(8.0), step_sizes(STEPS + 1)[1:])
    assert arrives[-1] == pytest.approx(8 / (STEPS + 1), rel=1e-9)


def test_a_curved_function_between_two_slopes() -> None:
    """g(w) = w + sin(w) / 2 - 2 rises with a slope between 1/2 and 3/2."""
    root = robbins_monro(lambda w, k: w + np.sin(w) / 2 - 2, np.array(0.0), np.full(200, 0.5))[-1]
    path = robbins_monro(
        lambda w, k: w + np.sin(w) / 2 - 2 + NOISE[k],
        np.random.default_rng(2).uniform(-10, 10, RUNS),
        step_sizes(STEPS, scale=2.0),
    )
    assert abs(path[-1] - root).max() < 0.25
    assert rate(root_mean_square(path - root)) == pytest.approx(-0.5, abs=0.05)


def test_noise_without_mean_zero_moves_the_root() -> None:
    path = robbins_monro(lambda w, k: w + NOISE[k] + 0.5, np.zeros(RUNS), step_sizes(STEPS))
    assert path[-1].mean() == pytest.approx(-0.5, abs=0.01)


def test_gradient_descent_on_samples_finds_a_regression() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=STEPS)
    samples = np.stack([x, 2 * x + random.normal(scale=0.1, size=STEPS)], axis=1)
    path = stochastic_gradient_descent(
        lambda w, sample: (w * sample[0] - sample[1]) * sample[0],
        samples,
        np.array(0.0),
        step_sizes(STEPS),
    )
    assert path[-1] == pytest.approx(2.0, abs=0.02)


def test_gradient_descent_on_squares_is_the_running_mean() -> None:
    samples = np.random.default_rng(4).normal(size=40)
    path = stochastic_gradient_descent(lambda w, x: w - x, samples, np.array(7.0), step_sizes(40))
    np.testing.assert_allclose(path[1:], incremental_mean(samples), atol=1e-14)


@pytest.mark.parametrize(
    ("pull", "push", "last"),
    [
        (1.0, 1.0, (0.0, 0.03)),  # all conditions hold
        (0.6, 0.9, (0.0, 0.03)),  # they need not be equal
        (2.0, 1.0, (1.0, 3.0)),  # the pull has a finite sum: it stalls
        (1.0, 0.0, (20.0, 40.0)),  # the push has no finite sum of squares: it grows
    ],
)
def test_dvoretzkys_conditions(pull: float, push: float, last: tuple[float, float]) -> None:
    alpha = step_sizes(STEPS + 1, power=pull)[1:]
    beta = step_sizes(STEPS, power=push)
    error = root_mean_square(dvoretzky(np.full(RUNS, 3.0), alpha, beta, NOISE))
    assert last[0] <= error[-1] <= last[1]


def test_dvoretzky_holds_robbins_and_monro() -> None:
    """With g(w) = w, delta is w, and both step sizes are a."""
    sizes = step_sizes(STEPS, scale=0.5, power=0.7)
    path = robbins_monro(lambda w, k: w + NOISE[k], np.ones(RUNS), sizes)
    same = dvoretzky(np.ones(RUNS), sizes, -sizes, NOISE)
    np.testing.assert_allclose(same, path, atol=1e-12)


@pytest.mark.parametrize(
    ("count", "settings", "said"),
    [
        (0, {}, "Got 0, 1.0 and 1.0"),
        (5, {"scale": 0.0}, "Got 5, 0.0 and 1.0"),
        (5, {"power": -1.0}, "Got 5, 1.0 and -1.0"),
    ],
)
def test_step_sizes_that_are_none_are_refused(
    count: int, settings: dict[str, float], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        step_sizes(count, **settings)
