"""Pictures of robot scenes with a label for every pixel, which the simulator knows."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from eyehand.envs.robot_env import Expert, Masks
from eyehand.envs.suite import Suite
from eyehand.types import InputError

LONGEST_SECONDS = 1.0
"""Most steps that the expert does before a picture is taken."""


def scene_masks(
    suite: Suite, tasks: Sequence[str], *, seeds: Sequence[int], image_size: int, camera: str
) -> Iterator[tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "size size"]]]:
    """Yield one picture and its mask for every start state of every task.

    First the expert does a number of steps that the seed decides, so that hand and objects are in
    many places. Each picture depends on its task and seed alone.

    Args:
        suite: The family of tasks.
        tasks: Names of tasks.
        seeds: Of the start states.
        image_size: Height and width, pixels.
        camera: A camera of the suite.

    Yields:
        The picture, and the number of one of ``suite.masks`` per pixel.

    Raises:
        InputError: If there is no such task or camera, no picture can be drawn, or the suite has no
            masks.
    """
    longest = round(LONGEST_SECONDS * suite.fps)
    for task in tasks:
        env = suite.make(task, cameras={camera: image_size}, render_observations=False)
        if not (isinstance(env, Masks) and isinstance(env, Expert)):
            raise InputError(
                f"the suite {suite.name} has no masks: it does not know what a pixel shows."
            )
        try:
            for seed in seeds:
                env.reset(seed=seed)
                for _ in range(int(np.random.default_rng(seed).integers(longest))):
                    _, _, terminated, truncated, _ = env.step(env.expert_action())
                    if terminated or truncated:
                        break
                yield env.render(), env.mask()
        finally:
            env.close()
