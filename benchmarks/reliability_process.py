"""Commands in processes that start at once; part of `benchmarks/reliability.py`."""

import atexit
import multiprocessing.context
import multiprocessing.forkserver
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from eyehand.cli import main
from eyehand.training import loop

ORPHAN_SECONDS = 10.0
"""How long a process may live on after its parent."""
PATIENCE = 180.0
"""Longest run of a command, seconds."""


@dataclass
class Run:
    """A command that runs in a process and a session of its own."""

    pid: int
    log: Path
    began: float = field(default_factory=time.monotonic)
    code: int | None = None
    """Exit code, once it has been waited for."""

    def wait(self, seconds: float) -> int | None:
        """Return the exit code once it has ended; None if it has not after so many seconds."""
        until = time.monotonic() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= until:
                break
            else:
                time.sleep(min(0.005, max(0.0, until - time.monotonic())))
        return self.code

    def kill(self) -> None:
        """Kill the process, and it alone, at once."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(PATIENCE)

    def survivors(self, seconds: float = ORPHAN_SECONDS) -> list[str]:
        """Return the processes of the session that have not ended after so many seconds."""
        until = time.monotonic() + seconds
        while (left := session(self.pid)) and time.monotonic() < until:
            time.sleep(0.02)
        names = []
        for pid in left:
            with suppress(OSError):
                names.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[-120:])
                os.kill(pid, signal.SIGKILL)
        return names


def session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                stat = Path(entry, "stat").read_text().rpartition(") ")[2].split()
                if int(stat[3]) == leader and stat[0] != "Z":
                    found.append(int(entry.name))
    return found


_STARTED: list[int] = []
"""Every command of this process."""


def end_all() -> None:
    """End what is left of every command that this process has started."""
    for leader in _STARTED:
        for pid in session(leader):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def start(arguments: list[str], folder: Path, *, real: bool) -> Run:
    """Start a command; its temporary files go to ``folder``/temporary, its words to a log."""
    temporary, log = folder / "temporary", folder / "log.txt"
    temporary.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        _STARTED.append(pid)
        return Run(pid, log)
    code = 1
    try:
        os.setsid()
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        os.environ["TMPDIR"] = str(temporary)
        if real:
            program = "import sys; from eyehand.cli import main; sys.exit(main())"
            os.execv(sys.executable, [sys.executable, "-c", program, *arguments])
        code = _run_here(arguments)
    finally:
        os._exit(code)


def _run_here(arguments: list[str]) -> int:
    tempfile.tempdir = os.environ["TMPDIR"]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _spawn_quickly()
    loop.matrix_multiply_peak = lambda *_, **__: 1e9  # spare the second that it takes
    try:
        code = main(arguments)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return code


def _spawn_quickly() -> None:
    """Let processes that this one spawns be forks of a server that has imported everything.

    They inherit no pipe and no signal handler, as spawned ones, so a lost parent looks the same.
    """
    server = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    listener = socket.socket(socket.AF_UNIX)
    address = f"\0eyehand-reliability-{os.getpid()}"  # no name in the file system
    listener.bind(address)
    listener.listen()
    alive, held = os.pipe()
    sys.modules["__main__"] = ModuleType("__main__")  # what a worker would import once more
    server._forkserver_pid = os.fork()
    if server._forkserver_pid == 0:
        os.close(held)
        try:
            multiprocessing.forkserver.main(listener.detach(), alive, [])
        finally:
            os._exit(0)
    listener.close()
    os.close(alive)
    server._forkserver_address, server._forkserver_alive_fd = address, held
    contexts = multiprocessing.context._concrete_contexts  # type: ignore[attr-defined]
    contexts["spawn"] = contexts["forkserver"]


def said(log: Path) -> str:
    """Return the end of what a command said."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-500:]
