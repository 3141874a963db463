"""Every action head by its name, and what a head does."""

from typing import Protocol

from jaxtyping import Bool, Float
from torch import Tensor

HEADS = {
    "lstm": "eyehand.policies.heads.lstm:LSTMHeadConfig",
    "mlp": "eyehand.policies.heads.mlp:MLPHeadConfig",
}
"""Name of a head to its config, whose method ``build(dim, horizon=, action_dim=)`` makes it."""


class ActionHead(Protocol):
    """Features and their history in, chunk out. Actions are in [-1, 1]; the last is the gripper.

    In a window the present is the last frame. Frames whose ``history_mask`` is False are padding
    before the first frame: they count for nothing.
    """

    def loss(
        self,
        feature: Float[Tensor, "batch history dim"],
        action: Float[Tensor, "batch history horizon action"],
        *,
        action_mask: Bool[Tensor, "batch history horizon"],
        history_mask: Bool[Tensor, "batch history"],
    ) -> dict[str, Tensor]:
        """Return the losses of the chunks that begin at each frame, as a policy's ``loss`` does."""
        ...

    def act(
        self,
        feature: Float[Tensor, "batch history dim"],
        *,
        history_mask: Bool[Tensor, "batch history"],
    ) -> Float[Tensor, "batch horizon action"]:
        """Return the chunk that begins at the last frame."""
        ...
