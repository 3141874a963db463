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

Nothing that a simulator says is taken on trust: a field that is missing or of another kind is named
in one sentence, with the address and what came instead. Names of suite, tasks and cameras become
names of files and columns, so they have no slashes.
"""

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float32

from eyehand.envs.instructions import Instructions
from eyehand.envs.robot_env import Picture, Quality, RobotEnv
from eyehand.envs.suite import Quantity, Suite
from eyehand.envs.wire_connection import WireConnection
from eyehand.types import LARGEST_SEED, InputError

MESSAGE_BYTES = 2**26
"""Longest message of a simulator, bytes: room for several large pictures."""
SECONDS = 120.0
"""Longest wait for an answer, seconds; a simulator may have to load a scene."""

NAME = re.compile(r"\w[\w .+-]{0,99}")
"""What names of suites, protocols, tasks and cameras look like."""
MOST_STEPS, MOST_NUMBERS = 10**6, 1000
"""Longest episode, and most numbers of a state or action."""


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
        self._state_dim = len(suite.state)
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
        reward = float(self._field(answer, "reward", "a finite number", _is_finite))
        success, terminated, truncated = (
            bool(self._field(answer, name, "true or false", _is_truth))
            for name in ("success", "terminated", "truncated")
        )
        return self._observation(answer), reward, terminated, truncated, {"success": success}

    def pictures(self) -> dict[str, Picture]:
        """Return the pictures of an observation, which come in one message."""
        answer = self._simulator.ask(do="pictures", cameras=self.cameras)
        return self._pictures(answer, self.cameras)

    def picture(self, camera: str, *, size: int, quality: Quality | None = None) -> Picture:
        """Return one picture."""
        answer = self._simulator.ask(do="pictures", cameras={camera: size})
        return self._pictures(answer, {camera: size})[camera]

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """Return what the simulator's expert would do now.

        Raises:
            InputError: If it has none.
        """
        return self._numbers(self._simulator.ask(do="expert"), "action", self.action_dim)

    def close(self) -> None:
        """Close the connection."""
        self._simulator.close()

    def _wanted(self) -> dict[str, int]:
        return self.cameras if self._render_observations else {}

    def _pictures(self, answer: Mapping[str, Any], wanted: Mapping[str, int]) -> dict[str, Picture]:
        image = self._field(answer, "image", "a map of pictures", lambda it: isinstance(it, dict))
        for camera, size in wanted.items():
            kind = f"a uint8 picture ({size}, {size}, 3)"
            self._field(image, camera, kind, partial(_is_picture, size=size))
        return {camera: np.array(image[camera]) for camera in wanted}

    def _numbers(self, answer: Mapping[str, Any], name: str, dim: int) -> Float32[np.ndarray, " n"]:
        numbers = self._field(answer, name, f"{dim} finite numbers", partial(_are_numbers, dim=dim))
        return np.array(numbers, np.float32)

    def _observation(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "image": self._pictures(answer, self._wanted()),
            "state": self._numbers(answer, "state", self._state_dim),
            "instruction": self.instruction,
        }

    def _field(
        self, answer: Mapping[str, Any], name: str, kind: str, holds: Callable[[Any], bool]
    ) -> Any:
        return _checked(self._simulator.address, answer, name, kind, holds)


def _checked(
    address: str, told: Mapping[str, Any], name: str, kind: str, holds: Callable[[Any], bool]
) -> Any:
    """Return a field of a simulator's message.

    Raises:
        InputError: If it is missing or of another kind.
    """
    if name not in told:
        raise InputError(
            f"the simulator at {address} must answer {name!r}, {kind}. "
            f"Got only {sorted(map(str, told))!s:.200}."
        )
    value = told[name]
    if not holds(value):
        shown = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"{value!r}"
        raise InputError(
            f"the simulator at {address} must answer {name!r}, {kind}. Got {shown:.80}."
        )
    return value


def _is_picture(value: Any, size: int) -> bool:
    return isinstance(value, np.ndarray) and (value.dtype, value.shape) == (
        np.dtype(np.uint8),
        (size, size, 3),
    )


def _are_numbers(value: Any, dim: int) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.shape == (dim,)
        and value.dtype.kind in "fiu"
        and bool(np.isfinite(value).all())
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value))


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 1000 and value.isprintable()


def _is_sentence(value: Any) -> bool:
    return _is_text(value) and bool(value.strip())


def _is_count(most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 1 <= value <= most


def _list_of(
    holds: Callable[[Any], bool], *, least: int = 0, most: int = 10_000
) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list) and least <= len(value) <= most and all(map(holds, value))
    )


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
        "limits": dict(suite.limits),
        "scenes": [list(scene) for scene in suite.scenes],
    } | ({} if suite.last_seed is None else {"last_seed": suite.last_seed})


def _told(told: Instructions) -> tuple[tuple[str, ...], ...]:
    return (told.canonical,), told.training, told.held_out


def _described(simulator: WireConnection) -> Suite:
    def field(name: str, kind: str, holds: Callable[[Any], bool]) -> Any:
        return _checked(simulator.address, simulator.first, name, kind, holds)

    names, quantities = _list_of(_is_name, least=1), _list_of(_is_quantity, most=MOST_NUMBERS)
    groups = field(
        "groups",
        "lists of names of tasks by name of group",
        lambda it: (
            isinstance(it, dict)
            and bool(it)
            and all(map(_is_text, it))
            and all(map(names, it.values()))
        ),
    )
    tasks = [task for group in groups.values() for task in group]
    sentences = field(
        "sentences",
        "three lists of sentences for every task: one canonical, training, held out",
        lambda it: (
            isinstance(it, dict) and set(it) == set(tasks) and all(map(_is_told, it.values()))
        ),
    )
    told = {
        task: Instructions(canonical[0], tuple(training), tuple(held_out))
        for task, (canonical, training, held_out) in sentences.items()
    }
    return Suite(
        name=field("name", "a name", _is_name),
        protocol=field("protocol", "a name", _is_name),
        groups={name: tuple(group) for name, group in groups.items()},
        score=field("score", "a text", _is_text),
        sentences=told.__getitem__,  # can be pickled, for workers
        cameras=tuple(field("cameras", "a list of names", names)),
        view=field("view", "a name", _is_name),
        state=_quantities(field("state", "a list of names with units", quantities)),
        action=_quantities(
            field("action", "a list of names with units", lambda it: quantities(it) and len(it) > 0)
        ),
        fps=field("fps", f"a number from 1 to {MOST_NUMBERS}", _is_count(MOST_NUMBERS)),
        max_steps=field("max_steps", f"a number from 1 to {MOST_STEPS}", _is_count(MOST_STEPS)),
        make=partial(RemoteEnv, address=simulator.address),
        limits=field(
            "limits",
            "lengths of episodes by name of group",
            lambda it: (
                isinstance(it, dict)
                and set(it) <= set(groups)
                and all(map(_is_count(MOST_STEPS), it.values()))
            ),
        ),
        last_seed=(
            field("last_seed", "a seed", _is_count(LARGEST_SEED))
            if "last_seed" in simulator.first
            else None
        ),
        scenes=tuple(
            tuple(scene)
            for scene in field(
                "scenes", "lists of tasks", _list_of(_list_of(lambda task: task in tasks))
            )
        ),
    )


def _is_quantity(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_text, value))


def _is_told(value: Any) -> bool:
    sentences = _list_of(_list_of(_is_sentence), least=3, most=3)
    return sentences(value) and len(value[0]) == 1


def _quantities(rows: list[list[str]]) -> tuple[Quantity, ...]:
    return tuple(Quantity(name, unit) for name, unit in rows)


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
