"""Episodes from replayed actions, and the data sets that they are written to."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from eyehand.data.columns import landmark_columns
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
    kept: Sequence[bool] | None = None,
    labels: Sequence[Float32[np.ndarray, " action"]] | None = None,
) -> Episode:
    """Return the episode that these actions make from a start state, with pictures.

    Args:
        env: The environment of ``start.task``; its observations need no pictures.
        start: Where it began, and what was told at last.
        actions: What was executed.
        kept: Which steps to keep, such as those of a person; left out, all.
        labels: What is recorded as the action of each step; left out, what was executed.

    Raises:
        InputError: If no step is kept.
    """
    kept = [True] * len(actions) if kept is None else kept
    if not any(kept):
        raise InputError("no step of the episode is to be kept.")
    labels = actions if labels is None else labels
    pictures, states, places = [], [], []
    for moment in replay(env, start.seed, actions):
        if moment.action is None or not kept[moment.step]:
            continue
        pictures.append(env.pictures())
        states.append(moment.observation["state"])
        if isinstance(env, Landmarks):
            places.append(env.landmarks())
    return Episode(
        image={name: np.stack([shown[name] for shown in pictures]) for name in env.cameras},
        state=np.stack(states),
        action=np.asarray(labels, np.float32)[np.asarray(kept)],
        instruction=start.instruction,
        task=start.task,
        seed=start.seed,
        landmarks=np.stack(places) if places else None,
    )


def dataset_writer(folder: Path, suite: Suite, cameras: Mapping[str, int]) -> DatasetWriter:
    """Return the writer of a data set of a suite's episodes.

    Args:
        folder: The data set.
        suite: The family of tasks.
        cameras: Height and width of its pictures, pixels, by camera.
    """
    return DatasetWriter(
        folder,
        fps=suite.fps,
        image_shapes={camera: (size, size) for camera, size in cameras.items()},
        state_dim=len(suite.state),
        action_dim=len(suite.action),
        robot=suite.name,
        columns=landmark_columns(suite.landmarks),
    )


def zip_episode(episode: Episode, file: Path, suite: Suite) -> None:
    """Write one episode as a data set in the LeRobot v3 layout, zipped."""
    sizes = {camera: film.shape[1] for camera, film in episode.image.items()}
    with TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name) / "data"
        with dataset_writer(folder, suite, sizes) as writer:
            writer.add(episode)
        made = shutil.make_archive(str(Path(name) / "episode"), "zip", folder)
        Path(made).replace(file)
