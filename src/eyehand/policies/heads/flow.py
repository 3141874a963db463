"""Policy head that lets noise flow to a chunk.

Flow matching (Lipman et al., 2023, https://arxiv.org/abs/2210.02747) as in pi0 (Black et al., 2024,
https://arxiv.org/abs/2410.24164, sec. IV): straight paths from noise to action, early times more
often in training, Euler steps at test. Differs from pi0: the network is a small perceptron
(Octo's), not a second transformer beside the language model.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eyehand.functional.noise import (
    euler,
    gaussian_log_prob,
    noisy_step,
    shifted_beta_time,
    straight_path,
)
from eyehand.policies.heads.chunk import row_noise
from eyehand.policies.heads.contract import (
    ActionHeadConfig,
    Chunk,
    DrawingHead,
    Features,
    FrameHead,
    FrameMask,
    RowChunk,
    RowFeature,
    RowMask,
    Seeds,
)
from eyehand.policies.heads.denoiser import Denoiser


@dataclass(frozen=True)
class FlowHeadConfig(ActionHeadConfig):
    """Flow matching over the chunk."""

    name: Literal["flow"] = "flow"
    """Name of the head in a checkpoint's config."""
    steps: int = 10
    """Euler steps at test."""
    dim: int = 512
    """Width of the network's residual stream."""
    depth: int = 3
    """Residual blocks."""

    def build(self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1) -> "FlowHead":
        """Return the head for features of width ``dim``."""
        return FlowHead(dim, config=self, horizon=horizon, action_dim=action_dim)


class FlowHead(FrameHead, DrawingHead):
    """Velocity of a chunk, given a frame's feature.

    What is drawn at random is a path with noise at every step (`noisy_step`): the sample is its
    points, and its probability that of all its steps. The first point counts as given.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    randomness = 0.5
    """The noise level of `noisy_step`."""

    def __init__(self, dim: int, *, config: FlowHeadConfig, horizon: int, action_dim: int) -> None:
        super().__init__()
        self.steps, self.horizon, self.action_dim = config.steps, horizon, action_dim
        self.denoiser = Denoiser(
            dim, width=config.dim, depth=config.depth, horizon=horizon, action_dim=action_dim
        )

    def row_loss(self, feature: RowFeature, chunk: RowChunk, mask: RowMask) -> dict[str, Tensor]:
        """Return the mean squared error of the velocity; actions in [-1, 1]."""
        time = shifted_beta_time(torch.rand(len(feature), device=feature.device))
        point, velocity = straight_path(torch.randn_like(chunk), chunk, time=time)
        error = (self.denoiser(point, time, feature) - velocity).square()
        return {"loss": (error * mask[..., None]).mean()}

    def row_act(self, feature: RowFeature, seed: Seeds) -> RowChunk:
        """Return the chunk that begins at the frame."""
        noise = row_noise(seed, horizon=self.horizon, action_dim=self.action_dim)
        return euler(
            lambda point, time: self.denoiser(point, time, feature), noise, steps=self.steps
        )

    def draw(
        self, feature: Features, *, history_mask: FrameMask, seed: Seeds, randomness: float
    ) -> tuple[Chunk, Tensor]:
        """Draw a path; see `DrawingHead.draw`. Randomness is the noise level of `noisy_step`."""
        row = feature[:, -1]
        every = row_noise(seed, horizon=(self.steps + 1) * self.horizon, action_dim=self.action_dim)
        noise = every.unflatten(1, (self.steps + 1, self.horizon))
        points = [noise[:, 0]]
        for step in range(self.steps):
            mean, deviation = self._step(row, points[-1], step, randomness)
            points.append(mean + deviation * noise[:, step + 1])
        return points[-1].clamp(-1, 1), torch.stack(points, dim=1)

    def log_prob(
        self,
        feature: Features,
        sample: Tensor,
        *,
        history_mask: FrameMask,
        executed: RowMask,
        randomness: float,
    ) -> Float[Tensor, " batch"]:
        """Return the log-density of all steps, given the first point.

        The network reads all actions of a point, so those that are not executed have an influence
        on the others: they count, but in the last step, after which there is none.
        """
        row, total = feature[:, -1], sample.new_zeros(len(sample))
        for step in range(self.steps):
            mean, deviation = self._step(row, sample[:, step], step, randomness)
            every = gaussian_log_prob(sample[:, step + 1], mean, deviation=deviation).sum(dim=-1)
            is_last = step == self.steps - 1
            total = total + (every * executed if is_last else every).sum(dim=-1)
        return total

    def _step(
        self, feature: RowFeature, point: RowChunk, step: int, level: float
    ) -> tuple[RowChunk, float]:
        """Return mean and deviation of the point after this one."""
        time, length = step / self.steps, 1 / self.steps
        velocity = self.denoiser(point, point.new_full((len(point),), time), feature)
        return noisy_step(point, velocity, time=time, length=length, level=level)
