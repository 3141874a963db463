"""The robot of the live page: one simulated robot, moved by a policy or by a person.

It runs in a process of its own (:mod:`eyehand.live.worker`), receives commands, and sends frames
and pictures; docs/serving.md lists the messages of both kinds.
"""

import base64
import io
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from eyehand.envs.execution import Execution, Plan
from eyehand.envs.robot_env import Projects, RobotEnv
from eyehand.envs.rollout import Start, observe, policy_threads
from eyehand.envs.suite import Suite
from eyehand.evaluation.latency import StageTimer
from eyehand.evaluation.rerun_recording import RerunRecording
from eyehand.evaluation.results import Rate
from eyehand.functional.sentence import check_sentence
from eyehand.types import Actor, InputError

VIEW_SIZE = 480
"""Height and width of the picture for people, pixels."""
PATH_STEPS = 100
"""Executed steps whose path and actions are shown."""
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
HAND_SPEED = 0.6
"""Size of the motion while a key is held, as a share of an action's range."""
SEEDS = range(2**31)
KEYS = ("up", "down", "left", "right", "rise", "sink", "grip")
"""The keys that a person leads the hand with."""


@dataclass(frozen=True)
class LivePolicy:
    """What the robot knows of its policy."""

    name: str
    cameras: dict[str, int]
    """Height and width of the pictures that it reads, pixels, by camera; the first is shown."""
    horizon: int
    executed: int
    """Actions of a chunk that are executed before the policy plans again."""

    @property
    def camera(self) -> str:
        """The camera whose picture is shown."""
        return next(iter(self.cameras))


@dataclass
class Take:
    """An episode so far: enough to replay it, film it, or learn from it."""

    task: str
    seed: int
    sentence: str
    actions: list[Float32[np.ndarray, " action"]] = field(default_factory=list)
    human: list[bool] = field(default_factory=list)
    success: bool = False


class Robot:
    """One robot at one task; every method is called from one thread.

    A person can lead the hand if the suite says where the hand is; the policy acts while nobody
    has taken over. The first episode is that of ``task`` and ``seed``. If there is a recording,
    every step is written to it too.

    Raises:
        InputError: If there is no such task.
    """

    def __init__(
        self,
        suite: Suite,
        policy: Actor,
        live: LivePolicy,
        *,
        timer: StageTimer,
        task: str,
        seed: int,
        recording: RerunRecording | None = None,
    ) -> None:
        self.suite, self.policy, self.live = suite, policy, live
        self._timer, self._recording = timer, recording
        self.running, self.speed, self.human = False, 1.0, False
        self.episodes = self.successes = 0
        self.keys: frozenset[str] = frozenset()
        self.look_on = False
        self.look_word: int | None = None
        self._env: RobotEnv | None = None
        self._grip = -1.0
        self._execution = Execution(steps=live.executed)
        self.start(task, seed)

    def do(self, command: Mapping[str, Any]) -> None:
        """Do one command of the driver.

        Raises:
            InputError: If it is not a valid command; nothing has changed then.
        """
        known: dict[Any, Callable[[Mapping[str, Any]], None]] = {
            "run": self._run,
            "pause": self._pause,
            "step": self._step,
            "reset": lambda _: self.start(self.take.task, self.take.seed),
            "start": lambda told: self.start(told.get("task"), told.get("seed")),
            "say": lambda told: self.say(told.get("sentence")),
            "speed": self._change_speed,
            "look": self._look,
            "human": self._hand_over,
            "hand": self._hold,
        }
        what = command.get("do")
        if not isinstance(what, str) or what not in known:
            raise InputError(f"the robot has no command {what!r:.40}.")
        known[what](command)

    def start(self, task: Any, seed: Any) -> None:
        """Begin an episode; a robot that was running goes on running, a paused one stays paused.

        Raises:
            InputError: If there is no such task or seed.
        """
        if not isinstance(task, str):
            name = self.suite.tasks[0]
            raise InputError(f"a task must be a name such as {name}. Got {task!r:.60}.")
        self.suite.check_task(task)
        check_seed(seed, "a seed")
        if self._env is None or self._env.task != task:
            if self._env is not None:
                self._env.close()
            self._env = self.suite.make(task, cameras=self.live.cameras)
            self.sentence = self.suite.instructions(task).canonical
        self._observation, _ = self._env.reset(seed=seed)
        self.policy.reset([0])
        self.take = Take(task, seed, self.sentence)
        if self._recording is not None:
            self._recording.begin(Start(task, seed, self.sentence))
        self.planned_for = self.sentence
        self.over = False
        self._planned = Plan(self._execution, action_dim=len(self.suite.action))
        self.chunk = np.zeros((0, len(self.suite.action)), np.float32)
        self.chunk_step = self._left = 0
        self._places: deque[np.ndarray] = deque([self._hand()], maxlen=PATH_STEPS + 1)
        self.latency: dict[str, float] | None = None
        self.words: Sequence[str] = self.sentence.split()
        self.look: Float[np.ndarray, "row column"] | None = None
        self._grip = -1.0

    def say(self, sentence: Any) -> None:
        """Change the sentence; the policy reads the new one when it plans next.

        Raises:
            InputError: If it is not a sentence, see :func:`check_sentence`.
        """
        self.sentence = " ".join(check_sentence(sentence, "a sentence").split())

    def advance(self, steps: int) -> None:
        """Do some steps, planning where needed, until the episode is over."""
        assert self._env is not None
        for _ in range(steps):
            if self.over:
                self.running = False
                return
            action = self._human_action() if self.human else self._policy_action()
            self._record(action)
            self._observation, _, terminated, truncated, info = self._env.step(action)
            self.take.actions.append(action)
            self.take.human.append(self.human)
            self._places.append(self._hand())
            if terminated or truncated:
                self.over, self.take.success = True, bool(info["success"])
                self.running = False
                self.episodes += 1
                self.successes += self.take.success

    def frame(self) -> dict[str, Any]:
        """Return the robot's present state as a message for the page, without pictures."""
        low_high = None
        if self.episodes:
            low_high = [*Rate.of(self.successes, self.episodes).interval]
        return {
            "kind": "frame",
            "task": self.take.task,
            "seed": self.take.seed,
            "sentence": self.sentence,
            "planned_for": self.planned_for,
            "step": len(self.take.actions),
            "max_steps": self.suite.limit(self.take.task),
            "seconds": len(self.take.actions) / self.suite.fps,
            "running": self.running,
            "speed": self.speed,
            "over": self.over,
            "success": self.take.success,
            "episodes": self.episodes,
            "successes": self.successes,
            "interval": low_high,
            "human": self.human,
            "planned_path": self._path(self._planned_places()),
            "done_path": self._path(list(self._places)),
            "chunk": {"step": self.chunk_step, "actions": np.round(self.chunk, 3).tolist()},
            "executed": np.round(self.take.actions[-PATH_STEPS:], 3).tolist(),
            "latency": self.latency,
            "words": list(self.words),
            "look": self._look_message(),
            "recorded": len(self.take.actions),
            "corrected": sum(self.take.human),
        }

    def pictures(self) -> tuple[bytes, bytes]:
        """Return the picture that the policy reads and the one for people, as JPEG."""
        assert self._env is not None
        read = self._observation["image"][self.live.camera]
        return jpeg(read), jpeg(self._env.picture(self.suite.view, size=VIEW_SIZE))

    def close(self) -> None:
        """Close the environment."""
        if self._env is not None:
            self._env.close()

    def _run(self, _: Mapping[str, Any]) -> None:
        if self.over:
            self.start(self.take.task, self.take.seed)
        self.running = True

    def _pause(self, _: Mapping[str, Any]) -> None:
        self.running = False

    def _step(self, _: Mapping[str, Any]) -> None:
        self.running = False
        self.advance(self.live.executed)

    def _change_speed(self, command: Mapping[str, Any]) -> None:
        speed = command.get("value")
        if speed not in SPEEDS:
            raise InputError(f"speed must be one of {SPEEDS}. Got {speed!r:.40}.")
        self.speed = float(speed)

    def _hand_over(self, command: Mapping[str, Any]) -> None:
        on = command.get("on")
        if not isinstance(on, bool):
            raise InputError(f"`on` must be true or false. Got {on!r:.40}.")
        if on and self.suite.hand is None:
            name = self.suite.name
            raise InputError(f"{name} does not say where its hand is: nobody can take over.")
        self.human, self.keys, self._left = on, frozenset(), 0

    def _hand(self) -> Float[np.ndarray, " axis"]:
        """Return where the hand is, metres; empty if the suite does not say."""
        if self.suite.hand is None:
            return np.zeros(0)
        return np.asarray(self._observation["state"][self.suite.hand.state], dtype=np.float64)

    def _policy_action(self) -> Float32[np.ndarray, " action"]:
        if self._left == 0:
            self._plan()
        action = self.chunk[len(self.take.actions) - self.chunk_step]
        self._left -= 1
        return action

    def _plan(self) -> None:
        self._seen = observe(self._observation, instruction=self.sentence)
        with self._timer, policy_threads(), torch.inference_mode():
            chunk = self.policy.act(self._seen)[0].to("cpu", torch.float32)
        try:
            self._planned.next_actions(chunk, step=len(self.take.actions))
        except InputError as error:
            self.running = False
            raise InputError(f"{error} The robot is paused.") from error
        self.latency = self._timer.milliseconds
        self.chunk = np.clip(chunk.numpy(), -1, 1)
        self.chunk_step, self._left = len(self.take.actions), self.live.executed
        self.planned_for = self.take.sentence = self.sentence
        self.words = self.sentence.split()
        self._refresh_look()

    def _record(self, action: Float32[np.ndarray, " action"]) -> None:
        if self._recording is not None:
            self._recording.step(
                len(self.take.actions),
                sentence=self.sentence,
                picture=self._observation["image"][self.live.camera],
                state=self._observation["state"],
                action=action,
                look=None if self.look is None else np.asarray(self.look),
            )

    def _human_action(self) -> Float32[np.ndarray, " action"]:
        """Return the action of the keys that are held; left and right are as in the picture."""
        ahead = float("up" in self.keys) - float("down" in self.keys)
        right = float("right" in self.keys) - float("left" in self.keys)
        rise = float("rise" in self.keys) - float("sink" in self.keys)
        to_right, away = self._table_axes()
        motion = np.zeros(3)
        motion[:2] = right * to_right + ahead * away
        motion[2] = rise
        assert self.suite.hand is not None  # checked in _hand_over
        action = np.zeros(len(self.suite.action), np.float32)
        action[self.suite.hand.action] = HAND_SPEED * motion
        action[self.suite.hand.gripper] = self._grip
        return action

    def _table_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the directions on the table that look right and up in the picture, of length 1."""
        assert isinstance(self._env, Projects)
        assert self.suite.hand is not None
        places = self._hand() + self.suite.hand.metres * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
        seen = self._env.in_picture(places, self.suite.view)[:, :2]
        right, down = (seen[1:] - seen[0]).T
        return right / np.linalg.norm(right), -down / np.linalg.norm(down)

    def _hold(self, command: Mapping[str, Any]) -> None:
        keys = command.get("keys")
        if not isinstance(keys, list) or not set(map(str, keys)) <= set(KEYS):
            raise InputError(f"`keys` must be a list of {KEYS}. Got {keys!r:.80}.")
        held = frozenset(keys)
        if "grip" in held - self.keys:
            self._grip = -self._grip
        self.keys = held

    def _planned_places(self) -> list[np.ndarray]:
        """Return the hand's places if it follows the rest of the chunk exactly."""
        rest, lead = self.chunk[len(self.take.actions) - self.chunk_step :], self.suite.hand
        if self.human or not len(rest) or lead is None:
            return []
        hand = self._hand()
        return [hand, *(hand + lead.metres * np.cumsum(rest[:, lead.action], axis=0))]

    def _path(self, places: Sequence[np.ndarray]) -> list[list[float]]:
        """Return places in the picture for people, 0 to 1 from the left and from the top."""
        if not places or self.suite.hand is None or not isinstance(self._env, Projects):
            return []
        seen = self._env.in_picture(np.stack(places), self.suite.view)[:, :2]
        places_in_picture = np.round((seen + 1) / 2, 4)
        return places_in_picture[np.isfinite(places_in_picture).all(axis=1)].tolist()

    def _look(self, command: Mapping[str, Any]) -> None:
        on, word = command.get("on"), command.get("word")
        if not isinstance(on, bool) or not (word is None or isinstance(word, int)):
            raise InputError("`on` must be true or false, and `word` a number or null.")
        if word is not None and not 0 <= word < len(self.words):
            raise InputError(f"`word` must be 0 to {len(self.words) - 1}. Got {word!r:.40}.")
        self.look_on, self.look_word = on, word
        self._refresh_look()

    def _refresh_look(self) -> None:
        self.look = None
        if self.look_on and len(self.chunk):
            word = self.look_word if self.look_word in range(len(self.words)) else None
            look: Any = getattr(self.policy, "look")  # noqa: B009  (not every policy has it)
            self.look = look(self._seen, word=word)[0].numpy()

    def _look_message(self) -> dict[str, Any] | None:
        if self.look is None:
            return None
        scaled = np.round(255 * self.look / max(float(self.look.max()), 1e-9)).astype(np.uint8)
        return {
            "word": self.look_word,
            "rows": scaled.shape[0],
            "columns": scaled.shape[1],
            "data": base64.b64encode(scaled.tobytes()).decode("ascii"),
        }


def check_seed(seed: Any, name: str) -> None:
    """Raise an `InputError` that calls it ``name`` if a value is not a seed of an episode."""
    if not isinstance(seed, int) or isinstance(seed, bool) or seed not in SEEDS:
        last = SEEDS[-1]
        raise InputError(f"{name} must be a whole number, 0 to {last}. Got {seed!r:.40}.")


def jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Return a picture as JPEG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "jpeg", quality=88)
    return stream.getvalue()
