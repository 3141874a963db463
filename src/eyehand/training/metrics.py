"""What a run says while it goes on: metrics.jsonl, a line or a bar on the terminal."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from eyehand.checksums import checked_line, read_line
from eyehand.files import replacing
from eyehand.training.profile import OtherPrograms, resident_memory, thread_advice
from eyehand.types import InputError

_LOGGER = logging.getLogger(__name__)
SMOOTHING = 0.98
"""Weight of the past in the loss on the terminal, a step."""
LINE_SECONDS = 10.0
"""Between two lines where the output is not a terminal."""
BAR_SECONDS = 0.5
"""Between two pictures of the bar."""


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line with its checksum, one line a step that is logged.

    Lines after ``step``, where the run goes on, are dropped at first: it makes them again. A last
    line that a kill has cut is dropped too. If lines up to ``logged``, the latest one that the run
    remembers, are missing, a warning says so: the weights are whole without them.

    Raises:
        InputError: If another line is damaged, or lines are not in the order of steps; then the
            file is left as it is.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> MetricsFile(folder, step=0).add(1, {"loss": 0.5})
        >>> MetricsFile(folder, step=1).add(2, {"loss": 0.25})
        >>> print((folder / "metrics.jsonl").read_text())
        {"step": 1, "loss": 0.5, "checksum": "crc32:d1e5cb36"}
        {"step": 2, "loss": 0.25, "checksum": "crc32:cbd33a46"}
        <BLANKLINE>
    """

    def __init__(self, folder: Path, *, step: int, logged: int | None = None) -> None:
        self.path = folder / "metrics.jsonl"
        lines = self.path.read_bytes().splitlines(True) if self.path.exists() else []
        kept, latest, last, protected = list[bytes](), 0, 0, False
        for number, line in enumerate(lines, start=1):
            found, checked = _step_of(line)
            # Lines of the version before have no checksum; they come first.
            if found <= latest or (protected and not checked):
                if number == len(lines) and not line.endswith(b"\n"):
                    _LOGGER.warning("the last line of %s was cut and is left out.", self.path)
                    break
                raise InputError(
                    f"line {number} of {self.path} is damaged, or the one before it: correct or "
                    "remove it, then --resume; the weights are whole."
                )
            latest, protected = found, checked
            if found <= step:
                kept.append(line)
                last = found
        if logged is not None and last < logged:
            _LOGGER.warning(
                "%s has lost its lines after step %d up to %d.", self.path, last, logged
            )
        with replacing(self.path) as beside:
            beside.write_bytes(b"".join(kept))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append the line of ``step``."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(checked_line({"step": step, **values}))


def _step_of(line: bytes) -> tuple[int, bool]:
    """Return the step of a line, or -1 if it is damaged, and whether it has a checksum."""
    try:
        entry, checked = read_line(line)
    except ValueError:
        return -1, False
    found = entry.get("step")
    return found if isinstance(found, int) and line.endswith(b"\n") else -1, checked


class Display:
    """The state of a run on the terminal: a bar there, elsewhere a line every ten seconds.

    Args:
        console: Where to.
        limit: What stands after the step: "/5,000", or "" where time is the limit.
        progress: Share of the run that is done already, in [0, 1].
        peak: Floating-point operations per second that all processes together can do.
        others: Tells how busy the machine is otherwise; where it is crowded, a line says so.
    """

    def __init__(
        self,
        console: Console,
        *,
        limit: str,
        progress: float,
        peak: float,
        others: OtherPrograms | None = None,
    ) -> None:
        self.console = console
        self.limit = limit
        self.progress = progress
        self.peak = peak
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            console=console,
            auto_refresh=False,
        )
        self.task = self.bar.add_task("training", total=1.0)
        self.interval = BAR_SECONDS if console.is_terminal else LINE_SECONDS
        self.others = others
        self.advice = ""
        self.shown = self.began = self.asked = perf_counter()
        self.samples = 0
        self.loss = 0.0
        self.weight = 0.0

    def __enter__(self) -> "Display":
        """Begin to draw."""
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the terminal."""
        if self.console.is_terminal:
            self.bar.stop()

    def update(
        self,
        *,
        step: int,
        progress: float,
        loss: float,
        samples: int,
        flops_per_sample: float,
    ) -> None:
        """Take in one step; draw when it is time to, and at the end.

        Progress is in [0, 1]. Loss and samples are those of the step, the samples of all processes;
        the floating-point operations of a sample are those forward and backward.
        """
        self.loss = SMOOTHING * self.loss + (1 - SMOOTHING) * loss
        self.weight = SMOOTHING * self.weight + (1 - SMOOTHING)
        self.samples += samples
        now = perf_counter()
        if progress < 1 and now - self.shown < self.interval:
            return
        rate = self.samples / (now - self.shown)
        text = (
            f"step {step:,}{self.limit}  loss {self.loss / self.weight:.4g}  {rate:,.0f} samples/s"
        )
        text += f"  MFU {rate * flops_per_sample / self.peak:.0%}"
        text += f"  {resident_memory() / 1e9:.2f} GB  {self._left(progress, now)} left"
        self.shown, self.samples = now, 0
        if self.console.is_terminal:
            self.bar.update(self.task, description=text, completed=progress, refresh=True)
        else:
            self.console.print(text, highlight=False, soft_wrap=True)
        if self.others is not None and now - self.asked >= LINE_SECONDS:
            self.asked = now
            self._say_when_crowded(self.others.share())

    def _say_when_crowded(self, share: float) -> None:
        """Print the advice when the machine gets crowded, not again while it stays so."""
        before = self.advice
        cores = os.cpu_count() or 1
        self.advice = thread_advice(share, threads=torch.get_num_threads(), cores=cores)
        if self.advice and not before:
            self.console.print(self.advice, highlight=False, soft_wrap=True)

    def _left(self, progress: float, now: float) -> str:
        seconds = (1 - progress) * (now - self.began) / max(progress - self.progress, 1e-9)
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
