"""A child process ends when its parent does, in any way, and leaves Ctrl-C to the parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


def end_with_parent() -> None:
    """Let this process, a child made by `multiprocessing`, end as soon as its parent has ended.

    A parent that is killed by SIGKILL cannot end its children, so every child looks after itself: a
    thread waits for the parent's end. Call it first in the function that the process runs; in a
    pool, as the initializer.

    Raises:
        RuntimeError: If this process has no parent of `multiprocessing`.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("only a child process made by multiprocessing can end with its parent.")

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="follow parent", daemon=True).start()


@contextmanager
def without_interrupt() -> Iterator[None]:
    """Let processes that start in this block never hear Ctrl-C, which a terminal sends to all.

    The parent alone handles it and ends them; otherwise each would print a traceback.
    """
    resource_tracker.ensure_running()  # the first start would do this, and let signals in again
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
