"""Episodes from replayed actions, and the data sets that they are written to."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from eyehand.data.columns import ACTION_MASK, Column, landmark_columns
from eyehand.data.writer import DatasetWriter
from eyehand.envs.replay import replay
from eyehand.envs.robot_env import Landmarks, RobotEnv
from eyehand.envs.rollout import Start
from eyehand.envs.suite import Suite
from eyehand.types import Episode, InputError


def replay_episode(
    env: RobotEnv,
    start: Start,
    actions: Sequence[Float32[np.ndarray, " action"]],
    *,
    action_mask: Sequence[bool] | None = None,
    labels: Sequence[Float32[np.ndarray, " action"]] | None = None,
) -> Episode:
    """Return the episode that these actions make from a start state, with pictures.

    Args:
        env: The environment of ``start.task``; its observations need no pictures.
        start: Start state, and the sentence that was told last.
        actions: What was executed.
        action_mask: Which steps have an action to learn, such as those of a person or the expert;
            the others are seen as their past. Left out, all have.
        labels: What is recorded as the action of each step; left out, what was executed.

    Raises:
        InputError: If no step has an action to learn.
    """
    if action_mask is not None and not any(action_mask):
        raise InputError("no step of the episode has an action to learn.")
    labels = actions if labels is None else labels
    pictures, states, places = [], [], []
    for moment in replay(env, start.seed, actions):
        if moment.action is None:
            break
        pictures.append(env.pictures())
        states.append(moment.observation["state"])
        if isinstance(env, Landmarks):
            places.append(env.landmarks())
    return Episode(
        image={name: np.stack([shown[name] for shown in pictures]) for name in env.cameras},
        state=np.stack(states),
        action=np.asarray(labels, np.float32),
        instruction=start.instruction,
        task=start.task,
        seed=start.seed,
        landmarks=np.stack(places) if places else None,
        action_mask=None if action_mask is None else np.asarray(action_mask),
    )


def dataset_writer(
    folder: Path, suite: Suite, cameras: Mapping[str, int], *, corrections: bool
) -> DatasetWriter:
    """Return the writer of a data set of a suite's episodes.

    Args:
        folder: The data set.
        suite: The family of tasks.
        cameras: Height and width of its pictures, pixels, by camera.
        corrections: Whether some steps have no action to learn, because a policy did them.
    """
    mask = {ACTION_MASK: Column("bool")} if corrections else {}
    return DatasetWriter(
        folder,
        fps=suite.fps,
        image_shapes={camera: (size, size) for camera, size in cameras.items()},
        state_dim=len(suite.state),
        action_dim=len(suite.action),
        robot=suite.name,
        columns=landmark_columns(suite.landmarks) | mask,
    )


def zip_episode(episode: Episode, file: Path, suite: Suite) -> None:
    """Write one episode as a data set in the LeRobot v3 layout, zipped."""
    sizes = {camera: film.shape[1] for camera, film in episode.image.items()}
    with TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name) / "data"
        corrections = episode.action_mask is not None
        with dataset_writer(folder, suite, sizes, corrections=corrections) as writer:
            writer.add(episode)
        made = shutil.make_archive(str(Path(name) / "episode"), "zip", folder)
        Path(made).replace(file)
