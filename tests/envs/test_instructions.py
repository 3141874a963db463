"""The sentences of every task: complete, distinct, and short enough for speech."""

import re
from collections import Counter

import pytest

from eyehand.envs.instructions import Instructions, read_instructions

TABLE = read_instructions("metaworld")


def words(sentence: str) -> tuple[str, ...]:
    """The words in lower case: what is left when case and punctuation do not count."""
    return tuple(re.findall(r"[a-z0-9'-]+", sentence.lower()))


def sentences(found: Instructions) -> tuple[str, ...]:
    return (found.canonical, *found.training, *found.held_out)


def test_a_task_has_one_canonical_nine_training_and_three_held_out_sentences() -> None:
    assert len(TABLE) == 50
    for task, found in TABLE.items():
        assert found.canonical, task
        assert (len(found.training), len(found.held_out)) == (9, 3), task


def test_sentences_are_short_and_plain() -> None:
    for found in TABLE.values():
        for sentence in sentences(found):
            assert 3 <= len(words(sentence)) <= 14, sentence
            assert re.fullmatch(r"[A-Z][A-Za-z0-9 ,'-]*[a-z0-9]", sentence), sentence
            assert "  " not in sentence, sentence


def test_no_sentence_is_said_twice() -> None:
    count = Counter(words(sentence) for found in TABLE.values() for sentence in sentences(found))
    assert [" ".join(said) for said, times in count.items() if times > 1] == []
    assert len(count) == 50 * 13


def test_a_held_out_sentence_is_no_reshuffled_training_sentence() -> None:
    for found in TABLE.values():
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
    assert TABLE[task].canonical == canonical


def test_push_back_has_a_sentence_of_its_own() -> None:
    assert TABLE["push-back"].canonical != TABLE["push"].canonical
    assert "back towards the robot" in TABLE["push-back"].canonical


def test_every_task_is_told_in_chinese_too() -> None:
    count = Counter[str]()
    for task, found in TABLE.items():
        assert (len(found.chinese), len(found.chinese_held_out)) == (9, 3), task
        count.update((*found.chinese, *found.chinese_held_out))
    assert [said for said, times in count.items() if times > 1] == []
    assert all(re.fullmatch(r"[\u4e00-\u9fff\uff0c]{3,30}", said) for said in count)
