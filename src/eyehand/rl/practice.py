"""Practice: whole episodes of a policy that draws its chunks, and what a learner reads of them.

What reads the frames does not learn. The features that it makes of them are kept with every chunk:
so a learner can pass over the same episodes several times without a picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from eyehand.functional.start_seed import start_seed
from eyehand.policies.contract import DrawingPolicy, Drawn
from eyehand.types import ActionChunk, Observation


@dataclass(frozen=True)
class Practice:
    """Chunks of episodes from several starts; one row is one chunk."""

    drawn: Drawn
    """What was drawn."""
    executed: Bool[Tensor, "row horizon"]
    """Which actions of the chunk were executed."""
    episode: Int64[Tensor, " row"]
    """Number of the row's episode; rows of an episode stand together, in their order."""
    success: Bool[Tensor, " episode"]
    """Whether each episode ended well."""
    terminated: Bool[Tensor, " episode"]
    """Whether the task was over, solved or failed; where not, the time was."""
    group: Int64[Tensor, " episode"]
    """Number of each episode's start state."""

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self.episode)

    @property
    def last(self) -> Bool[Tensor, " row"]:
        """Return which rows are the last of their episode."""
        following = torch.cat([self.episode[1:], self.episode.new_full((1,), -1)])
        return following != self.episode

    def to(self, device: torch.device) -> "Practice":
        """Return it with its tensors on ``device``."""
        own = {name: getattr(self, name).to(device) for name in _COLUMNS}
        return Practice(_each(lambda tensor: tensor.to(device), self.drawn), **own)

    def rows(self, which: Tensor) -> "Practice":
        """Return some of the chunks, with all episodes that they may be of."""
        return replace(
            self,
            drawn=_each(lambda tensor: tensor[which], self.drawn),
            executed=self.executed[which],
            episode=self.episode[which],
        )

    def log_prob(
        self, log_prob_of: Callable[..., Float[Tensor, " row"]], randomness: float
    ) -> Float[Tensor, " row"]:
        """Return the log-probability of what was executed, by a policy's `FramePolicy.log_prob`."""
        return log_prob_of(self.drawn, self.executed, randomness)

    def state_dict(self) -> dict[str, Tensor]:
        """Return what `from_state` reads."""
        drawn = {f"drawn/{one.name}": getattr(self.drawn, one.name) for one in fields(Drawn)}
        return drawn | {name: getattr(self, name) for name in _COLUMNS}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "Practice":
        """Return the practice that `state_dict` returned."""
        drawn = Drawn(*(state[f"drawn/{one.name}"] for one in fields(Drawn)))
        return cls(drawn, **{name: state[name] for name in _COLUMNS})


_COLUMNS = ("executed", "episode", "success", "terminated", "group")


def _each(change: Callable[[Tensor], Tensor], drawn: Drawn) -> Drawn:
    return Drawn(*(change(getattr(drawn, part.name)) for part in fields(Drawn)))


def _row(row: int, tensor: Tensor) -> Tensor:
    return tensor[row : row + 1].to("cpu", copy=True)


class PractisingActor:
    """A policy that draws its chunks, and remembers them for every robot.

    Args:
        policy: What acts.
        randomness: As of `DrawingPolicy.draw`.
        seed: With a robot's number and that of its chunk it decides what is drawn: so episodes do
            not depend on how many run at a time.
    """

    def __init__(self, policy: DrawingPolicy, *, randomness: float, seed: int) -> None:
        self.policy, self.randomness, self.seed = policy, randomness, seed
        self.drawn: dict[int, list[Drawn]] = {}
        """What each robot drew in its episode, a chunk an entry."""

    def act(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        """Draw the next actions of every robot, in the environment's units."""
        counts = [len(self.drawn.get(one, ())) for one in observation.env_ids]
        seeds = [
            start_seed(f"practice {self.seed} {one}", count)
            for one, count in zip(observation.env_ids, counts, strict=True)
        ]
        device = next(self.policy.parameters()).device
        seen = replace(
            observation,
            image={camera: image.to(device) for camera, image in observation.image.items()},
            state=observation.state.to(device),
        )
        action, found = self.policy.draw(
            seen, seed=torch.tensor(seeds, device=device), randomness=self.randomness
        )
        for row, one in enumerate(observation.env_ids):
            if one >= 0:
                self.drawn.setdefault(one, []).append(_each(partial(_row, row), found))
        return action

    def reset(self, env_ids: Sequence[int]) -> None:
        """Let the policy forget these robots; what they drew is kept for `practice`."""
        self.policy.reset(env_ids)

    def practice(
        self,
        success: Sequence[bool],
        steps: Sequence[int],
        groups: Sequence[int],
        *,
        terminated: Sequence[bool],
        executed: int,
    ) -> Practice:
        """Return what was done in episodes that have ended, one of each robot 0, 1, ...

        Args:
            success: Whether each ended well.
            steps: How many actions each had.
            groups: Number of each one's start state.
            terminated: Whether each one's task was over; where not, the time was.
            executed: Actions executed of every chunk but an episode's last.
        """
        chunks = [self.drawn[number] for number in range(len(success))]
        flat = [chunk for own in chunks for chunk in own]
        done = [
            np.clip(own_steps - executed * np.arange(len(own)), 0, executed)
            for own_steps, own in zip(steps, chunks, strict=True)
        ]
        count = torch.from_numpy(np.concatenate(done))
        horizon = torch.arange(self.policy.config.horizon)
        lengths = torch.tensor([len(own) for own in chunks])
        parts = (torch.cat([getattr(one, part.name) for one in flat]) for part in fields(Drawn))
        return Practice(
            Drawn(*parts),
            executed=horizon < count[:, None],
            episode=torch.arange(len(chunks)).repeat_interleave(lengths),
            success=torch.tensor(list(success)),
            terminated=torch.tensor(list(terminated)),
            group=torch.tensor(list(groups)),
        )
