"""The controls: scenes against Meta-World's own models, and what each one changes."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from eyehand.envs.metaworld import METAWORLD, SCENES, TASKS, MetaWorldEnv
from eyehand.envs.rollout import Start
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.evaluation.probes import Probe, probes_of, scene_partner
from eyehand.types import Observation

PROBES = probes_of(METAWORLD)
STARTS = [
    Start(task, seed, METAWORLD.instructions(task).canonical)
    for task in ("hammer", "faucet-open", "faucet-close", "reach")
    for seed in (5, 6)
]


def probe(name: str) -> Probe:
    return next(probe for probe in PROBES if probe.name == name)


def observation() -> Observation:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 8, 8, 3), generator=generator, dtype=torch.uint8)
    state = torch.randn(2, 4, generator=generator)
    return Observation({"corner4": image}, state, ["a", "b"], [0, 1])


def test_scenes_are_the_tasks_that_share_a_model() -> None:
    models = defaultdict(set)
    for name, kind in ALL_V3_ENVIRONMENTS.items():
        model = kind.model_name.fget(object.__new__(kind))
        models[model].add(name.removesuffix("-v3"))
    shared = {frozenset(tasks) for tasks in models.values() if len(tasks) > 1}
    scenes = {frozenset(scene) for scene in SCENES}
    assert shared < scenes
    by_hand = {task for scene in scenes - shared for task in scene}
    assert by_hand == {
        *("pick-place", "reach", "push", "push-back"),
        *("pick-place-wall", "reach-wall", "push-wall"),
    }


def test_every_task_is_in_at_most_one_scene_and_exists() -> None:
    named = [task for scene in SCENES for task in scene]
    assert len(named) == len(set(named))
    assert set(named) <= set(TASKS)


def test_partner_is_another_task_with_another_sentence() -> None:
    for task in (task for scene in SCENES for task in scene):
        partner = scene_partner(METAWORLD, task, TASKS)
        assert partner is not None
        assert partner != task
        assert METAWORLD.instructions(partner).canonical != METAWORLD.instructions(task).canonical


def test_a_suite_has_the_controls_that_it_can_have() -> None:
    names = [probe.name for probe in probes_of(TWO_WAYS)]
    assert "held-out paraphrase 1" in names
    assert "held-out paraphrase 2" not in names
    assert not any("camera" in name or "light" in name for name in names)
    start = Start("two-ways", 5, "Go to the green disc")
    assert probes_of(TWO_WAYS)[0].starts([start]) == []  # one task alone in its scene


def test_partner_is_an_evaluated_task() -> None:
    assert (
        scene_partner(METAWORLD, "coffee-button", ["coffee-button", "coffee-pull"]) == "coffee-pull"
    )
    assert (
        scene_partner(METAWORLD, "coffee-pull", ["coffee-button", "coffee-pull"]) == "coffee-button"
    )
    assert scene_partner(METAWORLD, "coffee-button", ["coffee-button"]) is None


def test_swapping_exchanges_the_pair_and_leaves_out_the_lonely() -> None:
    told = probe("instruction swapped").starts(STARTS)
    assert [(start.task, start.seed) for start in told] == [
        (start.task, start.seed) for start in STARTS if start.task.startswith("faucet")
    ]
    sentences = {start.task: start.instruction for start in told}
    assert sentences["faucet-open"] == METAWORLD.instructions("faucet-close").canonical
    assert sentences["faucet-close"] == METAWORLD.instructions("faucet-open").canonical


def test_every_probe_keeps_the_start_states_and_changes_something() -> None:
    seen = observation()
    for each in PROBES:
        told = each.starts(STARTS)
        assert {(start.task, start.seed) for start in told} <= {(s.task, s.seed) for s in STARTS}
        canonical = {start.task: start.instruction for start in STARTS}
        other_words = any(start.instruction != canonical[start.task] for start in told)
        changes = [other_words, each.transform is not None, each.disturbance is not None]
        assert changes.count(True) == 1, each.name
        if each.transform is not None:
            changed = each.transform(seen)
            assert changed.instruction == seen.instruction
            assert changed.env_ids == seen.env_ids
    assert len({each.name for each in PROBES}) == len(PROBES)


def test_paraphrases_are_the_held_out_ones_each_in_turn() -> None:
    for number in range(3):
        told = probe(f"held-out paraphrase {number + 1}").starts(STARTS)
        for start in told:
            assert start.instruction == METAWORLD.instructions(start.task).held_out[number]


def test_every_robot_is_told_a_held_out_sentence_in_chinese_by_its_seed() -> None:
    for start in probe("held-out sentence in Chinese").starts(STARTS):
        sentences = METAWORLD.instructions(start.task).chinese_held_out
        assert start.instruction == sentences[start.seed % 3]


def test_blank_image_carries_nothing_and_leaves_the_original_alone() -> None:
    seen = observation()
    before = seen.image["corner4"].clone()
    transform = probe("image blank").transform
    assert transform is not None
    blank = transform(seen)
    np.testing.assert_array_equal(blank.image["corner4"], 127)
    assert blank.image["corner4"].dtype == torch.uint8
    torch.testing.assert_close(blank.state, seen.state, rtol=0, atol=0)
    torch.testing.assert_close(seen.image["corner4"], before, rtol=0, atol=0)


def test_zeroed_state_keeps_the_picture() -> None:
    seen = observation()
    transform = probe("state zeroed").transform
    assert transform is not None
    numb = transform(seen)
    assert not numb.state.any()
    assert seen.state.all()
    torch.testing.assert_close(numb.image["corner4"], seen.image["corner4"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "disturbance"),
    [("camera moved by 2 cm", {"camera_offset": 0.02}), ("light at 60 %", {"light": 0.6})],
)
def test_disturbed_worlds_keep_every_start_and_can_be_made(
    name: str, disturbance: dict[str, float]
) -> None:
    """What they change in the picture, and that they change nothing else, tests/envs sees."""
    assert probe(name).disturbance == disturbance
    assert probe(name).starts(STARTS) == STARTS
    env = MetaWorldEnv("reach", render_observations=False, **disturbance)
    env.reset(seed=0)
    env.close()
