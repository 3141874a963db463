"""How files are replaced, where derived files are cached, and what made them: each said once.

A file or folder is written beside its place, flushed to the disk and then renamed: after a kill at
any moment there is the old one or the new one, whole. What a killed process leaves behind ends in
``.partial``; the next write of the same file takes its name over.
"""

import errno
import fcntl
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from eyehand.types import InputError

PARTIAL = ".partial"
"""Ending of what is not whole yet."""
LOCK = ".lock"
"""The file that a process holds while it works in a folder."""
PACKAGES = ("eyehand", "torch", "numpy")
"""Packages whose version every figure can depend on."""


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a place beside ``path`` to write to; on success that becomes ``path``.

    A file replaces what is there. A folder is made by the caller and needs ``path`` to be free or
    an empty folder. Where the block raises, ``path`` is as it was and the unfinished part is gone.

    Args:
        path: What is replaced; its folder exists.
        shared: Other processes may write the same file at the same time: each has its own place.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(path) as beside:
        ...     _ = beside.write_text("new")
        >>> path.read_text(), [file.name for file in path.parent.iterdir()]
        ('new', ['notes.txt'])
    """
    beside = path.with_name(f"{path.name}{f'.{os.getpid()}' if shared else ''}{PARTIAL}")
    remove(beside)
    try:
        yield beside
        flush(beside)
        os.replace(beside, path)
        flush(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say which file it refused
        remove(beside)
        raise


def replace_text(path: Path, text: str) -> None:
    """Replace the content of a text file, UTF-8."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def check_place(path: Path, *, folder: bool = False) -> None:
    """Find out, before work begins, whether a file or a folder can be written; nothing is made.

    Args:
        path: Where it is to be.
        folder: It is a folder.

    Raises:
        OSError: If its name is too long, its path leads through a file, there is something of the
            other kind, or its folder may not be written; with the name of what is in the way.
    """
    try:
        found = path.stat().st_mode
    except FileNotFoundError:
        above = next(one for one in path.absolute().parents if one.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            raise _os_error(errno.EACCES, above) from None
        return
    if stat.S_ISDIR(found) != folder:
        raise _os_error(errno.EEXIST if folder else errno.EISDIR, path)
    if not os.access(path, os.W_OK):
        raise _os_error(errno.EACCES, path)


def _os_error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder for this process; the kernel lets go of it when the process ends in any way.

    Args:
        folder: Exists; the lock is the file ``.lock`` in it, which stays there.
        doing: What is done there, for the sentence that another process prints, such as "trains".

    Raises:
        InputError: If another process holds it.
    """
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InputError(
                f"another process{lock.read(80)} in {folder}: wait for it, or name another folder."
            ) from None
        lock.truncate(0)
        lock.write(f" ({os.getpid()}) {doing}")
        lock.flush()
        yield


def flush(path: Path) -> None:
    """Wait until the disk holds ``path``: a file, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return the folder of derived files: ``EYEHAND_CACHE``, or eyehand's in the user's cache.

    The user's cache is ``XDG_CACHE_HOME``, or ``~/.cache``.
    """
    if named := os.environ.get("EYEHAND_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eyehand"


def software_versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Return the versions of what a figure can depend on, with those of more ``packages``.

    Example:
        >>> sorted(software_versions(["mujoco"]))
        ['eyehand', 'mujoco', 'numpy', 'python', 'torch']
    """
    names = (*PACKAGES, *packages)
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def source_commit() -> str:
    """Return the commit of this source, with ``-dirty`` after local changes; empty if unknown."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository: that commit is not ours.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return ""
