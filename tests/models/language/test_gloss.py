"""Chinese sentences become English words; the table covers what tasks are told in."""

import re

import pytest

from eyehand.envs.instructions import read_instructions
from eyehand.models.language.gloss import gloss


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("把抽屉拉开", "drawer pull open"),
        ("请按顺时针方向转动水龙头", {"clockwise", "faucet"}),
        ("关上窗户", {"close", "window"}),
        ("Open the drawer", "Open the drawer"),
        ("", ""),
        ("打开 the drawer", "open the drawer"),
    ],
)
def test_words_are_translated(sentence: str, words: str | set[str]) -> None:
    found = gloss(sentence)
    if isinstance(words, str):
        assert found == words
    else:
        assert words <= set(found.split())


def test_the_longest_word_that_fits_is_taken() -> None:
    assert "faucet" in gloss("水龙头")
    assert "water" not in gloss("水龙头")


def test_what_is_in_no_entry_stays() -> None:
    assert gloss("𠮷打开").startswith("𠮷")


def test_hardly_anything_of_the_instructions_is_left_untranslated() -> None:
    sentences = [
        said
        for found in read_instructions("metaworld").values()
        for said in (*found.chinese, *found.chinese_held_out)
    ]
    left = sum(len(re.findall("[一-鿿]", gloss(said))) for said in sentences)
    assert left < 0.02 * sum(map(len, sentences))
    assert all(gloss(said).split() for said in sentences)
