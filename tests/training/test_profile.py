import mmap
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
