"""Sentences that a person or a program gives."""

import pytest

from eyehand.functional.sentence import LONGEST_SENTENCE, check_sentence
from eyehand.types import InputError


@pytest.mark.parametrize(
    "sentence",
    ["Open the drawer.", "打开抽屉", "ouvre\tle tiroir\n", "x" * LONGEST_SENTENCE, "👩‍🔧 7"],
)
def test_what_a_policy_can_read_comes_back_as_it_is(sentence: str) -> None:
    assert check_sentence(sentence) == sentence


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        (None, "the sentence must be a text. Got NoneType."),
        (["open"], "the sentence must be a text. Got list."),
        ("", "the sentence must have at least one word. Got ''."),
        (" \n ", "the sentence must have at least one word. Got ' \\n '."),
        ("?!", "the sentence must have at least one word. Got '?!'."),
        ("go " * 20_000, "the sentence must have at most 500 characters. Got 60000."),
        (
            "a \udcff",
            "the sentence must be text that can be printed. Got '\\udcff' at character 3.",
        ),
        ("\x1b[2J", "the sentence must be text that can be printed. Got '\\x1b' at character 1."),
        ("go\x00", "the sentence must be text that can be printed. Got '\\x00' at character 3."),
    ],
)
def test_what_none_can_read_is_refused_in_one_sentence(sentence: object, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        check_sentence(sentence)
    assert str(refusal.value) == said
    str(refusal.value).encode()


def test_the_name_and_the_limit_are_those_of_the_place() -> None:
    with pytest.raises(InputError, match=r"--instruction must have at most 3 characters\. Got 4\."):
        check_sentence("long", "--instruction", longest=3)
