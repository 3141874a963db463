"""Every action head by its name, and what a head does."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.diffusion import DiffusionHeadConfig
from eyehand.policies.heads.fast import FASTHeadConfig
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.policies.heads.gpt import GPTHeadConfig
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.mlp_history import MLPHistoryHeadConfig
from eyehand.policies.heads.vq import VQHeadConfig
from eyehand.types import InputError

HeadConfig = (
    MLPHeadConfig
    | MLPHistoryHeadConfig
    | LSTMHeadConfig
    | GPTHeadConfig
    | DiffusionHeadConfig
    | FlowHeadConfig
    | BinsHeadConfig
    | FASTHeadConfig
    | VQHeadConfig
)
"""Any head's config; its method ``build(dim, horizon=, action_dim=)`` makes the head."""
HEADS = {config.name: config for config in HeadConfig.__args__}
"""Name of a head to its config."""


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
        seed: Int64[Tensor, " batch"],
    ) -> Float[Tensor, "batch horizon action"]:
        """Return the chunk that begins at the last frame; ``seed`` decides what a row draws."""
        ...


@runtime_checkable
class FittedHead(Protocol):
    """A head that has to see chunks of the data before it is trained."""

    def fit(self, action: Float[Tensor, "chunk horizon action"]) -> None:
        """Learn what does not come from gradients, such as bounds or a vocabulary."""
        ...


def check_history(config: Any) -> None:
    """Refuse a policy that shows single frames to a head that needs several.

    Raises:
        InputError: If so.
    """
    if config.head.needs_history and config.history < 2:
        raise InputError(
            f"the head {config.head.name!r} reads a history of frames, and "
            f"{type(config).__name__}.history is {config.history}; at least 2 are needed, or a "
            "head without history such as mlp."
        )
