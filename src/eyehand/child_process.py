"""A child process ends when its parent does, also when the parent is killed."""

import multiprocessing
import os
import threading


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
