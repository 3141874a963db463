"""Units of the environment to units of the network and back, with the statistics as buffers."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.types import InputError, Statistics

STATIC = 1e-6
"""A feature whose spread is below this never moved: it is shifted, not divided."""


class Normalization(nn.Module):
    """States by mean and standard deviation, actions from [minimum, maximum] to [-1, 1].

    The statistics are persistent buffers, so that they travel with the weights.

    Args:
        statistics: Of the features ``state`` and ``action``.
        state_dim: Numbers in a state, as the policy's config says.
        action_dim: Numbers in an action, as the policy's config says.

    Raises:
        InputError: If a feature is missing or has another width.

    Example:
        >>> import numpy as np
        >>> zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
        >>> feature = Statistics(zero, one, -one, 3 * one, zero, one)
        >>> units = Normalization({"state": feature, "action": feature}, state_dim=1, action_dim=1)
        >>> units.normalize_action(torch.tensor([3.0])), units.restore_action(torch.tensor([-9.0]))
        (tensor([1.]), tensor([-1.]))
    """

    state_mean: Tensor
    state_std: Tensor
    action_minimum: Tensor
    action_maximum: Tensor

    def __init__(
        self, statistics: Mapping[str, Statistics], *, state_dim: int, action_dim: int
    ) -> None:
        super().__init__()
        for feature, dim in (("state", state_dim), ("action", action_dim)):
            if feature not in statistics:
                raise InputError(f"the statistics lack {feature!r}; they have {list(statistics)}.")
            if len(statistics[feature].mean) != dim:
                raise InputError(
                    f"the statistics of {feature} have {len(statistics[feature].mean)} numbers, "
                    f"the policy's config says {feature}_dim={dim}."
                )
        self.register_buffer("state_mean", torch.tensor(statistics["state"].mean))
        self.register_buffer("state_std", torch.tensor(statistics["state"].std))
        self.register_buffer("action_minimum", torch.tensor(statistics["action"].minimum))
        self.register_buffer("action_maximum", torch.tensor(statistics["action"].maximum))

    def normalize_state(
        self, state: Float[Tensor, "*batch state"]
    ) -> Float[Tensor, "*batch state"]:
        """Return the state with mean 0 and standard deviation 1."""
        return (state - self.state_mean) / self.state_std.masked_fill(self.state_std < STATIC, 1)

    def normalize_action(
        self, action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "*batch action"]:
        """Return the action in [-1, 1]."""
        return (action - self._action_middle()) / self._action_reach()

    def restore_action(
        self, action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "*batch action"]:
        """Return an action of the network in the environment's units, clipped to what was seen."""
        action = action * self._action_reach() + self._action_middle()
        return action.clamp(self.action_minimum, self.action_maximum)

    def _action_middle(self) -> Tensor:
        return (self.action_maximum + self.action_minimum) / 2

    def _action_reach(self) -> Tensor:
        reach = (self.action_maximum - self.action_minimum) / 2
        return reach.masked_fill(reach < STATIC, 1)


def blank_statistics(*, state_dim: int, action_dim: int) -> dict[str, Statistics]:
    """Return statistics that change nothing: a place for those of a checkpoint to be loaded into.

    Example:
        >>> blank_statistics(state_dim=1, action_dim=2)["action"].maximum
        array([1., 1.], dtype=float32)
    """
    blank = {}
    for feature, dim in (("state", state_dim), ("action", action_dim)):
        zero, one = torch.zeros(dim).numpy(), torch.ones(dim).numpy()
        blank[feature] = Statistics(
            mean=zero, std=one, minimum=-one, maximum=one, quantile_01=-one, quantile_99=one
        )
    return blank
