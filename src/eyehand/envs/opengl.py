"""An OpenGL context for MuJoCo: which library gives one on this machine, one context a thread.

Imported before mujoco, which reads ``MUJOCO_GL`` when it is loaded.
"""

import atexit
import ctypes
import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from eyehand.types import InputError

LIBRARIES = {
    "egl": ("libEGL.so.1",),
    "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6"),
    "glfw": ("libGL.so.1",),
}
"""Ways to get an OpenGL context, best first; each needs one of the system libraries beside it."""


def _loadable(backend: str) -> bool:
    for library in LIBRARIES[backend]:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _choose_backend() -> str:
    """Return a value of ``MUJOCO_GL`` to import mujoco with: one that can draw, if any."""
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked:
        return asked if asked not in LIBRARIES or _loadable(asked) else "disabled"
    usable = [name for name in LIBRARIES if _loadable(name) and (name != "glfw" or _has_display())]
    return [*usable, "disabled"][0]


_ASKED = os.environ.get("MUJOCO_GL")
# mujoco reads it when it is imported, and its own choice needs a display.
os.environ["MUJOCO_GL"] = _choose_backend()
# Draw in the calling thread: Mesa would start a thread per core in every worker.
os.environ.setdefault("LP_NUM_THREADS", "0")
# Torch's CUDA build imports triton when it first needs it. Triton and Mesa both bring LLVM: triton
# imported after Mesa has drawn ends the process (a segmentation fault), before it they get along.
with suppress(ImportError):
    import_module("triton")


class Holder(Protocol):
    """What holds memory of an OpenGL context."""

    context: Any
    """The context."""

    def close(self) -> None:
        """Free the memory."""


_thread = threading.local()
holders: weakref.WeakSet[Holder] = weakref.WeakSet()
"""Whatever must be closed before its context is freed at the end of the process."""


def gl_context() -> Any:  # mujoco has a class per platform
    """Return this thread's OpenGL context.

    All renderers of a thread share it: a new one costs 0.4 s, in which Mesa compiles its shaders.

    Raises:
        InputError: If none can be made.
    """
    if not hasattr(_thread, "context"):
        if os.environ["MUJOCO_GL"] == "disabled":
            raise InputError(
                f"no picture can be drawn: no OpenGL library was found for MUJOCO_GL={_ASKED!r}. "
                "`eyehand doctor` tries every way and says what to install."
            )
        try:
            # By MUJOCO_GL as it is now: mujoco itself chose when it was imported, maybe before
            # this module. The size does not matter: mujoco draws to buffers of its own.
            _thread.context = import_module(f"mujoco.{os.environ['MUJOCO_GL']}").GLContext(64, 64)
        except Exception as error:
            raise InputError(
                f"no picture can be drawn with MUJOCO_GL={os.environ['MUJOCO_GL']} "
                f"({type(error).__name__}: {error}). `eyehand doctor` tries every way and says "
                "what to install."
            ) from error
        # Exit handlers run last in, first out: this one before the driver's, which the context
        # has just registered and which complains if anything is still open.
        atexit.register(_close_all, _thread.context)
    return _thread.context


def _close_all(context: Any) -> None:
    if context is not getattr(_thread, "context", None):
        return  # the context of a thread that has ended, and is gone with it
    for holder in list(holders):
        if holder.context is context:
            holder.close()
    context.free()
    del _thread.context


@dataclass(frozen=True)
class Backend:
    """One way to draw, and whether it works on this machine."""

    name: str
    """What ``MUJOCO_GL`` would be."""
    works: bool
    """Whether a frame was drawn."""
    frames_per_second: float
    """Frames of 96 x 96 pixels drawn in a second; 0 where it does not work."""
    error: str
    """Why it does not work, in one line; empty where it does."""


_PROBE = """
import time
from eyehand.envs.metaworld import MetaWorldEnv
env = MetaWorldEnv("reach")
env.reset(seed=0)
assert env.render().std() > 0, "the picture is empty"
start = time.perf_counter()
for _ in range(30):
    env.render()
print(30 / (time.perf_counter() - start))
env.close()
"""


def probe_backends() -> list[Backend]:
    """Draw with every way to get an OpenGL context, each in a process of its own, best first."""
    return [_probe(name) for name in LIBRARIES]


def _probe(name: str) -> Backend:
    if not _loadable(name):
        missing = " or ".join(LIBRARIES[name])
        return Backend(
            name, works=False, frames_per_second=0.0, error=f"{missing} is not installed"
        )
    if name == "glfw" and not _has_display():
        return Backend(name, works=False, frames_per_second=0.0, error="there is no display")
    try:
        run = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "MUJOCO_GL": name},
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Backend(name, works=False, frames_per_second=0.0, error="no frame after 120 s")
    except subprocess.CalledProcessError as failure:
        lines = failure.stderr.strip().splitlines() or [f"exit code {failure.returncode}"]
        return Backend(name, works=False, frames_per_second=0.0, error=lines[-1])
    return Backend(name, works=True, frames_per_second=float(run.stdout), error="")
