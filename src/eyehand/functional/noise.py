"""Diffusion and flow matching: from noise to actions, as pure functions of the noise level.

Diffusion counts towards noise: timestep 0 is nearly clean, the last is nearly pure noise. Flow
matching runs the other way, as in the paper of pi0: **time 0 is noise, time 1 is the action**. (The
code of openpi has it reversed.)

Results have the type of the sample. Schedules are float64: in float32 the share of noise at the
first timestep, ``1 - alpha_bar``, keeps three digits, and in bfloat16 none.

Sources: Ho et al., 2020, https://arxiv.org/abs/2006.11239 (DDPM); Nichol and Dhariwal, 2021,
https://arxiv.org/abs/2102.09672 (cosine); Song et al., 2021, https://arxiv.org/abs/2010.02502
(DDIM); Chi et al., 2023, https://arxiv.org/abs/2303.04137 (Diffusion Policy); Lipman et al., 2023,
https://arxiv.org/abs/2210.02747 (flow matching); Black et al., 2024,
https://arxiv.org/abs/2410.24164 (pi0).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

Sample = Float[Tensor, "*shape"]
"""Actions, noise or a mixture, such as (batch, time, action); of one shape within a call."""

Level = Float[Tensor, "*level"]
"""One number for the whole sample, or one for each of its leading axes: () or (batch,)."""


def cosine_alpha_bar(steps: int) -> Float64[Tensor, " timestep"]:
    r"""Share of variance that is signal, a squared cosine (Nichol and Dhariwal, 2021, eq. 17).

    .. math:: \bar\alpha(u) \propto \cos^2\Big(\frac{u + 0.008}{1.008} \cdot \frac{\pi}{2}\Big)

    Betas are capped at 0.999; else the last step would leave no signal, and nothing to divide by.

    Raises:
        ValueError: If ``steps`` is less than 1.

    Example:
        >>> cosine_alpha_bar(3)[:2]
        tensor([0.7429, 0.2464], dtype=torch.float64)
    """
    _check_steps(steps)
    progress = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    signal = torch.cos((progress + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - (1 - signal[1:] / signal[:-1]).clamp(max=0.999)).cumprod(dim=0)


def add_noise(clean: Sample, noise: Sample, *, alpha_bar: Level) -> Sample:
    r"""Mix :math:`\sqrt{\bar\alpha}\,x_0 + \sqrt{1-\bar\alpha}\,\epsilon` (Ho et al., 2020, eq. 4).

    It is also the step of DDIM (Song et al., 2021, eq. 12) that draws nothing: the clean sample and
    the noise that a network found are mixed anew at the next, less noisy level, which may be many
    timesteps away; at the last step that is 1.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> add_noise(torch.ones(2, 1), torch.ones(2, 1), alpha_bar=torch.tensor([1.0, 0.64]))
        tensor([[1.0000],
                [1.4000]])
    """
    signal, spread = _scales(alpha_bar, clean, noise)
    return signal * clean + spread * noise


def clean_from_noise(noise: Sample, noisy: Sample, *, alpha_bar: Level, clip: bool) -> Sample:
    r"""Return the clean sample that is left when a predicted noise is taken out of a noisy one.

    Args:
        noise: What the network predicts to be in ``noisy``.
        noisy: The sample that it saw.
        alpha_bar: Share of signal in ``noisy``, above 0.
        clip: Keep the clean sample in [-1, 1], if actions are scaled to that range. An error in the
            predicted noise is an error :math:`\sqrt{1/\bar\alpha - 1}` times as large in the clean
            sample: 2000 times at the first of Diffusion Policy's 100 steps, so it clips.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> noise, noisy, level = torch.ones(1), torch.tensor([2.2]), torch.tensor(0.64)
        >>> clean_from_noise(noise, noisy, alpha_bar=level, clip=False)
        tensor([2.])
    """
    signal, spread = _scales(alpha_bar, noisy, noise)
    clean = (noisy - spread * noise) / signal
    return clean.clamp(-1, 1) if clip else clean


def visited_timesteps(steps: int, visits: int) -> Int64[Tensor, " visit"]:
    """Return which timesteps a sampler visits, from noisy to clean, as Diffusion Policy does.

    They start short of the last timestep, although the sampler starts from pure noise: a single
    visit goes to timestep 0.

    Args:
        steps: Timesteps of the schedule.
        visits: How many of them to visit, from 1 to ``steps``.

    Raises:
        ValueError: If ``visits`` is less than 1 or more than ``steps``.

    Example:
        >>> visited_timesteps(100, 4)
        tensor([75, 50, 25,  0])
    """
    if not 1 <= visits <= steps:
        raise ValueError(f"`visits` must be in [1, steps]; got visits={visits}, steps={steps}.")
    return torch.arange(visits).flip(0) * (steps // visits)


def straight_path(noise: Sample, action: Sample, *, time: Level) -> tuple[Sample, Sample]:
    r"""Return the point at ``time`` on the way from noise to action, and the velocity to learn.

    .. math:: x_\tau = (1 - \tau)\,\epsilon + \tau a, \qquad v = a - \epsilon

    The paper of pi0 prints the velocity with the other sign, which under its own rule of
    integration leads away from the action.

    Args:
        noise: Standard normal.
        action: Where the path ends.
        time: From 0, noise, to 1, action.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> straight_path(torch.zeros(1), torch.full((1,), 2.0), time=torch.tensor(0.25))
        (tensor([0.5000]), tensor([2.]))
    """
    share = _like(time, noise, action)
    return (1 - share) * noise + share * action, action - noise


def shifted_beta_time(uniform: Sample) -> Sample:
    r"""Turn uniform numbers in [0, 1] into training times of a flow (Black et al., 2024, app. B).

    .. math:: \tau = s\,(1 - b), \qquad b \sim \mathrm{Beta}(1.5, 1), \qquad s = 0.999

    Noisy times come most often. None lies above ``s``; Euler asks for none up to 1000 steps.

    Example:
        >>> shifted_beta_time(torch.tensor([0.0, 0.125, 1.0]))
        tensor([0.9990, 0.7492, 0.0000])
    """
    return 0.999 * (1 - uniform ** (2 / 3))  # b: the inverse of its distribution b^1.5


def euler(
    velocity: Callable[[Sample, Float[Tensor, " batch"]], Sample], noise: Sample, *, steps: int
) -> Sample:
    """Follow a field of velocities from noise at time 0 to actions at time 1.

    Args:
        velocity: Called with the points and their time, one number per row; never at time 1.
        noise: Standard normal, the batch first.
        steps: Equal steps, at least 1; pi0 takes 10.

    Raises:
        ValueError: If ``steps`` is less than 1.

    Example:
        >>> euler(lambda point, time: torch.full_like(point, 3.0), torch.zeros(1, 2), steps=4)
        tensor([[3., 3.]])
    """
    _check_steps(steps)
    point = noise
    for step in range(steps):
        time = noise.new_full(noise.shape[:1], step / steps)
        point = point + (1 / steps) * velocity(point, time)
    return point


def noisy_step(
    point: Sample, velocity: Sample, *, time: float, length: float, level: float
) -> tuple[Sample, float]:
    r"""Return mean and deviation of a step of a flow that draws noise on its way.

    .. math:: dx = \Big(v - \frac{\sigma^2}{2} \frac{x - \tau v}{1 - \tau}\Big) d\tau
              + \sigma\, dW, \qquad \sigma = \lambda \sqrt{1 - \tau}

    At every time the points are spread as those that follow the velocities alone: what the noise
    adds, the second part takes away, since :math:`x - \tau v` is the noise that the flow finds in
    the point, and :math:`-(x - \tau v) / (1 - \tau)` the gradient of the logarithm of its density.
    Each step is a Gaussian, so a path has a probability. Sources let the noise grow without bound
    towards time 0 and cut it there; this one is finite everywhere.

    Args:
        point: Where the path is.
        velocity: At that point and time.
        time: :math:`\tau`, from 0, noise, to below 1, action.
        length: Of the step.
        level: :math:`\lambda`, at least 0; 0 is the step of `euler`.

    References:
        Liu et al., 2025, "Flow-GRPO", https://arxiv.org/abs/2505.05470, section 4.2; Chen et al.,
        2025, "piRL", https://arxiv.org/abs/2510.25889 (Flow-SDE).

    Example:
        >>> noisy_step(torch.ones(1), torch.ones(1), time=0.5, length=0.5, level=0.0)
        (tensor([1.5000]), 0.0)
    """
    correction = 0.5 * level**2 * (point - time * velocity)
    deviation = level * math.sqrt((1 - time) * length)
    return point + length * (velocity - correction), deviation


def gaussian_log_prob(value: Sample, mean: Sample, *, deviation: float) -> Sample:
    """Return the log-density of every number under a Gaussian of its own mean.

    Example:
        >>> gaussian_log_prob(torch.zeros(1), torch.zeros(1), deviation=1.0)
        tensor([-0.9189])
    """
    distance = (value - mean) / deviation
    return -0.5 * distance**2 - math.log(deviation) - 0.5 * math.log(2 * math.pi)


def _scales(alpha_bar: Level, *samples: Sample) -> tuple[Tensor, Tensor]:
    """Return what multiplies the clean sample and the noise in a noisy sample."""
    return _like(alpha_bar.sqrt(), *samples), _like((1 - alpha_bar).sqrt(), *samples)


def _like(level: Level, *samples: Sample) -> Tensor:
    """Return the level in the type of the samples, with axes added so that it multiplies them."""
    shapes = [tuple(sample.shape) for sample in samples]
    if len(set(shapes)) > 1:
        raise ValueError(f"Sample, noise and prediction must have one shape; got {shapes}.")
    if tuple(level.shape) != shapes[0][: level.ndim]:
        raise ValueError(
            "A level must be one number or have the leading axes of the sample; "
            f"got level {tuple(level.shape)}, sample {shapes[0]}."
        )
    return level.reshape(*level.shape, *[1] * (len(shapes[0]) - level.ndim)).to(samples[0])


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1; got {steps}.")
