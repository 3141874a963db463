import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from eyehand.training import metrics
from eyehand.training.metrics import Display, MetricsFile
from eyehand.training.profile import OtherPrograms
from eyehand.types import InputError


def steps(folder: Path) -> list[int]:
    return [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def test_lines_after_the_resumed_step_and_cut_lines_are_dropped(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, step=0)
    for step in (10, 20, 30):
        file.add(step, {"loss": 1.0})
    with file.path.open("a") as cut:
        cut.write('{"step": 40, "lo')
    MetricsFile(tmp_path, step=20).add(30, {"loss": 0.5})
    assert steps(tmp_path) == [10, 20, 30]
    assert "0.5" in file.path.read_text()


def lines_of(*steps: int) -> list[bytes]:
    return [b'{"step": %d, "loss": 1.0}\n' % step for step in steps]


@pytest.mark.parametrize(
    ("number", "damaged"),
    [
        (2, b"\n"),
        (2, b"\xff\xfe\n"),
        (2, b"[2]\n"),
        (2, b"3\n"),
        (2, b'{"stop": 20}\n'),
        (2, b'{"step": "20"}\n'),
        (2, b'{"step": 5}\n'),
        (3, b'{"step": 20, "lo'),  # the steps 20 and 30 in one line
        (4, b'{"step": 40, "lo\n'),
    ],
)
def test_another_damaged_line_is_one_sentence_and_the_file_is_left(
    tmp_path: Path, number: int, damaged: bytes
) -> None:
    lines = lines_of(10, 20, 30, 40)
    lines[number - 1] = damaged
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(
        InputError, match=rf"line {number} of .*metrics\.jsonl is damaged, .*resume"
    ):
        MetricsFile(tmp_path, step=30)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(lines)


def test_no_flipped_bit_of_a_line_passes(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, step=0)
    for step in (10, 20, 30):
        file.add(step, {"loss": 1.0})
    whole = file.path.read_bytes()
    place = len(whole.splitlines(keepends=True)[0])
    for number in range(place, 2 * place - 1):  # all of the second line but its end
        damaged = bytearray(whole)
        damaged[number] ^= 1
        file.path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"line 2 .*is damaged"):
            MetricsFile(tmp_path, step=30)


@pytest.mark.parametrize("cut", [b'{"step": 40', b'{"step": 40}', b"\0\0\0"])
def test_a_last_line_that_a_kill_cut_is_dropped_with_a_word(
    tmp_path: Path, cut: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines_of(10, 20, 30)) + cut)
    MetricsFile(tmp_path, step=40)
    assert steps(tmp_path) == [10, 20, 30]
    assert "was cut" in caplog.text


def test_lines_that_are_missing_at_the_end_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cut between two lines leaves whole lines: only the run remembers that there were more."""
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines_of(10, 20)))
    MetricsFile(tmp_path, step=35, logged=20)
    assert caplog.text == ""
    MetricsFile(tmp_path, step=35, logged=30)
    assert "has lost its lines after step 20 up to 30" in caplog.text
    caplog.clear()
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines_of(10, 20, 40)))  # 40 is made again
    MetricsFile(tmp_path, step=35, logged=30)
    assert "after step 20 up to 30" in caplog.text
    assert steps(tmp_path) == [10, 20]


def show(console: Console, count: int) -> None:
    with Display(console, limit="/10", progress=0.0, peak=1e9) as display:
        for step in range(1, count + 1):
            display.update(
                step=step, progress=step / 10, loss=2.0, samples=8, flops_per_sample=100.0
            )


def test_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(second) for second in range(1000))
    monkeypatch.setattr(metrics, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(metrics, "LINE_SECONDS", 4.0)
    text = io.StringIO()
    show(Console(file=text, width=20), 9)
    lines = text.getvalue().splitlines()
    assert len(lines) == 2, "one line every four seconds, never wrapped"
    assert lines[0].startswith("step 4/10  loss 2  8 samples/s  MFU 0%  ")
    assert lines[0].endswith("GB  0:00:06 left")


def test_the_last_step_is_always_shown() -> None:
    text = io.StringIO()
    show(Console(file=text, width=200), 10)
    assert [line.split("  ")[0] for line in text.getvalue().splitlines()] == ["step 10/10"]


def test_a_bar_on_a_terminal() -> None:
    text = io.StringIO()
    show(Console(file=text, width=100, force_terminal=True), 10)
    assert "step 10/10  loss 2" in text.getvalue()
    assert "━" in text.getvalue()


def test_a_crowded_machine_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(10 * second) for second in range(1000))
    monkeypatch.setattr(metrics, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(metrics.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(metrics.torch, "get_num_threads", lambda: 2)
    text = io.StringIO()
    others = OtherPrograms()
    monkeypatch.setattr(others, "share", lambda: 0.48)
    console = Console(file=text, width=200)
    with Display(console, limit="", progress=0.0, peak=1e9, others=others) as display:
        for step in range(1, 5):
            display.update(step=step, progress=0.1, loss=2.0, samples=8, flops_per_sample=1.0)
    assert text.getvalue().count("other programs use 48 % of this machine: --threads 1") == 1
