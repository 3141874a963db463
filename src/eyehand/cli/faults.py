"""What a machine can refuse: a full disk, a closed folder, memory; one sentence each.

Libraries say it in many ways: as an OSError with or without the file's name, as an error of their
own with the reason in its text, or as the cause of another error.
"""

import errno
import re
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

REASONS = {
    errno.ENOSPC: "the disk is full: free some space, or name a place on another disk",
    errno.EDQUOT: "your share of the disk is used up: free some space, or name another disk",
    errno.EFBIG: "files may not grow so large here: raise `ulimit -f`, or name another disk",
    errno.EROFS: "this disk can only be read: name another place",
    errno.EACCES: "you may not use this place: name another, or change its permissions",
    errno.EPERM: "you may not use this place: name another, or change its permissions",
    errno.ENOTDIR: "a part of this path is a file and not a folder: name another place",
    errno.EISDIR: "this is a folder and not a file: name a file",
    errno.EEXIST: "this is a file and not a folder: name another place",
    errno.ENOENT: "this is missing: name what exists, or restore it",
    errno.ELOOP: "links lead in a circle here: name another place",
    errno.ENAMETOOLONG: "this name is too long: choose a shorter one",
    errno.EMFILE: "too many files are open: raise `ulimit -n`, or take fewer --workers",
    errno.ENFILE: "too many files are open on this machine: end other programs",
    errno.EIO: "the disk could not read or write this: check the disk",
}
"""What an operating system can answer, and the way out."""
MEMORY = "the memory is used up: choose smaller sizes or fewer --workers, or end other programs"
WORKER = (
    "a worker process ended before its work was done, as when memory or disk run out: free some or "
    "take fewer --workers, then run the same command again"
)
_TEXTS = (
    (r"No space left on device|disk is full|\d+ requested and \d+ written", REASONS[errno.ENOSPC]),
    (r"Disk quota exceeded", REASONS[errno.EDQUOT]),
    (r"File too large", REASONS[errno.EFBIG]),
    (r"readonly database|Read-only file system", REASONS[errno.EROFS]),
    (r"unable to open database file", REASONS[errno.EACCES]),
    (r"can't allocate memory|Cannot allocate memory|out of memory", MEMORY),
)
"""How libraries say it in the text of their own errors, and what that is."""


def fault(error: BaseException, place: str) -> str | None:
    """Return the sentence for an error that the machine caused, or None for any other error.

    Args:
        error: What was raised.
        place: Where the command writes, for errors that do not name a file.

    Example:
        >>> fault(OSError(errno.ENOSPC, "No space left on device"), "outputs/data")
        'outputs/data: the disk is full: free some space, or name a place on another disk.'
        >>> fault(KeyError("a mistake of ours"), "outputs/data")
    """
    for one in _causes(error):
        if isinstance(one, MemoryError):
            return f"{MEMORY}."
        if isinstance(one, BrokenProcessPool):
            return f"{WORKER}."
        if isinstance(one, OSError):
            if one.errno == errno.ENOMEM:
                return f"{MEMORY}."
            if reason := REASONS.get(one.errno or 0):
                named = str(one.filename or place).removesuffix(".partial")
                return f"{named if len(named) < 200 else f'{named[:200]}...'}: {reason}."
        for pattern, reason in _TEXTS:
            if re.search(pattern, str(one)):
                return f"{reason}." if reason == MEMORY else f"{place}: {reason}."
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__
