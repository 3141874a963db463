"""Residual SAC: a policy that stays as it is, and a small correction of its actions that learns.

Policy Decorator, Yuan et al., 2024, https://arxiv.org/abs/2412.13630: soft actor-critic learns a
bounded correction, the critic judges the corrected action, and decisions are corrected rarely at
first, more often as time goes by (progressive exploration). The base may have any head: its
probabilities are not asked for. Differs from the paper:
1. A decision is a chunk: all its executed actions together, with one reward and one discount.
2. The correction reads the base's feature of the frame and its actions, not the simulator's state.
3. The reward is 1 for the decision that solved the task and 0 for all others, and the entropy of
   later decisions is not a part of a value, as RLPD has it for such rewards (Ball et al., 2023,
   https://arxiv.org/abs/2302.02948): else an early success would cost the entropy of what it
   spares. So a value is a discounted chance of success.
4. Where the time was over, nobody saw what the last decision led to: it is left out. What follows
   an earlier one is known and counts, so the time limit is not learnt as a failure.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float, Float32
from torch import Tensor

from eyehand.policies.frame_policy import FramePolicy
from eyehand.policies.residual import ResidualConfig, ResidualPolicy, corrected
from eyehand.rl.experience import Experience, check_widths, under
from eyehand.rl.off_policy import Critic, soft_update
from eyehand.rl.practice import Practice
from eyehand.rl.practising import Practise, Practising, PractisingConfig
from eyehand.rl.replay_buffer import ReplayBuffer
from eyehand.rl.sac import Temperature, soft_step, soft_target
from eyehand.training.config import TrainBatch
from eyehand.training.learner import Learner
from eyehand.types import InputError, check_ranges


@dataclass(frozen=True, kw_only=True)
class ResidualSACConfig(PractisingConfig):
    """How a correction is made, and how it learns."""

    alpha: float = 0.2
    """Largest correction of a number of an action, in [-1, 1] of the base's data."""
    ramp: int = 20_000
    """Decisions after which all are corrected; until then the share of those that are grows
    evenly from none."""
    updates_to_data: float = 0.25
    """Minibatches learnt from for each new decision."""
    buffer: int = 50_000
    """Most decisions that are kept."""
    minibatch: int = 256
    """Decisions in a gradient."""
    discount: float = 0.97
    """Weight of the future per decision."""
    follow: float = 0.01
    """Share of the way that target networks go towards the learnt ones after a gradient."""
    critics: int = 2
    """Values, of which the smallest is believed."""
    temperature: float = 0.01
    """Weight of the entropy at first."""
    dims: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of correction and values."""
    gradient_clip: float = 50.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_widths("ResidualSACConfig.dims", self.dims)
        check_ranges(
            self,
            prefix="ResidualSACConfig.",
            alpha=(1e-6, 2),
            ramp=(1, 10**9),
            updates_to_data=(0, 100),
            buffer=(1, 10**9),
            minibatch=(1, 10**7),
            discount=(0, 1),
            follow=(0, 1),
            critics=(1, 100),
            temperature=(1e-9, 10**6),
            dims=(1, 10**4),
        )


class CorrectedCritic(Critic):
    """Values of corrected actions.

    Args:
        feature_dim: Width of the feature of a frame.
        numbers: Numbers in the executed actions of a chunk.
        dims: Widths of the hidden layers.
        networks: How many.
        alpha: Largest correction.
    """

    def __init__(
        self, feature_dim: int, numbers: int, dims: Sequence[int], *, networks: int, alpha: float
    ) -> None:
        super().__init__(feature_dim, numbers, dims, networks=networks)
        self.feature_dim, self.alpha = feature_dim, alpha

    def forward(
        self, observation: Float32[Tensor, "step observation"], action: Float[Tensor, "step action"]
    ) -> Float[Tensor, "network step"]:
        """Return every network's value of what is done.

        Args:
            observation: The feature, and after it the base's actions.
            action: The residual, in [-1, 1].
        """
        feature, base = observation.tensor_split([self.feature_dim], dim=1)
        return super().forward(feature, corrected(base, action, alpha=self.alpha))


class ResidualSAC(Practising):
    """Practise, keep every decision, then learn from what is kept.

    Args:
        policy: A base and its correction.
        config: How the correction learns.
        practise: Makes a round of practice.
    """

    policy: ResidualPolicy
    config: ResidualSACConfig

    def __init__(
        self, policy: ResidualPolicy, config: ResidualSACConfig, practise: Practise
    ) -> None:
        super().__init__(policy, config, practise)
        self.critic = CorrectedCritic(
            policy.base.feature_dim,
            policy.config.executed * policy.config.action_dim,
            config.dims,
            networks=config.critics,
            alpha=policy.config.alpha,
        )
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.buffer = ReplayBuffer(config.buffer)
        parts = (
            ("policy", policy, policy.correction, "correction"),
            ("critic", self.critic, self.critic, "forward"),
            ("temperature", temperature := Temperature(config.temperature), temperature, "forward"),
        )
        self.learners = {
            title: Learner(
                network,
                torch.optim.Adam(part.parameters(), lr=config.learning_rate),
                method=method,
                gradient_clip=config.gradient_clip,
            )
            for title, network, part, method in parts
        }

    @classmethod
    def policy_of(
        cls, policy: FramePolicy, config: ResidualSACConfig, *, executed: int
    ) -> ResidualPolicy:
        """Return the policy with a correction that is zero.

        Raises:
            InputError: If more actions are executed than a chunk has.
        """
        around = ResidualConfig.over(
            policy.config, executed=executed, alpha=config.alpha, dims=config.dims
        )
        return ResidualPolicy(around, statistics={}, base=policy)

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device; what is kept stays where it is, and the base gets no gradient."""
        super().prepare(accelerator, batch)
        self.target_critic.to(self.device)

    @property
    def share(self) -> float:
        """Return the share of decisions that are corrected in the next round."""
        return min(1.0, self.buffer.count / self.config.ramp)

    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Do a round of practice, keep its decisions, then learn from what is kept.

        Raises:
            InputError: If the buffer cannot hold the decisions of a round.
        """
        config, share = self.config, self.share
        practice = self.next_round(share)
        new = decisions(practice)
        if len(new) > config.buffer:
            raise InputError(
                f"ResidualSACConfig.buffer={config.buffer} must hold the {len(new)} decisions of "
                "one round."
            )
        self.buffer.add(new.to(torch.device("cpu")))
        found: dict[str, list[float]] = {"loss": []}
        for _ in range(round(config.updates_to_data * len(new))):
            part = self.buffer.draw(config.minibatch).to(self.device)
            for name, value in self.learn(part).items():
                found.setdefault(name, []).append(float(value))
        means = {name: float(np.mean(values or [0.0])) for name, values in found.items()}
        return {**means, "success": practice.success.float().mean(), "corrected": share}

    def learn(self, part: Experience) -> Mapping[str, Tensor | float]:
        """Move the values towards their targets, the correction uphill, and the temperature."""
        found = soft_step(part, self.wanted(part), **self.learners)
        soft_update(self.target_critic, self.critic, share=self.config.follow)
        return found

    def wanted(self, part: Experience) -> Float[Tensor, " step"]:
        """Return what the values should be; see the module's third difference."""
        return soft_target(
            part,
            self.policy.correction,
            self.target_critic,
            weight=0.0,
            discount=self.config.discount,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that decides the next steps."""
        own = {f"buffer/{name}": t for name, t in self.buffer.state_dict().items()}
        target = {f"target/{n}": t.clone() for n, t in self.target_critic.state_dict().items()}
        return super().state_dict() | own | target

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        for title, part in (("buffer/", self.buffer), ("target/", self.target_critic)):
            part.load_state_dict(under(state, title))


def decisions(practice: Practice) -> Experience:
    """Return the decisions of episodes as steps of an environment, a chunk a step.

    An observation is the feature of the frame and the base's executed actions; an action is the
    correction before it is scaled; the reward is 1 where the decision solved the task. The last
    decision of an episode whose time was over is left out: what it led to is unknown.
    """
    base, residual = practice.drawn.sample.chunk(2, dim=1)
    seen = torch.cat([practice.drawn.feature[:, -1], base], dim=1)
    last = practice.last
    over = practice.terminated | practice.success  # a task that was solved is over
    terminated = last & over[practice.episode]
    found = Experience(
        observation=seen,
        action=residual,
        reward=(last & practice.success[practice.episode]).float(),
        next_observation=seen.roll(-1, dims=0),  # of another episode after an end: it counts not
        terminated=terminated,
        truncated=torch.zeros_like(last),
    )
    return found[~last | terminated]
