"""A recipe's fields are changed by their names, and what makes no run is refused."""

import pytest

from eyehand.policies.heads.registry import HEADS
from eyehand.recipes import RECIPES, find_recipe
from eyehand.runs.trial import WINDOW, Trial, choose_head, override
from eyehand.types import InputError


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", HEADS)
def test_one_word_chooses_any_head_on_any_recipe(recipe: str, name: str) -> None:
    before = find_recipe(recipe)
    after = choose_head(before, name)
    assert after.policy.head == HEADS[name]()
    assert (after.policy.history > 1) == HEADS[name].needs_history
    frames = after.batch_size * after.policy.history
    wanted = before.batch_size * before.policy.history
    assert wanted - after.policy.history < frames <= wanted
    assert after.training == before.training


def test_a_window_that_the_recipe_has_is_kept() -> None:
    run = find_recipe("roboflamingo-metaworld")
    assert choose_head(run, "gpt").policy.history == run.policy.history
    assert choose_head(find_recipe("bcz-metaworld"), "gpt").policy.history == WINDOW


def test_an_unknown_head_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"no head 'flwo'.*'flow'"):
        choose_head(find_recipe("bcz-metaworld"), "flwo")


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
