"""A suite whose simulator runs in another process or on another machine.

``--suite ws://HOST:PORT`` names it. The simulator's side is `eyehand.serving.simulator_server`: a
WebSocket with the messages of the policy server (:mod:`eyehand.functional.wire`). It first
sends a description of the suite; then each environment has a connection of its own and sends:

    {"do": "reset", "task": ..., "seed": ..., "cameras": {name: pixels}}   -> state, image
    {"do": "step", "action": ..., "cameras": ...}    -> state, image, reward, terminated, ...
    {"do": "pictures", "cameras": ...}               -> image
    {"do": "expert"}                                 -> action

``cameras`` names the pictures that are wanted in the answer. If the answer is a text, it says why
the message was refused.
"""

import os
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float32

from eyehand.envs.instructions import Instructions
from eyehand.envs.robot_env import Picture, Quality, RobotEnv
from eyehand.envs.suite import Quantity, Suite
from eyehand.envs.wire_connection import WireConnection
from eyehand.types import InputError

MESSAGE_BYTES = 2**26
"""Longest message of a simulator, bytes: room for several large pictures."""
SECONDS = 120.0
"""Longest wait for an answer, seconds; a simulator may have to load a scene."""


def _connect(address: str) -> WireConnection:
    return WireConnection(
        address,
        who="simulator",
        token=os.environ.get("EYEHAND_TOKEN"),
        seconds=SECONDS,
        most_bytes=MESSAGE_BYTES,
    )


class RemoteEnv(RobotEnv):
    """One task of a simulator in another process or on another machine.

    Arguments are those of `eyehand.envs.suite.Suite.make`; quality and disturbance are passed to
    the simulator, whose address is such as ``ws://127.0.0.1:8001``.

    Raises:
        InputError: If no simulator answers there, or it refuses.
    """

    def __init__(
        self,
        task: str,
        *,
        address: str,
        cameras: Mapping[str, int],
        quality: Quality = "fast",
        render_observations: bool = True,
        **disturbance: float,
    ) -> None:
        suite = remote_suite(address)
        suite.check_task(task)
        suite.check_cameras(cameras)
        self._simulator = _connect(address)
        self._settings = {"quality": quality, "disturbance": disturbance}
        super().__init__(
            task,
            instruction=suite.instructions(task).canonical,
            cameras=cameras,
            state_dim=len(suite.state),
            action_dim=len(suite.action),
            fps=suite.fps,
            render_observations=render_observations,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed; without one, of a random seed."""
        answer = self._simulator.ask(
            do="reset",
            task=self.task,
            seed=self.seed_of_episode(seed),
            cameras=self._wanted(),
            **self._settings,
        )
        return self._observation(answer), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Do one action."""
        answer = self._simulator.ask(
            do="step", action=self.checked_action(action), cameras=self._wanted()
        )
        reward, success = float(answer["reward"]), bool(answer["success"])
        terminated, truncated = bool(answer["terminated"]), bool(answer["truncated"])
        return self._observation(answer), reward, terminated, truncated, {"success": success}

    def pictures(self) -> dict[str, Picture]:
        """Return the pictures of an observation, which come in one message."""
        return self._pictures(self._simulator.ask(do="pictures", cameras=self.cameras))

    def picture(self, camera: str, *, size: int, quality: Quality | None = None) -> Picture:
        """Return one picture."""
        return self._pictures(self._simulator.ask(do="pictures", cameras={camera: size}))[camera]

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """Return what the simulator's expert would do now.

        Raises:
            InputError: If it has none.
        """
        return np.array(self._simulator.ask(do="expert")["action"], np.float32)

    def close(self) -> None:
        """Close the connection."""
        self._simulator.close()

    def _wanted(self) -> dict[str, int]:
        return self.cameras if self._render_observations else {}

    def _pictures(self, answer: Mapping[str, Any]) -> dict[str, Picture]:
        return {name: np.array(picture) for name, picture in answer["image"].items()}

    def _observation(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "image": self._pictures(answer),
            "state": np.array(answer["state"], np.float32),
            "instruction": self.instruction,
        }


def describe_suite(suite: Suite) -> dict[str, Any]:
    """Return the description of a suite that a simulator sends first, as values of a message."""
    return {
        "name": suite.name,
        "protocol": suite.protocol,
        "groups": {name: list(tasks) for name, tasks in suite.groups.items()},
        "score": suite.score,
        "sentences": {
            task: [list(part) for part in _told(suite.instructions(task))] for task in suite.tasks
        },
        "cameras": list(suite.cameras),
        "view": suite.view,
        "state": [[one.name, one.unit] for one in suite.state],
        "action": [[one.name, one.unit] for one in suite.action],
        "fps": suite.fps,
        "max_steps": suite.max_steps,
        "scenes": [list(scene) for scene in suite.scenes],
    }


def _told(told: Instructions) -> tuple[tuple[str, ...], ...]:
    return (told.canonical,), told.training, told.held_out


def _described(simulator: WireConnection) -> Suite:
    told = simulator.first
    try:
        sentences = {
            task: Instructions(canonical[0], tuple(training), tuple(held_out))
            for task, (canonical, training, held_out) in told["sentences"].items()
        }
        return Suite(
            name=told["name"],
            protocol=told["protocol"],
            groups={name: tuple(tasks) for name, tasks in told["groups"].items()},
            score=told["score"],
            sentences=sentences.__getitem__,  # can be pickled, for workers
            cameras=tuple(told["cameras"]),
            view=told["view"],
            state=tuple(Quantity(name, unit) for name, unit in told["state"]),
            action=tuple(Quantity(name, unit) for name, unit in told["action"]),
            fps=told["fps"],
            max_steps=told["max_steps"],
            make=partial(RemoteEnv, address=simulator.address),
            scenes=tuple(tuple(scene) for scene in told["scenes"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"the server at {simulator.address} does not describe a suite: {error!r}."
        ) from error


@lru_cache(maxsize=4)
def remote_suite(address: str) -> Suite:
    """Return the suite of the simulator at an address; it is asked once.

    If the simulator asks for a token, it is read from the variable ``EYEHAND_TOKEN``.

    Raises:
        InputError: If no simulator answers there, or its description is not that of a suite.
    """
    simulator = _connect(address)
    try:
        return _described(simulator)
    finally:
        simulator.close()
