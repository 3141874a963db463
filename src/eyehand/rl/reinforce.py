"""REINFORCE with a baseline: whole episodes, and the actions of the good ones more often.

Williams, 1992, https://doi.org/10.1007/BF00992696. An action is judged by all rewards after it in
its episode, less the value of the state: that leaves the gradient's mean as it is, and makes it
vary less. Where an episode was cut short, the value of the state that was reached stands for the
rewards that would have followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from eyehand.rl.experience import Experience
from eyehand.rl.on_policy import OnPolicy, OnPolicyConfig, Rollout
from eyehand.types import InputError


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(OnPolicyConfig):
    """How REINFORCE learns: from rewards alone."""

    steps: int = 512
    """Steps of every environment before the policy learns; the last, unfinished episode of each is
    not learnt from, so they must be longer than an episode."""
    trace: float = 1.0
    """Lambda of the advantage's estimate: all rewards that follow."""
    learning_rate: float = 1e-3
    """Peak rate of Adam."""

    def __post_init__(self) -> None:
        """Check that the judgement is by rewards alone."""
        super().__post_init__()
        if self.trace != 1:
            raise InputError(f"ReinforceConfig.trace must be 1; got {self.trace}: that is A2C.")


class Reinforce(OnPolicy):
    """REINFORCE; the arguments are those of `OnPolicy`."""

    def judge(self, experience: Experience) -> Rollout:
        """Judge every action by the rewards after it; leave out episodes that did not end."""
        whole = in_ended_episodes(experience.terminated | experience.truncated)
        if not whole.any():
            raise InputError(
                f"no episode ended within ReinforceConfig.steps={len(whole)}: REINFORCE learns "
                "from whole episodes, so it must be longer than one."
            )
        rollout = super().judge(experience)
        return rollout[whole.flatten().nonzero()[:, 0]]

    def learn(self, rollout: Rollout) -> Mapping[str, Tensor | float]:
        """Take one step along the gradient of the policy."""
        taken = rollout.experience
        log_prob, entropy, value = self.learner(taken.observation, taken.action)
        spread = rollout.advantage.std(correction=0) + 1e-8
        policy_loss = -(rollout.advantage / spread * log_prob).mean()
        return self.descend(self.losses(rollout, policy_loss, value, entropy))


def in_ended_episodes(ended: Bool[Tensor, "time env"]) -> Bool[Tensor, "time env"]:
    """Return which steps belong to an episode that ends within the data.

    Example:
        >>> import torch
        >>> in_ended_episodes(torch.tensor([[0], [1], [0], [0]]).bool())[:, 0].tolist()
        [True, True, False, False]
    """
    return ended.flip(0).int().cummax(dim=0).values.flip(0).bool()
