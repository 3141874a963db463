"""Diffusion against the schedulers of diffusers; flow matching against closed forms and scipy."""

import math
from collections.abc import Iterator
from itertools import pairwise

import jaxtyping
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from scipy import stats
from torch import Tensor

from eyehand.functional.noise import (
    add_noise,
    clean_from_noise,
    cosine_alpha_bar,
    euler,
    noisy_step,
    shifted_beta_time,
    straight_path,
    visited_timesteps,
)

SHAPE = (3, 4, 2)  # batch, time, action


def draw(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(SHAPE, dtype=dtype) for _ in range(count)]


def scheduler(kind: type, visits: int = 100, **options: object) -> DDIMScheduler | DDPMScheduler:
    """Diffusion Policy's scheduler, its schedule in float64."""
    made = kind(100, beta_schedule="squaredcos_cap_v2", **options)
    made.alphas_cumprod = made.alphas_cumprod.double()
    made.set_timesteps(visits)
    return made


def exactly(got: Tensor, want: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("steps", [1, 20, 100, 1000])
def test_schedule_matches_diffusers(steps: int) -> None:
    """Theirs is float32, so this is as close as it can be; closed forms below are exact."""
    theirs = DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    torch.testing.assert_close(cosine_alpha_bar(steps).float(), theirs, rtol=3e-5, atol=1e-6)


def test_schedule_matches_closed_forms() -> None:
    steps = 100

    def signal(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    cosine = [signal((i + 1) / steps) / signal(0) for i in range(steps - 1)]
    cosine.append(cosine[-1] * 0.001)  # the only capped beta
    exactly(cosine_alpha_bar(steps), torch.tensor(cosine, dtype=torch.float64))


def test_forward_process_matches_diffusers() -> None:
    clean, noise = draw(2)
    theirs = scheduler(DDPMScheduler)
    timestep = torch.tensor([0, 57, 99])
    level = theirs.alphas_cumprod[timestep]
    got = add_noise(clean, noise, alpha_bar=level)
    exactly(got, theirs.add_noise(clean, noise, timestep))


@pytest.mark.parametrize("clip", [False, True])
def test_ddim_matches_diffusers(clip: bool) -> None:
    noisy, noise = draw(2)
    theirs = scheduler(DDIMScheduler, 10, clip_sample=clip)
    for timestep in theirs.timesteps.tolist():
        want = theirs.step(noise, timestep, noisy)
        levels = theirs.alphas_cumprod
        after = levels[timestep - 10] if timestep >= 10 else levels.new_ones(())
        clean = clean_from_noise(noise, noisy, alpha_bar=levels[timestep], clip=clip)
        exactly(clean, want.pred_original_sample)
        exactly(add_noise(clean, noise, alpha_bar=after), want.prev_sample)


def test_sampling_in_float32_matches_diffusers() -> None:
    """All of it, as Diffusion Policy does: our schedule, its timesteps, a step after another."""
    (start,) = draw(1, torch.float32)
    theirs = DDIMScheduler(100, beta_schedule="squaredcos_cap_v2")
    theirs.set_timesteps(10)
    want = start
    for timestep in theirs.timesteps:
        want = theirs.step(torch.tanh(2 * want), timestep, want).prev_sample

    alpha_bar = cosine_alpha_bar(100)[visited_timesteps(100, 10)]
    levels = torch.cat([alpha_bar, torch.ones(1)])
    got = start
    for now, after in pairwise(levels):
        noise = torch.tanh(2 * got)
        clean = clean_from_noise(noise, got, alpha_bar=now, clip=True)
        got = add_noise(clean, noise, alpha_bar=after)
    exactly(got, want, 1e-5)


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_timesteps_match_diffusers(steps: int) -> None:
    theirs = DDIMScheduler(steps)
    for visits in range(1, steps + 1):
        theirs.set_timesteps(visits)
        assert visited_timesteps(steps, visits).tolist() == theirs.timesteps.tolist()


@pytest.mark.parametrize("visits", [1, 9, 100])
def test_ddim_with_the_true_noise_finds_the_clean_sample(visits: int) -> None:
    clean, noise = draw(2)
    alpha_bar = cosine_alpha_bar(100)[visited_timesteps(100, visits)]
    levels = torch.cat([alpha_bar, torch.ones(1)])
    noisy = add_noise(clean, noise, alpha_bar=levels[0])
    for now, after in pairwise(levels):
        exactly(noisy, add_noise(clean, noise, alpha_bar=now), 1e-11)
        found = clean_from_noise(noise, noisy, alpha_bar=now, clip=False)
        noisy = add_noise(found, noise, alpha_bar=after)
    exactly(noisy, clean, 1e-11)


def test_a_level_goes_with_its_rows() -> None:
    clean, noise = draw(2)
    table = torch.rand(SHAPE[:2], dtype=torch.float64)  # one for each row and time
    together = add_noise(clean, noise, alpha_bar=table)
    path, _ = straight_path(noise, clean, time=table)
    for row in range(SHAPE[0]):
        for moment in range(SHAPE[1]):
            pair, level = (clean[row, moment], noise[row, moment]), table[row, moment]
            exactly(together[row, moment], add_noise(*pair, alpha_bar=level))
            exactly(path[row, moment], straight_path(*pair[::-1], time=level)[0])


def test_path_runs_from_noise_to_action_along_its_velocity() -> None:
    noise, action = draw(2)
    ends = [straight_path(noise, action, time=torch.tensor(end))[0] for end in (0.0, 1.0)]
    exactly(ends[0], noise)
    exactly(ends[1], action)
    early, late = (straight_path(noise, action, time=torch.tensor(t)) for t in (0.25, 0.75))
    exactly((late[0] - early[0]) / 0.5, early[1])
    exactly(late[1], early[1])


def test_training_times_match_scipy() -> None:
    """And openpi, which counts time from the other end: Beta(1.5, 1) * 0.999 + 0.001."""
    uniform = torch.linspace(0, 1, 101, dtype=torch.float64)
    beta = torch.from_numpy(stats.beta(1.5, 1).ppf(uniform.numpy()))
    time = shifted_beta_time(uniform)
    exactly(time, 0.999 * (1 - beta))
    exactly(1 - time, beta * 0.999 + 0.001)
    assert 0 <= time.min() <= time.max() <= 0.999
    assert (time < 0.5).double().mean() > 0.6  # noisy times come most often


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 60])
def test_euler_is_exact_on_straight_flows(steps: int) -> None:
    noise, action = draw(2)
    _, velocity = straight_path(noise, action, time=torch.zeros(()))
    exactly(euler(lambda point, time: velocity, noise, steps=steps), action)

    def towards_the_action(point: Tensor, time: Tensor) -> Tensor:
        return (action - point) / (1 - time[:, None, None])

    exactly(euler(towards_the_action, noise, steps=steps), action)
    away = euler(lambda point, time: -velocity, noise, steps=steps)
    assert (away - action).abs().max() > 1  # the sign as printed in the paper of pi0


def test_euler_errs_by_closed_forms_on_curved_flows() -> None:
    start = torch.ones(2, 1, dtype=torch.float64)
    for steps in (1, 7, 10):
        growth = euler(lambda point, time: point, start, steps=steps)
        exactly(growth, start * (1 + 1 / steps) ** steps)
        fall = euler(lambda point, time: 2 * time[:, None], start * 0, steps=steps)
        exactly(fall, start * (steps - 1) / steps)


def test_euler_asks_at_the_start_of_every_step() -> None:
    asked = []
    euler(lambda point, time: asked.append(time) or point, torch.zeros(2, 1), steps=4)
    exactly(torch.stack(asked), torch.tensor([[0.0, 0.25, 0.5, 0.75]] * 2).T)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtype_stays_and_inputs_are_untouched(dtype: torch.dtype) -> None:
    inputs = draw(2, dtype)
    copies = [tensor.clone() for tensor in inputs]
    a, b = inputs
    level = cosine_alpha_bar(100)[[40, 50, 60]]
    results = [
        add_noise(a, b, alpha_bar=level),
        clean_from_noise(a, b, alpha_bar=level, clip=True),
        *straight_path(a, b, time=torch.rand(3)),
        shifted_beta_time(a.abs().clamp(max=1)),
        euler(lambda point, time: point * time[:, None, None], a, steps=3),
    ]
    assert {result.dtype for result in results} == {dtype}
    assert {tuple(result.shape) for result in results} == {SHAPE}
    assert all(map(torch.equal, inputs, copies))


@pytest.fixture
def _no_shape_checks() -> Iterator[None]:
    """As outside the tests, where jaxtyping does not look and our own sentence must come."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def test_refuses_counts() -> None:
    with pytest.raises(ValueError, match="`steps` must be at least 1; got 0"):
        cosine_alpha_bar(0)
    with pytest.raises(ValueError, match="`steps` must be at least 1; got -1"):
        euler(lambda point, time: point, torch.zeros(1, 1), steps=-1)
    with pytest.raises(ValueError, match="got visits=11, steps=10"):
        visited_timesteps(10, 11)
    with pytest.raises(ValueError, match="got visits=0, steps=10"):
        visited_timesteps(10, 0)


@pytest.mark.usefixtures("_no_shape_checks")
def test_refuses_shapes() -> None:
    sample, row, level = torch.zeros(SHAPE), torch.zeros(4, 2), torch.tensor(0.5)
    one_shape = r"must have one shape; got \[.*\(4, 2\).*\]"
    with pytest.raises(ValueError, match=one_shape):
        add_noise(sample, row, alpha_bar=level)
    with pytest.raises(ValueError, match=one_shape):
        clean_from_noise(row, sample, alpha_bar=level, clip=True)
    with pytest.raises(ValueError, match=one_shape):
        straight_path(row, sample, time=level)
    with pytest.raises(ValueError, match=r"got level \(4,\), sample \(3, 4, 2\)"):
        add_noise(sample, sample, alpha_bar=torch.ones(4))
    with pytest.raises(ValueError, match=r"got level \(1, 2\), sample \(1,\)"):
        straight_path(torch.zeros(1), torch.zeros(1), time=torch.ones(1, 2))


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_noise_on_the_way_leaves_the_spread_of_the_points_as_it_is(level: float) -> None:
    """From N(0, 1) to N(1, 0.5**2): the velocity is known, and so is every moment."""
    draw, steps = torch.Generator().manual_seed(0), 200
    point = torch.randn(20_000, generator=draw, dtype=torch.float64)
    for step in range(steps):
        time = step / steps
        variance = (1 - time) ** 2 + (0.5 * time) ** 2
        # E[action - noise | point] of two Gaussians.
        velocity = 1 + (0.25 * time - (1 - time)) / variance * (point - time)
        mean, deviation = noisy_step(point, velocity, time=time, length=1 / steps, level=level)
        point = mean + deviation * torch.randn(20_000, generator=draw, dtype=torch.float64)
    assert point.mean().item() == pytest.approx(1, abs=0.02)
    assert point.std().item() == pytest.approx(0.5, abs=0.02)
