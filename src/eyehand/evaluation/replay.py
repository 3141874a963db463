"""What happened on the live page, again: an episode's actions replayed into a data set."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from eyehand.data.columns import landmark_column
from eyehand.data.writer import DatasetWriter
from eyehand.envs.metaworld import ACTION_DIM, FPS, LANDMARKS, STATE_DIM, MetaWorldEnv
from eyehand.envs.rollout import Start
from eyehand.types import Episode, InputError


def replay_episode(
    start: Start,
    actions: Float32[np.ndarray, "time action"],
    *,
    camera: str,
    image_size: int,
    kept: Sequence[bool] | None = None,
) -> Episode:
    """Return the episode that these actions make from a start state.

    Args:
        start: Where it began, and what was told at last.
        actions: What was executed.
        camera: The picture to keep.
        image_size: Its height and width, pixels.
        kept: Which steps to keep, such as those of a person; left out, all.

    Raises:
        InputError: If no step is kept.
    """
    kept = [True] * len(actions) if kept is None else kept
    if not any(kept):
        raise InputError("no step of the episode is to be kept.")
    env = MetaWorldEnv(start.task, image_size=image_size, camera=camera)
    try:
        observation, _ = env.reset(seed=start.seed)
        pictures, states, places = [], [], []
        for action, keep in zip(actions, kept, strict=True):
            if keep:
                pictures.append(observation["image"][camera])
                states.append(observation["state"])
                places.append(env.landmarks())
            observation, *_ = env.step(action)
    finally:
        env.close()
    return Episode(
        image={camera: np.stack(pictures)},
        state=np.stack(states),
        action=np.asarray(actions, np.float32)[np.asarray(kept)],
        instruction=start.instruction,
        task=start.task,
        seed=start.seed,
        landmarks=np.stack(places),
    )


def zip_episode(episode: Episode, file: Path) -> None:
    """Write one episode as a data set in the LeRobot v3 layout, zipped."""
    ((camera, pictures),) = episode.image.items()
    with TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name) / "data"
        with DatasetWriter(
            folder,
            fps=FPS,
            image_shapes={camera: pictures.shape[1:3]},
            state_dim=STATE_DIM,
            action_dim=ACTION_DIM,
            robot="metaworld",
            columns={"landmarks": landmark_column(LANDMARKS)},
        ) as writer:
            writer.add(episode)
        made = shutil.make_archive(str(Path(name) / "episode"), "zip", folder)
        Path(made).replace(file)
