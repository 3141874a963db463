"""Names and paths of a data set: no name is a path, and no path leaves the data set's folder.

A data set of somebody else decides what its features are called and where its files lie; both end
in names of files that are read, written and deleted here. So every name is checked once, where it
is read, and every path is followed through its links before a file is touched.
"""

import re
from pathlib import Path

from eyehand.types import InputError

LONGEST_NAME = 200
"""Bytes of a feature's name, which becomes a folder's; file systems take 255."""
_FIELDS = {
    "chunk_index": r"\{chunk_index(?::0\dd)?\}",
    "file_index": r"\{file_index(?::0\dd)?\}",
    "video_key": r"\{video_key\}",
}
_LONGEST_TEMPLATE = 1000


def check_name(name: str, kind: str, folder: Path) -> None:
    r"""Refuse a name that could be taken for a path, or that no file can have.

    A name has 1 to ``LONGEST_NAME`` bytes of printable characters, neither ``/`` nor ``\``, and
    does not begin with a dot. Dots further on are usual.

    Args:
        name: The name.
        kind: What bears it, for the sentence.
        folder: The data set's folder, for the sentence.

    Raises:
        InputError: If it is none.

    Example:
        >>> check_name("observation.images.top", "feature", Path("set"))
    """
    good = name.isprintable() and not set(name) & {"/", "\\"} and not name.startswith(".")
    if not good or not 0 < len(name.encode()) <= LONGEST_NAME:
        raise InputError(
            f"{kind} {name!r:.{LONGEST_NAME}} of {folder} has no name that a file can have: 1 to "
            f"{LONGEST_NAME} bytes without '/', '\\' and line breaks, and no dot at the beginning. "
            "Rename it."
        )


def check_template(template: object, fields: tuple[str, ...], name: str, path: Path) -> str:
    """Return a template of paths after checking that it is one.

    It is text with fields such as ``{chunk_index:03d}``, the width in one digit; nothing else that
    Python's format language knows.

    Args:
        template: What the file says.
        fields: The fields that it may have.
        name: Its name there.
        path: The file.

    Raises:
        InputError: If it is none.

    Example:
        >>> check_template("data/{file_index:03d}", ("file_index",), "data_path", Path("info.json"))
        'data/{file_index:03d}'
    """
    form = "|".join([r"[^{}\x00-\x1f\\]", *(_FIELDS[field] for field in fields)])
    is_short = isinstance(template, str) and len(template) <= _LONGEST_TEMPLATE
    if not is_short or not re.fullmatch(f"(?:{form})+", str(template)):
        shown = f"{template!r:.100}" if isinstance(template, str) else type(template).__name__
        raise InputError(
            f"{name} of {path} must be a path with the fields "
            f"{', '.join(f'{{{field}}}' for field in fields)}, numbers perhaps as in "
            f"{{file_index:03d}}. Got {shown}."
        )
    return str(template)


def inside(folder: Path, path: str | Path) -> Path:
    """Return ``folder / path`` after checking that it lies in the folder, through all its links.

    The folder itself may be reached through a link.

    Raises:
        InputError: If it leaves the folder.

    Example:
        >>> inside(Path("set"), "meta/info.json")
        PosixPath('set/meta/info.json')
    """
    whole = folder / path
    try:
        is_inside = whole.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, no name of a file
        is_inside = False
    if not is_inside:
        raise InputError(
            f"{str(path)!r:.300} leads out of the data set {folder}: every file of a data set lies "
            "in its folder. Copy what a link points to into it."
        )
    return whole
