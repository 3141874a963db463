"""The sentences of instructions.toml: complete, distinct, and short enough for speech."""

import re
from collections import Counter

import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from eyehand.envs.instructions import instructions
from eyehand.types import InputError

TASKS = tuple(sorted(name.removesuffix("-v3") for name in ALL_V3_ENVIRONMENTS))


def words(sentence: str) -> tuple[str, ...]:
    """The words in lower case: what is left when case and punctuation do not count."""
    return tuple(re.findall(r"[a-z0-9'-]+", sentence.lower()))


def sentences(task: str) -> tuple[str, ...]:
    found = instructions(task)
    return (found.canonical, *found.training, *found.held_out)


def test_meta_world_has_fifty_tasks() -> None:
    assert len(TASKS) == 50


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_one_canonical_nine_training_and_three_held_out_sentences(task: str) -> None:
    found = instructions(task)
    assert found.canonical
    assert (len(found.training), len(found.held_out)) == (9, 3)


@pytest.mark.parametrize("task", TASKS)
def test_sentences_are_short_and_plain(task: str) -> None:
    for sentence in sentences(task):
        assert 3 <= len(words(sentence)) <= 14, sentence
        assert re.fullmatch(r"[A-Z][A-Za-z0-9 ,'-]*[a-z0-9]", sentence), sentence
        assert "  " not in sentence, sentence


def test_no_sentence_is_said_twice() -> None:
    count = Counter(words(sentence) for task in TASKS for sentence in sentences(task))
    assert [" ".join(said) for said, times in count.items() if times > 1] == []
    assert len(count) == 50 * 13


@pytest.mark.parametrize("task", TASKS)
def test_a_held_out_sentence_is_no_reshuffled_training_sentence(task: str) -> None:
    found = instructions(task)
    seen = {frozenset(words(sentence)) for sentence in (found.canonical, *found.training)}
    assert [said for said in found.held_out if frozenset(words(said)) in seen] == []


@pytest.mark.parametrize(
    ("task", "canonical"),
    [  # a sample of LeRobot's sentences: renaming one would part us from its data sets
        ("drawer-open", "Open a drawer"),
        ("push", "Push the puck to a goal"),
        ("door-unlock", "Unlock the door by rotating the lock counter-clockwise"),
        ("stick-pull", "Grasp a stick and pull a box with the stick"),
    ],
)
def test_canonical_sentences_are_the_published_ones(task: str, canonical: str) -> None:
    assert instructions(task).canonical == canonical


def test_push_back_has_a_sentence_of_its_own() -> None:
    assert instructions("push-back").canonical != instructions("push").canonical
    assert "back towards the robot" in instructions("push-back").canonical


def test_an_unknown_task_gets_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"drawer-opne.*drawer-open"):
        instructions("drawer-opne")
