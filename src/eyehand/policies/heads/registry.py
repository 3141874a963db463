"""Every action head by its name."""

from typing import Any

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
"""Any head's config."""
HEADS = {config.name: config for config in HeadConfig.__args__}
"""Name of a head to its config."""


def check_head_fits(config: Any) -> None:
    """Check that a policy's head can read its frames and say its chunks.

    Args:
        config: A policy's config with the fields ``head``, ``history`` and ``horizon``.

    Raises:
        InputError: If the head needs a history and gets single frames, or if there is none for
            chunks of that length.
    """
    if config.head.needs_history and config.history < 2:
        raise InputError(
            f"the head {config.head.name!r} reads a history of frames, and "
            f"{type(config).__name__}.history is {config.history}; at least 2 are needed, or a "
            "head without history such as mlp."
        )
    config.head.check_horizon(config.horizon)
