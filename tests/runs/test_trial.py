"""A recipe's fields are changed by their names, and what makes no run is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eyehand.policies.frame_policy import WINDOW
from eyehand.policies.heads.registry import HEADS
from eyehand.policies.normalization import blank_statistics
from eyehand.policies.registry import build_policy, load_policy, save_policy
from eyehand.recipes import find_recipe
from eyehand.runs.trial import (
    PARTS,
    Trial,
    _acting_as,
    acting_part,
    choose_parts,
    override,
    training_part,
)
from eyehand.types import InputError


@pytest.mark.parametrize("recipe", ["bcz-metaworld", "roboflamingo-metaworld"])
@pytest.mark.parametrize("name", HEADS)
def test_one_word_chooses_any_head_on_any_recipe(recipe: str, name: str) -> None:
    before = find_recipe(recipe)
    after = choose_parts(before, {"policy.head": name})
    assert after.policy.head == HEADS[name]()
    assert (after.policy.history > 1) == HEADS[name].needs_history
    frames = after.batch_size * after.policy.history
    wanted = before.batch_size * before.policy.history
    assert wanted - after.policy.history < frames <= wanted
    assert after.training == before.training


def test_a_window_that_the_recipe_has_is_kept() -> None:
    run = find_recipe("roboflamingo-metaworld")
    run = replace(run, policy=replace(run.policy, history=5))
    assert choose_parts(run, {"policy.head": "gpt"}).policy.history == run.policy.history
    assert (
        choose_parts(find_recipe("bcz-metaworld"), {"policy.head": "gpt"}).policy.history == WINDOW
    )


def test_a_batch_keeps_its_frames_in_shorter_windows() -> None:
    trial = Trial(find_recipe("bcz-metaworld"))
    frames = trial.run.batch_size * trial.run.policy.history
    for length in ("6", "12"):
        run = override(trial, {"policy.head": "lstm", "policy.history": length}).run
        assert run.batch_size == frames // int(length)
    named = {"policy.head": "lstm", "policy.history": "6", "batch-size": "3"}
    assert override(trial, named).run.batch_size == 3


def test_an_unknown_head_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"no head 'flwo'.*'flow'"):
        choose_parts(find_recipe("bcz-metaworld"), {"policy.head": "flwo"})


def test_fields_are_changed_wherever_they_are() -> None:
    base = Trial(find_recipe("bcz-metaworld"))
    changed = override(
        base,
        {
            "policy.head.steps": "3",
            "policy.head": "diffusion",
            "policy.horizon": "8",
            "training.learning-rate": "3e-4",
            "batch-size": "32",
            "execution.steps": "1",
            "execution.temporal-ensembling": "0.01",
        },
    )
    assert (changed.run.policy.head.name, changed.run.policy.head.steps) == ("diffusion", 3)
    assert (changed.run.policy.horizon, changed.run.batch_size) == (8, 32)
    assert changed.run.training.learning_rate == 3e-4
    assert (changed.execution.steps, changed.execution.temporal_ensembling) == (1, 0.01)
    assert override(base, {}) == base


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy.horizn": "3"}, "policy.horizon"),
        ({"policy.horizon": "many"}, "policy.horizon"),
        ({"policy.head": "mlp", "policy.head.steps": "3"}, "policy.head.steps"),
    ],
)
def test_what_is_no_field_or_value_ends_with_code_2(
    changes: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        override(Trial(find_recipe("bcz-metaworld")), changes)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_a_head_with_memory_on_single_frames_is_refused() -> None:
    changes = {"policy.head": "lstm", "policy.history": "1"}
    with pytest.raises(InputError, match="'lstm' reads a history of frames"):
        override(Trial(find_recipe("bcz-metaworld")), changes)


def test_fields_of_acting_are_those_that_policies_say() -> None:
    assert "policy.head" in PARTS
    changes = {"policy.head": "flow", "policy.head.steps": "5", "execution.steps": "1"}
    assert training_part(changes) == {"policy.head": "flow"}
    assert acting_part(changes) == {"policy.head.steps": "5", "execution.steps": "1"}


def test_a_checkpoint_acts_in_other_steps_with_the_same_weights(tmp_path: Path) -> None:
    """What was read off the data stays; of the run only the fields of acting count."""
    run = choose_parts(find_recipe("bcz-metaworld"), {"policy.head": "flow"})
    trained = run.policy.for_data(cameras=("left",), state_dim=7, action_dim=4, landmarks=2)
    save_policy(
        build_policy(trained, statistics=blank_statistics(state_dim=7, action_dim=4)), tmp_path
    )
    changed = override(Trial(run), {"policy.head.steps": "3"}).run
    folder = _acting_as(tmp_path, changed)
    assert folder.name == "policy,head.steps=3"
    policy = load_policy(folder)
    assert policy.config == replace(trained, head=replace(trained.head, steps=3))
    weights = load_policy(tmp_path).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in policy.state_dict().items())
