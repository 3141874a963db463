"""What the machine refuses is one sentence, exit code 2; a mistake of ours keeps its traceback."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from eyehand import cli
from eyehand.cli import main
from eyehand.cli.faults import MEMORY, WORKER, fault


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@contextmanager
def small_files(largest: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FULL, "some/place: the disk is full: free some space, or name a place on another disk."),
        (OSError(errno.ENOSPC, "", "a/b.partial"), "a/b: the disk is full"),
        (OSError("4096 requested and 12 written"), "some/place: the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "your share of the disk is used up"),
        (OSError(errno.EFBIG, "File too large"), "files may not grow so large here"),
        (PermissionError(errno.EACCES, "", "a/b"), "a/b: you may not use this place"),
        (OSError(errno.EROFS, "", "a/b"), "a/b: this disk can only be read"),
        (NotADirectoryError(errno.ENOTDIR, "", "a/b"), "a/b: a part of this path is a file"),
        (IsADirectoryError(errno.EISDIR, "", "a/b"), "a/b: this is a folder and not a file"),
        (FileExistsError(errno.EEXIST, "", "a/b"), "a/b: this is a file and not a folder"),
        (FileNotFoundError(errno.ENOENT, "", "a/b"), "a/b: this is missing"),
        (OSError(errno.ENAMETOOLONG, "", "n" * 300), "nnn...: this name is too long"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
        (OSError(errno.EIO, "Input/output error", "a/b"), "a/b: the disk could not read or write"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY),
        (MemoryError(), MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ..."), MEMORY),
        (caused(RuntimeError("a worker died"), BrokenProcessPool("terminated")), WORKER),
        (caused(RuntimeError("the worker failed"), FULL), "some/place: the disk is full"),
        (
            caused(Exception("during the commit"), Exception("database or disk is full")),
            "some/place: the disk is full",
        ),
        (Exception("attempt to write a readonly database"), "this disk can only be read"),
    ],
)
def test_what_the_machine_refuses_is_a_sentence(error: Exception, said: str) -> None:
    found = fault(error, "some/place")
    assert found is not None
    assert found.count("\n") == 0
    assert said in found


@pytest.mark.parametrize(
    "error",
    [KeyError("name"), OSError("no number"), ConnectionRefusedError(errno.ECONNREFUSED, "")],
)
def test_other_errors_keep_their_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise error

    assert fault(error, "some/place") is None
    monkeypatch.setattr(cli, "import_module", fail)
    with pytest.raises(type(error)):
        main(["doctor"])


def test_what_libraries_say_of_a_full_disk_and_of_memory(tmp_path: Path) -> None:
    """As the installed versions say it: numpy, safetensors, torch."""
    said: list[str | None] = []
    with small_files(1000):
        for write in (
            lambda: np.save(tmp_path / "a.npy", np.zeros(100_000)),
            lambda: save_file({"a": torch.zeros(100_000)}, tmp_path / "b.safetensors"),
            lambda: (tmp_path / "c.txt").write_text("x" * 5000),
        ):
            with pytest.raises(Exception) as raised:  # noqa: PT011  (each library has its own)
                write()
            said.append(fault(raised.value, "place"))
    assert all(one is not None and ("disk" in one) for one in said), said
    with pytest.raises(RuntimeError) as no_memory:
        torch.empty(10**15)
    assert fault(no_memory.value, "place") == f"{MEMORY}."


@pytest.mark.parametrize(
    "words",
    [
        ["new", "head", "my-head", "--out", "out"],
        ["inspect", "lenet5", "--out", "out.html"],
    ],
)
def test_a_full_disk_is_a_sentence_with_the_name_of_the_file(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with small_files(500):
        assert main(words) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("eyehand: out")
    assert "files may not grow so large here" in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "words", [["--help"], ["doctor", "--only", "python"], ["doctor", "--help"]]
)
def test_an_output_that_cannot_be_written_is_said_at_the_exit(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "import sys, eyehand.cli as c; sys.exit(c.main())", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=os.environ,
        )  # fmt: skip
    assert done.stderr == (
        "eyehand: the output: the disk is full: free some space, or name a place on another disk.\n"
    )
    assert done.returncode == 2
