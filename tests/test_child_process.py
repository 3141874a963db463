"""A child does not outlive a parent that was killed."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from eyehand.child_process import end_with_parent, without_interrupt

PARENT = """
import multiprocessing, time
from eyehand.child_process import end_with_parent

def child():
    end_with_parent()
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child).start()
    time.sleep(60)
"""


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(timeout=30)


JOB = """
import os, time

def work(*_):
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
FILMS = """
from pathlib import Path
import numpy as np
from rich.progress import Progress
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.evaluation import protocol
from eyehand.evaluation.journal import actions_file
from eyehand.evaluation.results import EpisodeRecord
import job

if __name__ == "__main__":
    folder = Path(__file__).parent
    record = EpisodeRecord("", "two-ways", 0, "", True, 1, 0.1, "")
    actions_file(folder, record).parent.mkdir()
    np.save(actions_file(folder, record), np.zeros((1, 2)))
    protocol.film_episode = job.work
    config = protocol.EvalConfig(folder, suite="two-ways", workers=1)
    protocol.make_films(TWO_WAYS, [record], config, Progress())
"""
RECORDING = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from eyehand.collection.record import _start_worker
import job

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), _start_worker, (None,))
    pool.submit(job.work).result()
"""


@pytest.mark.slow
@pytest.mark.parametrize("parent", [FILMS, RECORDING], ids=["films", "recording"])
def test_no_child_of_eyehand_outlives_a_kill(parent: str, tmp_path: Path) -> None:
    """Each is in the middle of a job that takes a minute."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "parent.py").write_text(parent)
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
        child.wait(timeout=30)


def test_a_process_without_a_parent_is_told_so() -> None:
    with pytest.raises(RuntimeError, match="child process"):
        end_with_parent()


def test_children_are_started_without_ctrl_c() -> None:
    """A child has the mask of the thread that starts it."""
    with without_interrupt():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
