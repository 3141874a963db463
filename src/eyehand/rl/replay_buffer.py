"""A replay buffer: the last steps of experience, from which minibatches are drawn at random."""

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from eyehand.rl.experience import Experience


class ReplayBuffer:
    """Keeps the newest steps; the oldest give way.

    Args:
        size: Most steps that are kept.

    References:
        Lin, 1992; Mnih et al., 2015, https://doi.org/10.1038/nature14236.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.held: dict[str, Tensor] = {}
        """A column of ``size`` rows for every field of `Experience`, once there is one."""
        self.count = 0
        """Steps that were ever added."""

    def __len__(self) -> int:
        """Return how many steps are kept."""
        return min(self.count, self.size)

    def add(self, experience: Experience) -> None:
        """Keep steps, which have one axis.

        Raises:
            ValueError: If they are more than are ever kept.
        """
        steps = len(experience)
        if steps > self.size:
            raise ValueError(f"{steps} steps do not fit into a buffer of {self.size}.")
        places = (self.count + torch.arange(steps)) % self.size
        for one in fields(Experience):
            column = getattr(experience, one.name)
            if one.name not in self.held:
                self.held[one.name] = column.new_zeros(self.size, *column.shape[1:])
            self.held[one.name][places] = column
        self.count += steps

    def draw(self, steps: int) -> Experience:
        """Draw steps, each of those kept with the same probability, again and again."""
        which = torch.randint(len(self), (steps,))
        return Experience(**{name: column[which] for name, column in self.held.items()})

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is kept."""
        kept = {name: column[: len(self)].clone() for name, column in self.held.items()}
        return kept | {"count": torch.tensor(self.count)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.count, self.held = int(state["count"]), {}
        for name, kept in state.items():
            if name != "count":
                self.held[name] = kept.new_zeros(self.size, *kept.shape[1:])
                self.held[name][: len(kept)] = kept
