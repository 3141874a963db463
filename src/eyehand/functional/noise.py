"""Diffusion and flow matching: from noise to actions, as pure functions of the noise level.

Diffusion counts towards noise: timestep 0 is nearly clean, the last is nearly pure noise. Flow
matching runs the other way, as in the paper of pi0: **time 0 is noise, time 1 is the action**. (The
code of openpi has it reversed.)

Results have the type of the sample. Schedules are float64: in float32 the share of noise at the
first timestep, ``1 - alpha_bar``, keeps three digits, and in bfloat16 none.

Sources: Ho et al., 2020, https://arxiv.org/abs/2006.11239 (DDPM); Nichol and Dhariwal, 2021,
https://arxiv.org/abs/2102.09672 (cosine); Song et al., 2021, https://arxiv.org/abs/2010.02502
(DDIM); Salimans and Ho, 2022, https://arxiv.org/abs/2202.00512 (velocity); Chi et al., 2023,
https://arxiv.org/abs/2303.04137 (Diffusion Policy); Lipman et al., 2023,
https://arxiv.org/abs/2210.02747 (flow matching); Black et al., 2024,
https://arxiv.org/abs/2410.24164 (pi0).
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

Sample = Float[Tensor, "*shape"]
"""Actions, noise or a mixture, such as (batch, time, action); of one shape within a call."""

Level = Float[Tensor, "*level"]
"""One number for the whole sample, or one for each of its leading axes: () or (batch,)."""

Target = Literal["noise", "clean", "velocity"]
"""What a diffusion network predicts. Its velocity is not the velocity of a flow."""


def linear_alpha_bar(steps: int) -> Float64[Tensor, " timestep"]:
    """Share of variance that is signal when betas grow from 1e-4 to 0.02 (Ho et al., 2020, sec. 4).

    Made for 1000 steps: after 100 of 100, more than a third is still signal.

    Raises:
        ValueError: If ``steps`` is less than 1.

    Example:
        >>> linear_alpha_bar(3)
        tensor([0.9999, 0.9899, 0.9701], dtype=torch.float64)
    """
    _check_steps(steps)
    return (1 - torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)).cumprod(dim=0)


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

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> add_noise(torch.ones(2, 1), torch.ones(2, 1), alpha_bar=torch.tensor([1.0, 0.64]))
        tensor([[1.0000],
                [1.4000]])
    """
    signal, spread = _scales(alpha_bar, clean, noise)
    return signal * clean + spread * noise


def training_target(clean: Sample, noise: Sample, *, alpha_bar: Level, target: Target) -> Sample:
    r"""Return what the network should predict; `clean_and_noise` undoes it.

    .. math:: v = \sqrt{\bar\alpha}\,\epsilon - \sqrt{1-\bar\alpha}\,x_0
              \qquad \text{(Salimans and Ho, 2022)}

    Raises:
        ValueError: If ``target`` is unknown or the shapes do not fit.

    Example:
        >>> level = torch.tensor(0.64)
        >>> training_target(torch.ones(1), torch.ones(1), alpha_bar=level, target="velocity")
        tensor([0.2000])
    """
    _check_target(target)
    signal, spread = _scales(alpha_bar, clean, noise)
    if target == "velocity":
        return signal * noise - spread * clean
    return noise if target == "noise" else clean


def clean_and_noise(
    prediction: Sample, noisy: Sample, *, alpha_bar: Level, target: Target, clip: bool
) -> tuple[Sample, Sample]:
    r"""Return the clean sample and the noise that follow from a prediction.

    Args:
        prediction: Output of the network for ``noisy``.
        noisy: Its input.
        alpha_bar: Share of signal in ``noisy``, strictly between 0 and 1.
        target: What the network was trained to predict.
        clip: Keep the clean sample in [-1, 1], if actions are scaled to that range. An error in the
            predicted noise is an error :math:`\sqrt{1/\bar\alpha - 1}` times as large in the clean
            sample: 2000 times at the first of Diffusion Policy's 100 steps, so it clips. The noise
            stays as predicted, the default of diffusers.

    Raises:
        ValueError: If ``target`` is unknown or the shapes do not fit.

    Example:
        >>> prediction, noisy, level = torch.ones(1), torch.tensor([2.2]), torch.tensor(0.64)
        >>> clean_and_noise(prediction, noisy, alpha_bar=level, target="noise", clip=False)
        (tensor([2.]), tensor([1.]))
        >>> clean_and_noise(prediction, noisy, alpha_bar=level, target="noise", clip=True)
        (tensor([1.]), tensor([1.]))
    """
    _check_target(target)
    signal, spread = _scales(alpha_bar, noisy, prediction)
    if target == "noise":
        clean, noise = (noisy - spread * prediction) / signal, prediction
    elif target == "clean":
        clean, noise = prediction, (noisy - signal * prediction) / spread
    else:
        clean, noise = signal * noisy - spread * prediction, signal * prediction + spread * noisy
    return clean.clamp(-1, 1) if clip else clean, noise


def visited_timesteps(
    steps: int, visits: int, *, spacing: Literal["leading", "trailing"] = "leading"
) -> Int64[Tensor, " visit"]:
    """Return which timesteps a sampler visits, from noisy to clean.

    ``leading`` (Diffusion Policy) starts short of the last timestep, although the sampler starts
    from pure noise: a single visit goes to timestep 0. ``trailing`` starts at the last; use it for
    few visits (Lin et al., 2024, https://arxiv.org/abs/2305.08891).

    Args:
        steps: Timesteps of the schedule.
        visits: How many of them to visit, from 1 to ``steps``.
        spacing: ``leading`` always visits the first timestep, ``trailing`` the last.

    Raises:
        ValueError: If ``visits`` is less than 1 or more than ``steps``.

    Example:
        >>> visited_timesteps(100, 4), visited_timesteps(100, 4, spacing="trailing")
        (tensor([75, 50, 25,  0]), tensor([99, 74, 49, 24]))
    """
    if not 1 <= visits <= steps:
        raise ValueError(f"`visits` must be in [1, steps]; got visits={visits}, steps={steps}.")
    if spacing == "leading":
        return torch.arange(visits).flip(0) * (steps // visits)
    return torch.tensor([round(steps - i * steps / visits) - 1 for i in range(visits)])


def ddpm_step(
    noisy: Sample, clean: Sample, *, alpha_bar: Level, next_alpha_bar: Level, fresh_noise: Sample
) -> Sample:
    r"""Draw the next, less noisy sample (Ho et al., 2020, eq. 6 and 7).

    .. math:: x' = \frac{\sqrt{\bar\alpha'}\,\beta}{1-\bar\alpha}\,x_0
              + \frac{\sqrt{1-\beta}\,(1-\bar\alpha')}{1-\bar\alpha}\,x + \sigma z, \qquad
              \sigma^2 = \frac{1-\bar\alpha'}{1-\bar\alpha}\,\beta, \quad
              \beta = 1 - \frac{\bar\alpha}{\bar\alpha'}

    At the last step :math:`\bar\alpha' = 1`, so nothing is drawn: the clean sample comes back.

    Args:
        noisy: Sample at this timestep.
        clean: What it seems to be without noise, from `clean_and_noise`.
        alpha_bar: Share of signal in ``noisy``, strictly between 0 and 1.
        next_alpha_bar: Share at the next visited timestep, above ``alpha_bar``; 1 at the last step.
        fresh_noise: Standard normal.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> now, after, noisy = torch.tensor(0.5), torch.tensor(0.8), torch.zeros(1)
        >>> ddpm_step(noisy, torch.ones(1), alpha_bar=now, next_alpha_bar=after, fresh_noise=noisy)
        tensor([0.6708])
    """
    beta = 1 - alpha_bar / next_alpha_bar
    noise_left = (1 - next_alpha_bar) / (1 - alpha_bar)
    of_clean = _like(next_alpha_bar.sqrt() * beta / (1 - alpha_bar), clean, noisy, fresh_noise)
    of_noisy = _like((1 - beta).sqrt() * noise_left, noisy)
    deviation = _like((noise_left * beta).sqrt(), noisy)
    return of_clean * clean + of_noisy * noisy + deviation * fresh_noise


def ddim_step(
    clean: Sample,
    noise: Sample,
    *,
    alpha_bar: Level,
    next_alpha_bar: Level,
    eta: float = 0.0,
    fresh_noise: Sample | None = None,
) -> Sample:
    r"""Go to the next, less noisy sample, which may be many timesteps away (Song et al., eq. 12).

    .. math:: x' = \sqrt{\bar\alpha'}\,x_0 + \sqrt{1-\bar\alpha'-\sigma^2}\,\epsilon + \sigma z

    with the :math:`\sigma` of `ddpm_step` times :math:`\eta`; 1 is DDPM, if nothing is clipped.

    Args:
        clean: What the sample seems to be without noise, from `clean_and_noise`.
        noise: The noise that it seems to hold, from the same.
        alpha_bar: Share of signal in the sample, strictly between 0 and 1.
        next_alpha_bar: Share at the next visited timestep, above ``alpha_bar``; 1 at the last step.
        eta: Share of the randomness of DDPM, in [0, 1]; 0 draws nothing.
        fresh_noise: Standard normal; needed if ``eta`` is above 0.

    Raises:
        ValueError: If ``eta`` is out of range or lacks its noise, or the shapes do not fit.

    Example:
        >>> alpha_bar = cosine_alpha_bar(100)[visited_timesteps(100, 10)]
        >>> levels = torch.cat([alpha_bar, torch.ones(1)])
        >>> noisy, prediction = torch.tensor([2.0]), torch.tensor([0.3])
        >>> for now, after in zip(levels[:-1], levels[1:]):
        ...     pair = clean_and_noise(prediction, noisy, alpha_bar=now, target="clean", clip=True)
        ...     noisy = ddim_step(*pair, alpha_bar=now, next_alpha_bar=after)
        >>> noisy
        tensor([0.3000])
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"`eta` must be in [0, 1]; got {eta}.")
    noise_left = (1 - next_alpha_bar) / (1 - alpha_bar)
    variance = eta**2 * noise_left * (1 - alpha_bar / next_alpha_bar)
    of_clean = _like(next_alpha_bar.sqrt(), clean, noise)
    mean = of_clean * clean + _like((1 - next_alpha_bar - variance).sqrt(), noise) * noise
    if eta == 0:
        return mean
    if fresh_noise is None:
        raise ValueError(f"`fresh_noise` must be given if `eta` is above 0; got eta={eta}.")
    return mean + _like(variance.sqrt(), clean, fresh_noise) * fresh_noise


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


def euler_step(point: Sample, velocity: Sample, *, duration: float) -> Sample:
    """Move a point along its velocity for a part of the time from 0 to 1.

    Example:
        >>> euler_step(torch.zeros(1), torch.ones(1), duration=0.1)
        tensor([0.1000])
    """
    return point + duration * velocity


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
        point = euler_step(point, velocity(point, time), duration=1 / steps)
    return point


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


def _check_target(target: str) -> None:
    if target not in get_args(Target):
        raise ValueError(f"`target` must be one of {get_args(Target)}; got {target!r}.")
