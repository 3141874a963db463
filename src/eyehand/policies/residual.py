"""A residual policy: a base that stays as it is, and a small network that corrects its actions.

Policy Decorator, Yuan et al., 2024, https://arxiv.org/abs/2412.13630. The correction reads the
feature that the base's head reads of the present frame, and the actions that the base means to do
next; it moves each of their numbers by at most alpha of the way from the middle of its range to an
end. Learning by doing teaches it (:mod:`eyehand.rl.residual_sac`); imitation teaches the base.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from eyehand.nn.perceptron import GaussianPerceptron
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.contract import DrawingPolicy, Drawn, PolicyConfig, Stages
from eyehand.policies.frame_policy import FramePolicy, FramePolicyConfig
from eyehand.policies.heads.chunk import row_generators
from eyehand.policies.heads.limits import WIDEST
from eyehand.policies.look import ImportanceMap
from eyehand.policies.registry import build_policy, describe_policy, restore_config
from eyehand.types import ActionChunk, Batch, InputError, Observation, Statistics, check_ranges


@dataclass(frozen=True)
class ResidualConfig(PolicyConfig):
    """A base policy and a correction of its actions (Policy Decorator)."""

    name: ClassVar[str] = "residual"

    base: FramePolicyConfig = field(default_factory=BCZConfig)
    """The policy that is corrected; what it reads and says, this policy reads and says."""
    executed: int = 4
    """Actions of a chunk that are corrected: as many as are executed."""
    alpha: float = 0.2
    """Largest correction of a number of an action, in [-1, 1] of the base's data."""
    dims: tuple[int, ...] = (256, 256)
    """Widths of the correction's hidden layers."""

    def __post_init__(self) -> None:
        """Check that every number is in its range, and that the base fits."""
        super().__post_init__()
        for one in fields(PolicyConfig):
            own, wanted = getattr(self, one.name), getattr(self.base, one.name)
            if own != wanted:
                raise InputError(
                    f"ResidualConfig.{one.name} must be that of its base, {wanted}; got {own}."
                )
        if not self.dims:
            raise InputError("ResidualConfig.dims must name one width or more; got none.")
        check_ranges(
            self, prefix="ResidualConfig.", executed=(1, self.horizon), alpha=(1e-6, 2),
            dims=(1, WIDEST),
        )  # fmt: skip

    @classmethod
    def over(cls, base: FramePolicyConfig, **own: Any) -> "ResidualConfig":
        """Return the config of a correction of a base; ``own`` are the fields besides the base's.

        Example:
            >>> ResidualConfig.over(BCZConfig(horizon=8), alpha=0.1).horizon
            8
        """
        shared = {one.name: getattr(base, one.name) for one in fields(PolicyConfig)}
        return cls(base=base, **shared, **own)

    def description(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them, the base with its name."""
        return {**super().description(), "base": describe_policy(self.base)}

    @classmethod
    def upgrade(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that were described, the base as a config."""
        return {**description, "base": restore_config(description.get("base", {}))}


class ResidualPolicy(DrawingPolicy):
    """Observation in, chunk out; see the module's first lines.

    The correction's last layer begins at zero: then the policy acts as its base does.

    Args:
        config: Sizes and parts.
        statistics: Of ``state`` and ``action`` over the base's training data.
        base: The policy that is corrected, with statistics of its own; left out, a new one.
    """

    Config: ClassVar[type[ResidualConfig]] = ResidualConfig
    config: ResidualConfig

    def __init__(
        self,
        config: ResidualConfig,
        *,
        statistics: Mapping[str, Statistics],
        base: FramePolicy | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.base = base or cast("FramePolicy", build_policy(config.base, statistics=statistics))
        self.units = copy.deepcopy(self.base.units)
        self.eye_name, self.looks = f"base.{self.base.eye_name}", self.base.looks
        numbers = config.executed * config.action_dim
        self.correction = GaussianPerceptron(self.base.feature_dim + numbers, numbers, config.dims)
        nn.init.zeros_(self.correction.to_both.weight)
        nn.init.zeros_(self.correction.to_both.bias)

    def fit(self, action: Float[Tensor, "chunk horizon action"]) -> None:
        """Show the base chunks of the data, in the environment's units."""
        self.base.fit(action)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the base: demonstrations do not say what to correct."""
        return self.base.loss(batch)

    @torch.inference_mode()
    def act(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        """Return the base's next actions with the mean correction, in the environment's units."""
        seen, chunk = self._plan(observation, generator)
        return self._corrected_chunk(chunk, self.correction(seen)[0].tanh())

    @torch.inference_mode()
    def draw(
        self, observation: Observation, *, seed: Int64[Tensor, " row"], randomness: float
    ) -> tuple[ActionChunk, Drawn]:
        """Draw corrections of the base's next actions.

        Args:
            observation: As of `act`.
            seed: Decides what a row draws, whatever rows are beside it.
            randomness: Share of the decisions that are corrected, 0 to 1; in the others the base
                acts alone.

        Returns:
            The actions, in the environment's units; and a row each of the present frame's feature,
            and as the sample the base's executed actions and the correction, both in [-1, 1].
        """
        seen, chunk = self._plan(observation, None)
        mean, log_std = self.correction(seen)
        own = row_generators(seed)
        chance = torch.stack([torch.rand(1, generator=one) for one in own]).to(mean)
        noise = torch.stack([torch.randn(mean.shape[1], generator=one) for one in own]).to(mean)
        residual = (mean + log_std.exp() * noise).tanh() * (chance < randomness)
        feature, base = seen.split([self.base.feature_dim, mean.shape[1]], dim=1)
        mask = torch.ones(len(seen), 1, dtype=torch.bool, device=seen.device)
        drawn = Drawn(feature[:, None], mask, torch.cat([base, residual], dim=1))
        return self._corrected_chunk(chunk, residual), drawn

    def look(self, observation: Observation, *, word: int | None = None) -> ImportanceMap:
        """Return where the base looks."""
        return self.base.look(observation, word=word)

    def stages(self) -> Stages:
        """Return those of the base: beside them the correction takes no time."""
        return self.base.stages()

    def reset(self, env_ids: Sequence[int]) -> None:
        """Forget what these robots saw."""
        self.base.reset(env_ids)

    def _plan(
        self, observation: Observation, generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "row input"], Float[Tensor, "row horizon action"]]:
        """Return what the correction reads, and the base's chunk in [-1, 1]."""
        feature, chunk = self.base.plan(observation, generator=generator)
        first = chunk[:, : self.config.executed].flatten(1)
        return torch.cat([feature, first], dim=1), chunk

    def _corrected_chunk(
        self, chunk: Float[Tensor, "row horizon action"], residual: Float[Tensor, "row number"]
    ) -> ActionChunk:
        first, rest = chunk.tensor_split([self.config.executed], dim=1)
        moved = corrected(first.flatten(1), residual, alpha=self.config.alpha)
        chunk = torch.cat([moved.view_as(first), rest], dim=1)
        return self.units.restore_action(chunk)


def corrected(
    base: Float[Tensor, "row number"], residual: Float[Tensor, "row number"], *, alpha: float
) -> Float[Tensor, "row number"]:
    """Return actions of a base moved by ``alpha`` times a residual, and no further than [-1, 1].

    Example:
        >>> corrected(torch.tensor([[0.5, 0.9]]), torch.tensor([[-1.0, 1.0]]), alpha=0.25)
        tensor([[0.2500, 1.0000]])
    """
    return (base + alpha * residual).clamp(-1, 1)
