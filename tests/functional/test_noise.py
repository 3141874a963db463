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
    Target,
    add_noise,
    clean_and_noise,
    cosine_alpha_bar,
    ddim_step,
    ddpm_step,
    euler,
    euler_step,
    linear_alpha_bar,
    shifted_beta_time,
    straight_path,
    training_target,
    visited_timesteps,
)

SHAPE = (3, 4, 2)  # batch, time, action
THEIR_NAME = {"noise": "epsilon", "clean": "sample", "velocity": "v_prediction"}
every_target = pytest.mark.parametrize("target", list(THEIR_NAME))
every_spacing = pytest.mark.parametrize("spacing", ["leading", "trailing"])


def draw(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(SHAPE, dtype=dtype) for _ in range(count)]


def scheduler(kind: type, visits: int = 100, **options: object) -> DDIMScheduler | DDPMScheduler:
    """Diffusion Policy's scheduler, its schedule in float64."""
    made = kind(100, beta_schedule="squaredcos_cap_v2", **options)
    made.alphas_cumprod = made.alphas_cumprod.double()
    made.set_timesteps(visits)
    return made


def levels_of(alpha_bar: Tensor, timestep: int, previous: int) -> dict[str, Tensor]:
    after = alpha_bar[previous] if previous >= 0 else alpha_bar.new_ones(())
    return {"alpha_bar": alpha_bar[timestep], "next_alpha_bar": after}


def exactly(got: Tensor, want: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("steps", [1, 20, 100, 1000])
def test_schedules_match_diffusers(steps: int) -> None:
    """Theirs is float32, so this is as close as it can be; closed forms below are exact."""
    for ours, name in ((linear_alpha_bar, "linear"), (cosine_alpha_bar, "squaredcos_cap_v2")):
        theirs = DDPMScheduler(steps, beta_schedule=name).alphas_cumprod
        torch.testing.assert_close(ours(steps).float(), theirs, rtol=3e-5, atol=1e-6)


def test_schedules_match_closed_forms() -> None:
    steps = 100
    betas = [1e-4 + (0.02 - 1e-4) * i / (steps - 1) for i in range(steps)]
    product = [math.prod(1 - beta for beta in betas[: i + 1]) for i in range(steps)]
    exactly(linear_alpha_bar(steps), torch.tensor(product, dtype=torch.float64))

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
    got = training_target(clean, noise, alpha_bar=level, target="velocity")
    exactly(got, theirs.get_velocity(clean, noise, timestep))


@every_target
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("visits", "stride"), [(100, 9), (10, 1)])
def test_ddpm_matches_diffusers(target: Target, clip: bool, visits: int, stride: int) -> None:
    noisy, prediction = draw(2)
    theirs = scheduler(DDPMScheduler, visits, prediction_type=THEIR_NAME[target], clip_sample=clip)
    for timestep in theirs.timesteps[::stride].tolist():
        want = theirs.step(
            prediction, timestep, noisy, generator=torch.Generator().manual_seed(timestep)
        )
        fresh = torch.randn(
            SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(timestep)
        )
        levels = levels_of(theirs.alphas_cumprod, timestep, timestep - 100 // visits)
        clean, _ = clean_and_noise(
            prediction, noisy, alpha_bar=levels["alpha_bar"], target=target, clip=clip
        )
        exactly(clean, want.pred_original_sample)
        exactly(ddpm_step(noisy, clean, **levels, fresh_noise=fresh), want.prev_sample)


@every_target
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_matches_diffusers(target: Target, clip: bool, eta: float) -> None:
    noisy, prediction, fresh = draw(3)
    theirs = scheduler(DDIMScheduler, 10, prediction_type=THEIR_NAME[target], clip_sample=clip)
    for timestep in theirs.timesteps.tolist():
        want = theirs.step(prediction, timestep, noisy, eta=eta, variance_noise=fresh)
        levels = levels_of(theirs.alphas_cumprod, timestep, timestep - 10)
        clean, noise = clean_and_noise(
            prediction, noisy, alpha_bar=levels["alpha_bar"], target=target, clip=clip
        )
        exactly(clean, want.pred_original_sample)
        got = ddim_step(clean, noise, **levels, eta=eta, fresh_noise=fresh)
        exactly(got, want.prev_sample)


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
        pair = clean_and_noise(torch.tanh(2 * got), got, alpha_bar=now, target="noise", clip=True)
        got = ddim_step(*pair, alpha_bar=now, next_alpha_bar=after)
    exactly(got, want, 1e-5)


@every_spacing
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_timesteps_match_diffusers(steps: int, spacing: str) -> None:
    """But for halves, which theirs may round wrongly: 29 visits of 100 become 30, down to -1."""
    theirs = DDIMScheduler(steps, timestep_spacing=spacing)
    for visits in range(1, steps + 1):
        theirs.set_timesteps(visits)
        got = visited_timesteps(steps, visits, spacing=spacing).tolist()
        assert len(got) == visits
        for i, (mine, their) in enumerate(zip(got, theirs.timesteps.tolist(), strict=False)):
            half = spacing == "trailing" and (2 * i * steps) % (2 * visits) == visits
            inexact = visits.bit_count() > 1  # steps / visits, unless visits is a power of two
            assert abs(mine - their) <= (half and inexact), (visits, i)


@every_spacing
def test_timesteps_fall_within_the_schedule(spacing: str) -> None:
    for steps in range(1, 40):
        for visits in range(1, steps + 1):
            timesteps = visited_timesteps(steps, visits, spacing=spacing).tolist()
            assert len(set(timesteps)) == visits
            assert timesteps == sorted(timesteps, reverse=True)
            assert 0 <= timesteps[-1] <= timesteps[0] < steps
            assert timesteps[-1] == 0 if spacing == "leading" else timesteps[0] == steps - 1


@every_target
def test_conversion_is_the_inverse_of_the_target(target: Target) -> None:
    clean, noise = draw(2)
    for level in cosine_alpha_bar(100)[[0, 30, 60, 90]]:
        noisy = add_noise(clean, noise, alpha_bar=level)
        prediction = training_target(clean, noise, alpha_bar=level, target=target)
        got = clean_and_noise(prediction, noisy, alpha_bar=level, target=target, clip=False)
        exactly(got[0], clean)
        exactly(got[1], noise)


@every_spacing
@pytest.mark.parametrize("visits", [1, 9, 100])
def test_ddim_with_the_true_noise_finds_the_clean_sample(visits: int, spacing: str) -> None:
    clean, noise = draw(2)
    alpha_bar = cosine_alpha_bar(100)[visited_timesteps(100, visits, spacing=spacing)]
    levels = torch.cat([alpha_bar, torch.ones(1)])
    noisy = add_noise(clean, noise, alpha_bar=levels[0])
    for now, after in pairwise(levels):
        exactly(noisy, add_noise(clean, noise, alpha_bar=now), 1e-11)
        pair = clean_and_noise(noise, noisy, alpha_bar=now, target="noise", clip=False)
        noisy = ddim_step(*pair, alpha_bar=now, next_alpha_bar=after)
    exactly(noisy, clean, 1e-11)


def test_ddpm_draws_from_the_posterior() -> None:
    """Bayes' rule: a Gaussian prior around the clean sample times a Gaussian step of noise."""
    noisy, clean, fresh = draw(3)
    now, after = torch.tensor([0.3, 0.8], dtype=torch.float64)
    alpha, beta = now / after, 1 - now / after
    variance = 1 / (alpha / beta + 1 / (1 - after))
    mean = variance * (alpha.sqrt() / beta * noisy + after.sqrt() / (1 - after) * clean)
    got = ddpm_step(noisy, clean, alpha_bar=now, next_alpha_bar=after, fresh_noise=fresh)
    exactly(got, mean + variance.sqrt() * fresh)


def test_the_last_step_returns_the_clean_sample() -> None:
    noisy, clean, noise, fresh = draw(4)
    levels = {"alpha_bar": cosine_alpha_bar(10)[0], "next_alpha_bar": torch.ones(()).double()}
    exactly(ddpm_step(noisy, clean, **levels, fresh_noise=fresh), clean)
    exactly(ddim_step(clean, noise, **levels, eta=1.0, fresh_noise=fresh), clean)


@pytest.mark.parametrize("clip", [False, True])
def test_ddim_of_eta_one_is_ddpm_unless_it_clips(clip: bool) -> None:
    noisy, prediction, fresh = draw(3)
    levels = levels_of(cosine_alpha_bar(100), 80, 79)
    clean, noise = clean_and_noise(
        prediction, noisy, alpha_bar=levels["alpha_bar"], target="noise", clip=clip
    )
    assert (clean.abs().max() > 1) == (not clip)
    ddpm = ddpm_step(noisy, clean, **levels, fresh_noise=fresh)
    ddim = ddim_step(clean, noise, **levels, eta=1.0, fresh_noise=fresh)
    if clip:
        assert (ddpm - ddim).abs().max() > 1e-2
    else:
        exactly(ddpm, ddim, 1e-11)


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
    inputs = draw(3, dtype)
    copies = [tensor.clone() for tensor in inputs]
    a, b, c = inputs
    now = {"alpha_bar": cosine_alpha_bar(100)[[40, 50, 60]]}
    levels = {**now, "next_alpha_bar": cosine_alpha_bar(100)[[30, 40, 50]]}
    results = [
        add_noise(a, b, **now),
        ddpm_step(a, b, **levels, fresh_noise=c),
        ddim_step(a, b, **levels, eta=0.5, fresh_noise=c),
        *straight_path(a, b, time=torch.rand(3)),
        shifted_beta_time(a.abs().clamp(max=1)),
        euler_step(a, b, duration=0.1),
        euler(lambda point, time: point * time[:, None, None], a, steps=3),
    ]
    for target in THEIR_NAME:
        results.append(training_target(a, b, **now, target=target))
        results.extend(clean_and_noise(a, b, **now, target=target, clip=True))
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
    for schedule in (linear_alpha_bar, cosine_alpha_bar):
        with pytest.raises(ValueError, match="`steps` must be at least 1; got 0"):
            schedule(0)
    with pytest.raises(ValueError, match="`steps` must be at least 1; got -1"):
        euler(lambda point, time: point, torch.zeros(1, 1), steps=-1)
    with pytest.raises(ValueError, match="got visits=11, steps=10"):
        visited_timesteps(10, 11)
    with pytest.raises(ValueError, match="got visits=0, steps=10"):
        visited_timesteps(10, 0)


def test_refuses_eta() -> None:
    sample, levels = torch.zeros(1), levels_of(cosine_alpha_bar(10), 5, 4)
    with pytest.raises(ValueError, match=r"`eta` must be in \[0, 1\]; got 1.5"):
        ddim_step(sample, sample, **levels, eta=1.5, fresh_noise=sample)
    with pytest.raises(ValueError, match=r"`fresh_noise` must be given .* got eta=0.5"):
        ddim_step(sample, sample, **levels, eta=0.5)


@pytest.mark.usefixtures("_no_shape_checks")
def test_refuses_shapes_and_targets() -> None:
    sample, row, level = torch.zeros(SHAPE), torch.zeros(4, 2), torch.tensor(0.5)
    levels = {"alpha_bar": level, "next_alpha_bar": level + 0.1}
    one_shape = r"must have one shape; got \[.*\(4, 2\).*\]"
    with pytest.raises(ValueError, match=one_shape):
        add_noise(sample, row, alpha_bar=level)
    with pytest.raises(ValueError, match=one_shape):
        training_target(sample, row, alpha_bar=level, target="noise")
    with pytest.raises(ValueError, match=one_shape):
        clean_and_noise(row, sample, alpha_bar=level, target="noise", clip=True)
    with pytest.raises(ValueError, match=one_shape):
        straight_path(row, sample, time=level)
    with pytest.raises(ValueError, match=one_shape):
        ddpm_step(sample, sample, **levels, fresh_noise=row)
    with pytest.raises(ValueError, match=one_shape):
        ddim_step(sample, row, **levels)
    with pytest.raises(ValueError, match=one_shape):
        ddim_step(sample, sample, **levels, eta=0.5, fresh_noise=row)
    with pytest.raises(ValueError, match=r"got level \(4,\), sample \(3, 4, 2\)"):
        add_noise(sample, sample, alpha_bar=torch.ones(4))
    with pytest.raises(ValueError, match=r"got level \(1, 2\), sample \(1,\)"):
        straight_path(torch.zeros(1), torch.zeros(1), time=torch.ones(1, 2))
    for call in (
        lambda: training_target(sample, sample, alpha_bar=level, target="epsilon"),
        lambda: clean_and_noise(sample, sample, alpha_bar=level, target="epsilon", clip=True),
    ):
        with pytest.raises(ValueError, match=r"\('noise', 'clean', 'velocity'\); got 'epsilon'"):
            call()
