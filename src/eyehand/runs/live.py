"""The live page of a checkpoint."""

import socket
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import torch

from eyehand.envs.execution import Execution
from eyehand.evaluation.latency import StageTimer
from eyehand.live.live_page import MESSAGE_BYTES, SENDING_SECONDS, LiveConfig, LivePage
from eyehand.live.robot import LivePolicy
from eyehand.policies.contract import PolicyModule
from eyehand.policies.registry import load_policy
from eyehand.runs.serve import warm_up
from eyehand.serving.server import address_of, listen, serve
from eyehand.types import Actor


def live_policy(policy: PolicyModule) -> LivePolicy:
    """Return the description of a policy for the robot."""
    config = policy.config
    return LivePolicy(
        name=config.name,
        cameras=policy.cameras,
        horizon=config.horizon,
        executed=min(config.horizon, Execution().steps),
    )


def make_live_policy(checkpoint: Path) -> tuple[Actor, LivePolicy, StageTimer]:
    """Load a policy in the robot's own process."""
    torch.set_num_threads(1)  # the other core draws the pictures
    policy = load_policy(checkpoint)
    warm_up(policy)
    stages = policy.stages()
    timer = StageTimer(eyes=stages.perceive, head=stages.act)
    return policy, live_policy(policy), timer


def show_live(checkpoint: Path, config: LiveConfig) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        InputError: If the checkpoint is broken, or the address cannot be used.
    """
    policy = load_policy(checkpoint)  # here too, so that a broken checkpoint is found at once
    page = LivePage(
        partial(make_live_policy, checkpoint),
        live_policy(policy),
        looks=policy.looks,
        config=config,
    )
    with listen(config.host, config.port) as sock:
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Else the connection of a visitor that never reads stays after it was sent away.
            milliseconds = int(1000 * SENDING_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        token = f"?{urlencode({'token': config.token})}" if config.token else ""
        sys.stderr.write(f"open http://{address_of(sock)}/{token} in a browser; Ctrl-C stops it.\n")
        serve(page.app, sock, message_bytes=MESSAGE_BYTES)
