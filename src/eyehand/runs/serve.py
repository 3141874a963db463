"""A policy server from a checkpoint."""

import sys
from pathlib import Path

import numpy as np
import torch

from eyehand.envs.rollout import POLICY_THREADS
from eyehand.evaluation.protocol import checkpoint_sha256
from eyehand.policies.contract import PolicyModule
from eyehand.policies.registry import load_policy
from eyehand.serving.observation import PolicyInterface
from eyehand.serving.server import PolicyServer, ServeConfig, address_of, listen
from eyehand.types import Observation


def interface_of(policy: PolicyModule, checkpoint: Path) -> PolicyInterface:
    """Return what a policy takes and returns; the limits are those of its training data."""
    config, units = policy.config, policy.units
    return PolicyInterface(
        name=config.name,
        cameras=config.cameras,
        image_size=config.image_size,
        state_dim=config.state_dim,
        action_dim=config.action_dim,
        horizon=config.horizon,
        history_stride=config.history_stride,
        checkpoint_sha256=checkpoint_sha256(checkpoint),
        action_low=tuple(units.action_minimum.tolist()),
        action_high=tuple(units.action_maximum.tolist()),
    )


def serve_checkpoint(checkpoint: Path, config: ServeConfig) -> None:
    """Load a checkpoint and serve it until Ctrl-C.

    Raises:
        InputError: If the checkpoint is broken, or the address cannot be used.
    """
    policy = load_policy(checkpoint)
    interface = interface_of(policy, checkpoint)
    torch.set_num_threads(POLICY_THREADS)  # as in rollouts
    warm_up(policy)
    server = PolicyServer(policy, interface, config)
    with listen(config.host, config.port) as sock:
        sys.stderr.write(f"{checkpoint} at ws://{address_of(sock)}; Ctrl-C stops it.\n")
        server.web_server().run(sockets=[sock])


def warm_up(policy: PolicyModule) -> None:
    """Call the policy once, so that the first client does not wait for its slower first call."""
    config = policy.config
    size = config.image_size
    picture = torch.from_numpy(np.zeros((1, size, size, 3), np.uint8))
    policy.act(
        Observation(
            image=dict.fromkeys(config.cameras, picture),
            state=torch.zeros(1, config.state_dim),
            instruction=["wait"],
            env_ids=[-1],
        )
    )
