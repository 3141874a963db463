import mmap
import time
from pathlib import Path

import numpy as np
import pytest

from eyehand.training import profile


def test_peak_is_of_a_machine_and_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "SIZE", 256)
    profile.matrix_multiply_peak.cache_clear()
    peak = profile.matrix_multiply_peak("fp32")
    assert 1e8 < peak < 1e16
    assert profile.matrix_multiply_peak("fp32") == peak
    profile.matrix_multiply_peak.cache_clear()


def test_bandwidth_is_bytes_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "COPIED_BYTES", 4_000_000)
    monkeypatch.setattr(profile, "fastest", lambda run: run() is not None and 0.5)
    profile.memory_bandwidth.cache_clear()
    assert profile.memory_bandwidth() == 16_000_000
    profile.memory_bandwidth.cache_clear()


def test_the_fastest_run_counts() -> None:
    waits = iter([0.05, 0.01, 0.5])
    assert 0.01 <= profile.fastest(lambda: time.sleep(next(waits))) < 0.05


def test_memory_counts_what_is_held_but_not_mapped_files(tmp_path: Path) -> None:
    size = 64_000_000
    path = tmp_path / "frames"
    path.write_bytes(bytes(size))
    before = profile.resident_memory()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert np.frombuffer(mapped, np.uint8).sum() == 0  # reads every page
        assert profile.resident_memory() - before < size / 4
    # From the system itself: malloc may hand out pages that the process held already.
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(b"1" * size)
        assert profile.resident_memory() - before > size * 3 / 4


def test_what_other_programs_use_is_all_but_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """On 2 cores for 10 seconds: all programs 15 seconds of work, this one 5 of them."""
    readings = iter([(0.0, 100.0, 7.0), (10.0, 115.0, 12.0)])
    monkeypatch.setattr(profile.OtherPrograms, "_read", staticmethod(lambda: next(readings)))
    monkeypatch.setattr(profile.psutil, "cpu_count", lambda: 2)
    assert profile.OtherPrograms().share() == 0.5


@pytest.mark.parametrize(
    ("share", "threads", "cores", "wanted"),
    [(0.2, 2, 2, None), (0.48, 2, 2, 1), (0.5, 1, 2, None), (0.5, 4, 8, None), (0.3, 8, 8, 5)],
)
def test_fewer_threads_where_others_take_their_cores(
    share: float, threads: int, cores: int, wanted: int | None
) -> None:
    advice = profile.thread_advice(share, threads=threads, cores=cores)
    assert (f"--threads {wanted} would be faster" in advice) if wanted else advice == ""
