"""What memory there is, of the machine or of a control group; what does not fit is refused."""

from pathlib import Path

import psutil
import pytest

from eyehand import available_memory as module
from eyehand.available_memory import available_memory, check_memory, check_workers
from eyehand.types import InputError


@pytest.mark.parametrize(
    ("folder", "limit", "usage"),
    [
        ("", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_a_control_group_limits_what_there_is(
    folder: str, limit: str, usage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are kept in memory count as free."""
    monkeypatch.setattr(module, "_GROUPS", tmp_path)
    before = available_memory()
    assert before == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    group = tmp_path / folder
    group.mkdir(exist_ok=True)
    (group / limit).write_text("1000\n")
    (group / usage).write_text("900\n")
    (group / "memory.stat").write_text("anon 500\ninactive_file 250\nactive_file 50\n")
    assert available_memory() == 400
    (group / limit).write_text("max\n")
    assert available_memory() > 1_000_000


def test_what_does_not_fit_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 3_000_000_000)
    check_memory(3_000_000_000, "--batch-size 3")
    with pytest.raises(InputError, match=r"--batch-size 4 needs 4.0 GB of memory, and 3.0 GB are"):
        check_memory(4e9, "--batch-size 4")
    check_workers(15)
    with pytest.raises(InputError, match=r"--workers 16 needs 3.2 GB"):
        check_workers(16)
    check_workers(16, elsewhere=True)
    with pytest.raises(InputError, match="--workers must be at least 1; got 0"):
        check_workers(0, elsewhere=True)
