"""The contract of every environment: that of Gymnasium, with pictures, a state and a sentence.

Reward, terminated, truncated and success are four separate things. An episode is terminated when
its task is over, solved or failed, and truncated when its time is over. Only ``info["success"]``
says that the task was solved.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import gymnasium
import numpy as np
from jaxtyping import Float, Float32, UInt8

from eyehand.types import InputError

Quality = Literal["fast", "film"]
"""``fast`` for policies; ``film`` for people, with shadows and all details."""
Picture = UInt8[np.ndarray, "height width 3"]


class RobotEnv(gymnasium.Env[dict[str, Any], Float32[np.ndarray, " action"]]):
    """One task of a suite; ``reset(seed=...)`` alone decides its start state.

    The observation has what the robot may know: ``image`` (one picture per camera), ``state``
    and ``instruction``.

    Args:
        task: Name of the task.
        instruction: Its canonical sentence.
        cameras: Height and width, pixels, of every picture in an observation, by camera.
        state_dim: Numbers in a state.
        action_dim: Numbers in an action, each in [-1, 1].
        fps: Steps in one second.
        render_observations: Whether observations hold pictures; without, ``image`` is empty and
            ``pictures`` draws them on request.

    Raises:
        InputError: If no camera is named, or a picture's size is below 1.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012  (gymnasium's form)
    render_mode = "rgb_array"

    def __init__(
        self,
        task: str,
        *,
        instruction: str,
        cameras: Mapping[str, int],
        state_dim: int,
        action_dim: int,
        fps: int,
        render_observations: bool = True,
    ) -> None:
        if not cameras or min(cameras.values()) < 1:
            raise InputError(f"an environment needs a camera, and 1 pixel or more. Got {cameras}.")
        self.task, self.instruction, self.cameras = task, instruction, dict(cameras)
        self.action_dim = action_dim
        self.metadata = {**self.metadata, "render_fps": fps}
        self._render_observations = render_observations
        spaces = gymnasium.spaces
        shown: dict[str, gymnasium.Space[Any]] = {
            name: spaces.Box(0, 255, (size, size, 3), np.uint8) for name, size in cameras.items()
        }
        self.observation_space = spaces.Dict({
            "image": spaces.Dict(shown if render_observations else {}),
            "state": spaces.Box(-np.inf, np.inf, (state_dim,), np.float32),
            "instruction": spaces.Text(200, charset=frozenset(map(chr, range(32, 127)))),
        })  # fmt: skip
        self.action_space = spaces.Box(-1, 1, (action_dim,), np.float32)

    @abstractmethod
    def picture(self, camera: str, *, size: int, quality: Quality | None = None) -> Picture:
        """Return a picture of the present state.

        Args:
            camera: A camera of the suite; it need not be one of the observation's.
            size: Height and width, pixels.
            quality: ``fast``, or ``film`` for people where the simulator can; left out, that of
                the environment.
        """

    def pictures(self) -> dict[str, Picture]:
        """Return the pictures of an observation of the present state."""
        return {name: self.picture(name, size=size) for name, size in self.cameras.items()}

    def render(self) -> Picture:
        """Return the first camera's picture of the present state."""
        camera, size = next(iter(self.cameras.items()))
        return self.picture(camera, size=size)

    def observation(self, state: Float[np.ndarray, " state"]) -> dict[str, Any]:
        """Return the observation of the present state."""
        return {
            "image": self.pictures() if self._render_observations else {},
            "state": np.array(state, np.float32),
            "instruction": self.instruction,
        }

    def checked_action(self, action: np.ndarray) -> Float32[np.ndarray, " action"]:
        """Return an action clipped to [-1, 1].

        Raises:
            InputError: If it does not have the robot's number of numbers, all finite.
        """
        action = np.asarray(action, dtype=np.float32)
        if action.shape != (self.action_dim,):
            raise InputError(
                f"an action must be {self.action_dim} numbers. "
                f"Got an array of shape {action.shape}."
            )
        if not np.isfinite(action).all():
            raise InputError(f"an action must be finite numbers. Got {action.tolist()}.")
        return np.clip(action, -1, 1)

    def seed_of_episode(self, seed: int | None) -> int:
        """Return the seed of the next episode: the one given, or a random one."""
        super().reset(seed=seed)
        return int(self.np_random.integers(2**31)) if seed is None else seed


@runtime_checkable
class Expert(Protocol):
    """An environment with a scripted expert that does the task."""

    def expert_action(self) -> Float32[np.ndarray, " action"]:
        """Return the expert's action for the present state, in [-1, 1]."""
        ...


@runtime_checkable
class Chained(Protocol):
    """An environment that can be told one task after another without a reset."""

    def begin_task(self, task: str) -> None:
        """Begin another task of the same scene: its sentence, its goal and its time.

        The world stays as it is, and so do the picture and the state. A reset begins the task
        that was told last.

        Raises:
            InputError: If there is no such task in this scene.
        """
        ...


@runtime_checkable
class Landmarks(Protocol):
    """An environment that knows where its suite's landmarks are in its first picture."""

    def landmarks(self) -> Float32[np.ndarray, "landmark 3"]:
        """Return where they are. Privileged: policies must not see them.

        Returns:
            x to the right and y down, from -1 to 1 inside the picture, and the distance from the
            camera along its axis in metres.
        """
        ...


@runtime_checkable
class Masks(Protocol):
    """An environment that knows what every pixel of its first picture shows."""

    def mask(self) -> UInt8[np.ndarray, "height width"]:
        """Return the number of every pixel's class. Privileged: policies must not see it."""
        ...


@runtime_checkable
class Projects(Protocol):
    """An environment that can say where a point of the world is in a picture."""

    def in_picture(
        self, points: Float[np.ndarray, "point 3"], camera: str
    ) -> Float[np.ndarray, "point 3"]:
        """Return x to the right and y down, -1 to 1 inside the picture, and the distance, m."""
        ...
