"""A child does not outlive a parent that was killed."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from eyehand.child_process import end_with_parent

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


def test_a_process_without_a_parent_is_told_so() -> None:
    with pytest.raises(RuntimeError, match="child process"):
        end_with_parent()
