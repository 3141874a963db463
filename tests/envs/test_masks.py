import numpy as np
import pytest

from eyehand.envs.masks import scene_masks
from eyehand.envs.metaworld import MASK_CLASSES, METAWORLD, MetaWorldEnv
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.types import InputError

OBJECT = MASK_CLASSES.index("object")


def test_pictures_depend_on_task_and_seed_alone(opengl: None) -> None:
    settings = {"image_size": 48, "camera": "work_area"}
    first = list(scene_masks(METAWORLD, ["drawer-open", "push"], seeds=[3, 4], **settings))
    (again,) = scene_masks(METAWORLD, ["push"], seeds=[4], **settings)
    for got, want in zip(again, first[3], strict=True):
        np.testing.assert_array_equal(got, want)
    image, mask = first[0]
    assert image.shape == (48, 48, 3)
    assert mask.shape == (48, 48)
    assert set(np.unique(mask)) == set(range(len(MASK_CLASSES)))
    assert not np.array_equal(first[0][1], first[1][1])


def test_the_mask_lies_where_the_object_is_seen(opengl: None) -> None:
    """The puck is red, and nothing else on the table is: the mask finds the same pixels."""
    env = MetaWorldEnv("push", cameras={"work_area": 96})
    try:
        observation, _ = env.reset(seed=0)
        red, green, blue = observation["image"]["work_area"].astype(int).transpose(2, 0, 1)
        place = env.landmarks()[1]
        mask = env.mask() == OBJECT
        rows, columns = np.nonzero(mask)
        at = np.array([columns.mean(), rows.mean()]) * 2 / 95 - 1
        np.testing.assert_allclose(at, place[:2], atol=0.06)
        assert (red[mask] > green[mask] + blue[mask]).mean() > 0.7
        before = env.render()
        np.testing.assert_array_equal(before, observation["image"]["work_area"])  # left no trace
    finally:
        env.close()


def test_a_mask_needs_its_picture() -> None:
    env = MetaWorldEnv("push", render_observations=False)
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="call `render` first"):
        env.mask()
    env.close()


def test_unknown_task() -> None:
    with pytest.raises(InputError, match="pusj"):
        next(scene_masks(METAWORLD, ["pusj"], seeds=[0], image_size=48, camera="work_area"))


def test_a_suite_without_masks_is_refused() -> None:
    with pytest.raises(InputError, match="two-ways has no masks"):
        next(scene_masks(TWO_WAYS, ["two-ways"], seeds=[0], image_size=8, camera="top"))
