"""Pictures of robot scenes with a label for every pixel, which the simulator gives for free."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from eyehand.envs.metaworld import MetaWorldEnv

LONGEST = 80
"""Steps of the expert before a picture is taken, at most: a second of the robot's life."""


def scene_masks(
    tasks: Sequence[str], *, seeds: Sequence[int], image_size: int, camera: str
) -> Iterator[tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "size size"]]]:
    """Give one picture and its mask for every start state of every task.

    The scripted expert moves the robot for a while, as long as the seed decides, so that hand and
    objects are met in many places. Each picture depends on its task and seed alone.

    Args:
        tasks: Names of tasks.
        seeds: Of the start states.
        image_size: Height and width, pixels.
        camera: A name of ``eyehand.envs.metaworld.CAMERAS``.

    Yields:
        The picture, and the number of one of ``eyehand.envs.metaworld.MASK_CLASSES`` per pixel.

    Raises:
        InputError: If there is no such task or camera, or no picture can be drawn.
    """
    for task in tasks:
        env = MetaWorldEnv(task, image_size=image_size, camera=camera, render_observations=False)
        try:
            for seed in seeds:
                env.reset(seed=seed)
                for _ in range(int(np.random.default_rng(seed).integers(LONGEST))):
                    if env.step(env.expert_action())[2]:
                        break
                yield env.render(), env.mask()
        finally:
            env.close()
