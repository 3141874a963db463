"""What a sentence that a robot is told must be, wherever it comes from."""

import unicodedata
from typing import Any

from eyehand.types import InputError

LONGEST_SENTENCE = 500
"""Characters of the longest sentence."""


def check_sentence(
    sentence: Any, name: str = "the sentence", *, longest: int = LONGEST_SENTENCE
) -> str:
    """Return a sentence as it is, once it is known that a policy can read it.

    It has a letter or a digit of any script: spaces, punctuation or emojis alone are no sentence.
    Tabs and line ends count as spaces. Other control characters, and halves of characters (lone
    surrogates, which no file or connection can hold), are refused.

    Args:
        sentence: What was given; anything may have come from a connection.
        name: What the sentence is called where it was given, such as ``--instruction``.
        longest: Greatest number of characters.

    Raises:
        InputError: If it is not a text, has no word, is too long, or has such a character.

    Example:
        >>> check_sentence("open the drawer")
        'open the drawer'
        >>> check_sentence("", "--instruction")
        Traceback (most recent call last):
        eyehand.types.errors.InputError: --instruction must have at least one word. Got ''.
    """
    if not isinstance(sentence, str):
        raise InputError(f"{name} must be a text. Got {type(sentence).__name__}.")
    if len(sentence) > longest:
        raise InputError(f"{name} must have at most {longest} characters. Got {len(sentence)}.")
    if not any(map(str.isalnum, sentence)):
        raise InputError(f"{name} must have at least one word. Got {sentence!r:.60}.")
    for place, character in enumerate(sentence, start=1):
        if character not in "\t\n\r" and unicodedata.category(character) in ("Cc", "Cs"):
            raise InputError(
                f"{name} must be text that can be printed. Got {character!r} at character {place}."
            )
    return sentence
