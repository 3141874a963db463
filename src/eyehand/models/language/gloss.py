"""Chinese sentences for English language models: translated word for word, by a table of ours.

``chinese_words.toml`` beside this file holds words and phrases with their English glosses. The
longest word that fits is taken first, from left to right, so the order stays Chinese; a model that
reads what words there are understands it nevertheless. What is in no entry is left as it is.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_CHINESE = re.compile("[\u3400-\u9fff]+")


def gloss(sentence: str) -> str:
    """Return a sentence with its Chinese words in English; one without any is returned as it is.

    Example:
        >>> gloss("把抽屉拉开")
        'drawer pull open'
        >>> gloss("Open a drawer")
        'Open a drawer'
    """
    if not _CHINESE.search(sentence):
        return sentence
    return " ".join(_CHINESE.sub(lambda run: f" {_translated(run[0])} ", sentence).split())


def _translated(run: str) -> str:
    table, longest = _words()
    parts, place = list[str](), 0
    while place < len(run):
        piece = run[place : place + longest]
        while len(piece) > 1 and piece not in table:
            piece = piece[:-1]
        parts.append(table.get(piece, piece))
        place += len(piece)
    return " ".join(parts)


@cache
def _words() -> tuple[Mapping[str, str], int]:
    file = files("eyehand.models.language").joinpath("chinese_words.toml")
    table = tomllib.loads(file.read_text(encoding="utf-8"))["words"]
    return table, max(map(len, table))
