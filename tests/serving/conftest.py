"""A policy that says what it was shown, the interface that it has, and a server for it."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from torch import Tensor

from eyehand.serving.observation import PolicyInterface
from eyehand.serving.server import PolicyServer, ServeConfig, address_of, listen
from eyehand.types import Batch, InputError, Observation

HORIZON = 4


class EchoPolicy:
    """Every action repeats the robot's state; counts its calls and remembers who was reset."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls: list[list[int]] = []
        self.forgotten: list[int] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError

    def act(self, observation: Observation) -> Tensor:
        self.calls.append(list(observation.env_ids))
        time.sleep(self.seconds)
        for sentence in observation.instruction:
            if sentence == "fail":
                raise RuntimeError("a bug")
            if sentence == "refuse":
                raise InputError("not that")
        action = observation.state[:, None].repeat(1, HORIZON, 1)
        if "lose a robot" in observation.instruction:
            return action[1:]
        if "lose a number" in observation.instruction:
            return action[:, :, 1:]
        if "be no number" in observation.instruction:
            action = action * torch.nan
        return action

    def reset(self, env_ids: Sequence[int]) -> None:
        self.forgotten.extend(env_ids)


@pytest.fixture
def interface() -> PolicyInterface:
    return PolicyInterface(
        name="echo",
        cameras=("front",),
        image_size=8,
        state_dim=3,
        action_dim=3,
        horizon=HORIZON,
        history_stride=1,
        checkpoint_sha256="0" * 64,
        action_low=(-1.0, -1.0, -1.0),
        action_high=(1.0, 1.0, 0.5),
    )


@pytest.fixture
def echo() -> type[EchoPolicy]:
    return EchoPolicy


@pytest.fixture
def observation() -> Callable[..., dict[str, object]]:
    """Return a function that makes messages that fit `interface`."""

    def make(state: Sequence[float] = (0.1, 0.2, 0.3), **changes: object) -> dict[str, object]:
        message: dict[str, object] = {
            "observation/image": np.zeros((8, 8, 3), np.uint8),
            "observation/state": np.array(state, np.float32),
            "prompt": "open the drawer",
        }
        return message | changes

    return make


@pytest.fixture
def serve(interface: PolicyInterface) -> Iterator[Callable[..., tuple[PolicyServer, str]]]:
    """Serve a policy in a thread until the test ends; returns the server and its address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(policy: Any, host: str = "127.0.0.1", **changes: Any) -> tuple[PolicyServer, str]:
        config = replace(ServeConfig(port=0, host=host), **changes)
        server = PolicyServer(policy, interface, config)
        sock = listen(host, 0)
        runner = server.web_server()
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not runner.started:
            threading.Event().wait(0.01)
        running.append((runner, thread))
        return server, address_of(sock)

    yield start
    for runner, thread in running:
        runner.should_exit = True
        thread.join(timeout=10)
