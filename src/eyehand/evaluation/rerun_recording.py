"""Recordings for the rerun viewer (https://rerun.io): what a robot sees, is told and does.

A recording holds, by episode and step: the picture that the policy reads, where it looks in it, the
state, the action, and the path of the hand in space.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from torch import Tensor

from eyehand.envs.replay import replay
from eyehand.envs.rollout import Start, observe
from eyehand.envs.suite import Suite
from eyehand.types import InputError, Observation

AttentionFunction = Callable[[Observation], Float[Tensor, "batch row column"]]
"""Returns how much each part of a picture counts, at least 0."""


def check_recording(file: Path) -> None:
    """Check that a recording can be written, before the run that it is to show.

    Raises:
        InputError: If rerun is not installed, or the name does not end in ``.rrd``.
    """
    if file.suffix != ".rrd":
        raise InputError(f"--rerun names a file that ends in .rrd. Got {str(file)!r}.")
    if find_spec("rerun") is None:
        raise InputError("--rerun needs rerun: pip install 'eyehand[rerun]'.")


class RerunRecording:
    """A ``.rrd`` file, open for writing.

    Args:
        file: The file; it is overwritten.
        suite: The benchmark; says where the hand is in a state.

    Raises:
        InputError: If rerun is not installed, or the file cannot be written.
    """

    def __init__(self, file: Path, suite: Suite) -> None:
        check_recording(file)
        self._hand = suite.hand
        import rerun

        self._rerun: Any = rerun
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream: Any = rerun.RecordingStream("eyehand")
        try:
            self._stream.save(file)
        except RuntimeError as error:
            raise InputError(f"--rerun {file} cannot be written: {error}.") from error
        self._episode, self._path = "", list[np.ndarray]()

    def __enter__(self) -> "RerunRecording":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left."""
        self._stream.flush()
        self._stream.disconnect()

    def begin(self, start: Start) -> None:
        """Begin an episode; its name in the viewer is its task and seed."""
        self._episode, self._path = f"{start.task}/{start.seed}", []

    def step(
        self,
        number: int,
        *,
        sentence: str,
        picture: UInt8[np.ndarray, "height width 3"],
        state: Float32[np.ndarray, " state"],
        action: Float32[np.ndarray, " action"],
        look: Float[np.ndarray, "row column"] | None = None,
    ) -> None:
        """Write one step: observation, sentence, and the action that follows.

        Args:
            number: Steps of the episode before this one.
            sentence: What is told.
            picture: What the policy reads.
            state: The robot's state.
            action: What is executed.
            look: How much each part of the picture counts, if known.
        """
        rerun, stream, place = self._rerun, self._stream, self._episode
        stream.set_time("step", sequence=number)
        stream.log(f"{place}/sentence", rerun.TextDocument(sentence))
        stream.log(f"{place}/picture", rerun.Image(picture))
        if look is not None:
            stream.log(f"{place}/look", rerun.Image(lit(picture, look)))
        stream.log(f"{place}/state", rerun.Scalars(state))
        stream.log(f"{place}/action", rerun.Scalars(action))
        if self._hand is not None:
            hand = state[self._hand.state]
            self._path.append(hand)
            stream.log(f"{place}/hand", rerun.Points3D(hand[None], radii=0.01))
            stream.log(f"{place}/path", rerun.LineStrips3D([np.stack(self._path)]))


def lit(
    picture: UInt8[np.ndarray, "height width 3"], look: Float[np.ndarray, "row column"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture that is bright where a policy looks."""
    height, width = picture.shape[:2]
    scaled = np.asarray(look / max(float(look.max()), 1e-9), np.float32)
    light = Image.fromarray(scaled).resize((width, height), Image.Resampling.BILINEAR)
    return (picture * (0.25 + 0.75 * np.asarray(light)[..., None])).astype(np.uint8)


def record_episodes(
    file: Path,
    suite: Suite,
    episodes: Sequence[tuple[Start, Float32[np.ndarray, "time action"]]],
    *,
    cameras: Mapping[str, int],
    look: AttentionFunction | None = None,
    every: int = 1,
) -> None:
    """Replay episodes into a recording.

    Args:
        file: The ``.rrd`` file.
        suite: The family of tasks that the episodes are of.
        episodes: Starts and executed actions.
        cameras: Height and width of the pictures that the policy reads, pixels, by camera; the
            first is recorded.
        look: Returns where the policy looks; None if it cannot tell.
        every: Steps from one call of ``look`` to the next.

    Raises:
        InputError: If rerun is not installed, or the file cannot be written.
    """
    camera = next(iter(cameras))
    with RerunRecording(file, suite) as recording:
        for start, actions in episodes:
            recording.begin(start)
            env = suite.make(start.task, cameras=cameras)
            try:
                for moment in replay(env, start.seed, list(actions)):
                    if moment.action is None:
                        continue
                    where = None
                    if look is not None and moment.step % every == 0:
                        seen = observe(moment.observation, instruction=start.instruction, env_id=-1)
                        where = look(seen)[0].numpy()
                    recording.step(
                        moment.step,
                        sentence=start.instruction,
                        picture=moment.observation["image"][camera],
                        state=moment.observation["state"],
                        action=moment.action,
                        look=where,
                    )
            finally:
                env.close()
