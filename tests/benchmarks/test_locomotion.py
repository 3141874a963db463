"""The page of the walker: its figures follow from the episodes, and worlds differ as they say."""

import numpy as np

from benchmarks import locomotion
from benchmarks.locomotion import MEASURED, WORLDS, pictures, stand_still
from eyehand.envs.rough_ground import RoughGround, RoughGroundConfig


def test_successes_are_counted_for_every_policy_and_world() -> None:
    def episodes(won: int) -> list[dict[str, float]]:
        return [{"success": float(n < won), "share": 0.9 * (n < won)} for n in range(100)]

    found = {
        name: {world: episodes(won) for world in WORLDS}
        for name, won in (("stands still", 0), ("rough", 91))
    }
    text = locomotion.page(found, "- rough: in 25 minutes")
    rows = [line for line in text.splitlines() if line.startswith("| slippery")]
    assert rows[0].endswith("| 0 (0 to 4) | 91 (84 to 95) |")
    assert rows[1].endswith("| 0.00 | 0.82 |")
    assert "- rough: in 25 minutes" in text


def test_a_shifted_world_changes_one_thing() -> None:
    for name, world in WORLDS.items():
        assert world.speed == (0.5, 0.5)
        if world.randomize:
            held = (world.friction, world.mass, world.strength, world.delay)
            alike = ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0, 0))
            assert sum(one != other for one, other in zip(held, alike, strict=True)) == 1, name
            assert world.roughness == MEASURED.roughness


def test_a_film_shows_the_robot_at_every_step() -> None:
    world = RoughGround(RoughGroundConfig(seconds=0.2, speed=(0.5, 0.5)), 1)
    frames = list(pictures(stand_still, world, 0))
    assert len(frames) == 5
    assert all(frame.shape == (240, 360, 3) for frame in frames)
    assert np.std(frames[0]) > 10
    assert not np.array_equal(frames[0], frames[-1])
