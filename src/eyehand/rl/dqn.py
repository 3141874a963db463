"""Deep Q-learning: the value of every action, learnt from a replay buffer.

Mnih et al., 2015, https://doi.org/10.1038/nature14236: a target network that is copied now and
then, and a replay buffer. Two later additions are fields of the config: the double one takes the
action from the learnt network and its value from the target (van Hasselt et al., 2016,
https://arxiv.org/abs/1509.06461), the dueling one splits values of state and action (Wang et al.,
2016, https://arxiv.org/abs/1511.06581).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.nn.perceptron import Perceptron
from eyehand.rl.experience import Experience, check_actions
from eyehand.rl.off_policy import OffPolicy, OffPolicyConfig, soft_update
from eyehand.training.learner import Learner
from eyehand.types import Environments, check_ranges


@dataclass(frozen=True, kw_only=True)
class DQNConfig(OffPolicyConfig):
    """How deep Q-learning learns."""

    minibatch: int = 64
    """Steps in a gradient."""
    dims: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    double: bool = True
    """Whether the learnt network chooses the action whose value the target gives."""
    dueling: bool = False
    """Whether the network has a value of the state and advantages of the actions."""
    copy_every: int = 250
    """Gradients between two copies of the network to the target; replaces ``follow``."""
    epsilon: float = 1.0
    """Share of random actions at first."""
    final_epsilon: float = 0.04
    """Share of random actions in the end."""
    explore: int = 10_000
    """Steps over which the share falls, in a line."""
    gradient_clip: float = 10.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        super().__post_init__()
        check_ranges(
            self,
            prefix="DQNConfig.",
            copy_every=(1, 10**9),
            epsilon=(0, 1),
            final_epsilon=(0, 1),
            explore=(1, 10**12),
            gradient_clip=(0, 10**6),
        )


class QNetwork(nn.Module):
    """Observation in, the value of every action out.

    Args:
        observation_dim: Numbers in an observation.
        actions: How many actions there are.
        dims: Widths of the hidden layers.
        dueling: See `DQNConfig`.
    """

    def __init__(
        self, observation_dim: int, actions: int, dims: Sequence[int], *, dueling: bool
    ) -> None:
        super().__init__()
        self.trunk = Perceptron(observation_dim, dims)
        self.to_actions = nn.Linear(dims[-1], actions)
        self.to_state = nn.Linear(dims[-1], 1) if dueling else None

    def forward(
        self, observation: Float32[Tensor, "step observation"]
    ) -> Float[Tensor, "step action"]:
        """Return the values of all actions."""
        feature = self.trunk(observation)
        values: Float[Tensor, "step action"] = self.to_actions(feature)
        if self.to_state is None:
            return values
        return self.to_state(feature) + values - values.mean(dim=1, keepdim=True)


class DQN(OffPolicy):
    """DQN; the arguments are those of `OffPolicy`.

    Raises:
        InputError: If actions are numbers.
    """

    config: DQNConfig

    def __init__(
        self,
        environments: Environments,
        config: DQNConfig,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(environments, config, seed=seed)
        self.actions = check_actions(environments.action_space, algorithm="DQN", discrete=True)
        self.network = QNetwork(
            environments.observation_dim, self.actions, config.dims, dueling=config.dueling
        )
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self.learner = Learner(self.network, optimizer, gradient_clip=config.gradient_clip)
        self.learners = {"policy": self.learner}
        self.targets = {"target": self.target}

    @property
    def epsilon(self) -> float:
        """The present share of random actions."""
        config = self.config
        gone = min(1.0, self.buffer.count / config.explore)
        return config.epsilon + gone * (config.final_epsilon - config.epsilon)

    def act(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return the best actions, or with the probability epsilon any."""
        random = (torch.rand(len(observation)) < self.epsilon).to(observation.device)
        anything = self.act_randomly(observation).to(observation.device)
        return torch.where(random, anything, self.best(observation))

    def best(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return the actions of the largest values."""
        return self.network(observation).argmax(dim=1)

    def act_randomly(self, observation: Float32[Tensor, "env observation"]) -> Tensor:
        """Return any actions."""
        return torch.randint(self.actions, (len(observation),))

    def learn(self, part: Experience) -> Mapping[str, Tensor | float]:
        """Move the values of what was done towards the reward and the value of what followed."""
        wanted = self.wanted(part)
        values = self.learner(part.observation).gather(1, part.action[:, None])[:, 0]
        loss = F.smooth_l1_loss(values, wanted)
        self.learner.zero_grad()
        self.learner.backward(loss)
        norm = self.learner.step()
        if (self.gradients + 1) % self.config.copy_every == 0:
            soft_update(self.target, self.network, share=1.0)
        return {"loss": loss.detach(), "value": values.detach().mean(), "gradient_norm": norm}

    @torch.no_grad()
    def wanted(self, part: Experience) -> Float[Tensor, " step"]:
        """Return what the values should be: where a task ended, nothing follows."""
        following = self.target(part.next_observation)
        chooser = self.network(part.next_observation) if self.config.double else following
        best = following.gather(1, chooser.argmax(dim=1, keepdim=True))[:, 0]
        return part.reward + self.config.discount * best.masked_fill(part.terminated, 0)
