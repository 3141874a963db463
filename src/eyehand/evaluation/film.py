"""Films: an episode is replayed and drawn with its sentence, its step and a plot of its actions.

Simulators are deterministic, so a start and the executed actions give the episode again. It is
measured with small pictures, and only the episodes that are to be shown are filmed with large
ones. The films of a report are drawn by the fast renderer, a single film with shadows and all
details, which takes ten times as long (7 instead of 83 pictures of 288 pixels a second on one core,
measured).
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from eyehand.checksums import file_checksum
from eyehand.envs.execution import Execution
from eyehand.envs.replay import replay
from eyehand.envs.robot_env import Quality
from eyehand.envs.rollout import Outcome, Start, rollout
from eyehand.envs.suite import Suite, find_task
from eyehand.files import check_place, replacing
from eyehand.functional.sentence import check_sentence
from eyehand.types import LARGEST_SEED, LARGEST_SIDE, Actor, InputError, check_ranges

COLORS = ("#e8743b", "#19a979", "#5899da", "#c9a227", "#c678dd", "#56c8d8", "#b0b6c0")
"""One per number of an action, in turn; distinct on black for any colour vision."""
BACKGROUND, TEXT, FAINT = "#14161a", "#f2f2f0", "#8b9098"
SUCCESS, FAILURE = "#3ecf6e", "#e8743b"
HOLD_SECONDS = 1.0
"""Seconds for which the last picture stays."""

_CHECKSUM_BOX = (12).to_bytes(4, "big") + b"free"
"""How a box of 4 bytes begins that players pass over (ISO/IEC 14496-12)."""

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class PlayConfig:
    """One episode to film."""

    task: str
    """Name of the task, e.g. drawer-open, or its own sentence."""
    out: Path = Path("film.mp4")
    """The film, an .mp4 file."""
    suite: str = ""
    """The benchmark that the task is of; left out, the one that has it."""
    instruction: str | None = None
    """The sentence that the robot is told; left out, the task's own."""
    seed: int = 1_000_000
    """Seed of the start state."""
    size: int = 480
    """Width of the film in pixels, even."""
    execution: Execution = field(default_factory=Execution)
    """How chunks of actions are executed."""

    def __post_init__(self) -> None:
        """Check task, sentence, file, seed and size."""
        find_task(self.task, self.suite)
        if self.instruction is not None:
            check_sentence(self.instruction, "--instruction")
        if self.out.suffix != ".mp4":
            raise InputError(f"--out must end in .mp4. Got {str(self.out)!r}.")
        check_ranges(self, seed=(0, LARGEST_SEED), size=(160, LARGEST_SIDE))
        if self.size % 2:
            raise InputError(f"--size must be even. Got {self.size}.")


def play(policy: Actor, config: PlayConfig, *, cameras: Mapping[str, int]) -> Outcome:
    """Let ``policy`` do one episode and film it.

    ``cameras`` are height and width of the pictures that the policy reads, pixels, by name.
    Success is that of the task, for any sentence.
    """
    check_place(config.out)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    suite, task = find_task(config.task, config.suite)
    canonical = suite.instructions(task).canonical
    told = canonical if config.instruction is None else config.instruction
    start = Start(task, config.seed, told)
    (outcome,) = rollout(
        policy, suite, [start], execution=config.execution, cameras=cameras, workers=1
    )
    film_episode(suite, outcome, config.out, size=config.size, stride=2, quality="film")
    return outcome


def film_episode(
    suite: Suite,
    outcome: Outcome,
    file: Path,
    *,
    size: int = 288,
    stride: int = 4,
    quality: Quality = "fast",
) -> None:
    """Replay an episode and write its film, at the speed of the real robot.

    Args:
        suite: The family of tasks that the episode is of.
        outcome: The episode: start, executed actions, and whether it succeeded.
        file: The film, H.264 in MP4, which every browser plays.
        size: Width of the picture in pixels, even.
        stride: Steps from one picture to the next.
        quality: ``fast`` draws without shadows and with fewer triangles.

    Raises:
        InputError: If the replay does not end as the episode did.
    """
    stride = min(stride, suite.fps)
    frames = film_frames(suite, outcome, size=size, stride=stride, quality=quality)
    write_film(frames, file, fps=suite.fps // stride)


def film_frames(
    suite: Suite, outcome: Outcome, *, size: int, stride: int, quality: Quality
) -> Iterator[Picture]:
    """Replay an episode and yield its annotated pictures."""
    start, total = outcome.start, len(outcome.actions)
    most = suite.limit(start.task)
    layout = FilmLayout(suite, start.instruction, total, most=most, size=size)
    env = suite.make(
        start.task, cameras={suite.view: size}, quality=quality, render_observations=False
    )
    try:
        for moment in replay(env, start.seed, list(outcome.actions)):
            step = moment.step
            if step:
                layout.plot(step, outcome.actions[step - 1])
            if step % stride == 0 and step < total and not moment.ended:
                yield layout.picture(env.render(), step=step)
        if moment.success != outcome.success or moment.step != total:
            raise InputError(
                f"the replay of {start.task} with seed {start.seed} ended with "
                f"success={moment.success} after {moment.step} steps, the episode with "
                f"success={outcome.success} after {total}: its actions are damaged, or another "
                "version executed them. Run the episode again."
            )
        last = layout.picture(env.render(), step=total, success=moment.success)
        yield from [last] * round(HOLD_SECONDS * suite.fps / stride)
    finally:
        env.close()


class FilmLayout:
    """The layout of a film's pictures.

    The sentence is above the robot; below are the step and a plot of the actions so far.

    The plot is ``total`` steps wide, of ``most`` that there could be, the picture ``size`` pixels
    high and wide. The suite has the names of the actions.
    """

    def __init__(self, suite: Suite, sentence: str, total: int, *, most: int, size: int) -> None:
        self.size, self.total, self.most = size, total, most
        self.names = [
            (one.name, COLORS[number % len(COLORS)]) for number, one in enumerate(suite.action)
        ]
        self.font = ImageFont.load_default(max(11, size // 20))
        self.line = round(1.35 * max(11, size // 20))
        self.margin = self.line // 2
        lines = self._wrapped(sentence or "(told nothing)")
        self.top = 2 * self.margin + self.line * len(lines)
        self.plot_top = self.top + size + self.margin + self.line
        self.plot_height = size // 4
        height = self.plot_top + self.plot_height + self.margin
        self.sheet = Image.new("RGB", (size, height + height % 2), BACKGROUND)
        self.draw = ImageDraw.Draw(self.sheet)
        for number, text in enumerate(lines):
            self._text(self.margin, self.margin + number * self.line, text, TEXT)
        middle = self._y(0.0)
        self.draw.line([(self.margin, middle), (size - self.margin, middle)], FAINT)
        self.previous: np.ndarray | None = None

    def plot(self, step: int, action: np.ndarray) -> None:
        """Add the action that was executed at ``step``, counted from 1."""
        previous = action if self.previous is None else self.previous
        ends = self._x(step - 1), self._x(step)
        for old, new, (_, color) in zip(previous, action, self.names, strict=True):
            points = [(ends[0], self._y(float(old))), (ends[1], self._y(float(new)))]
            self.draw.line(points, color, width=max(1, self.size // 240))
        self.previous = action.copy()

    def picture(
        self, image: Picture, *, step: int, success: bool | None = None
    ) -> UInt8[np.ndarray, "sheet_height width 3"]:
        """Return the layout with ``image`` and ``step``; ``success`` marks the end of the film."""
        self.sheet.paste(Image.fromarray(image), (0, self.top))
        y = self.top + self.size + self.margin // 2
        self.draw.rectangle([(0, self.top + self.size), (self.size, self.plot_top - 1)], BACKGROUND)
        text, color = f"step {step} of at most {self.most}", FAINT
        if success is not None:
            text = f"success at step {step}" if success else f"no success in {step} steps"
            color = SUCCESS if success else FAILURE
            box = [(0, self.top), (self.size - 1, self.top + self.size - 1)]
            self.draw.rectangle(box, outline=color, width=max(3, self.size // 72))
        self._text(self.margin, y, text, color)
        x = self.size - self.margin
        for name, name_color in reversed(self.names):
            x -= round(self.font.getlength(name))
            self._text(x, y, name, name_color)
            x -= self.margin
        return np.array(self.sheet)

    def _text(self, x: int, y: int, text: str, color: str) -> None:
        self.draw.text((x, y), text, font=self.font, fill=color)

    def _x(self, step: int) -> float:
        return self.margin + (self.size - 2 * self.margin) * step / self.total

    def _y(self, value: float) -> float:
        return self.plot_top + (1 - value) / 2 * self.plot_height

    def _wrapped(self, sentence: str) -> list[str]:
        lines = [""]
        for word in sentence.split():
            longer = f"{lines[-1]} {word}".strip()
            if self.font.getlength(longer) > self.size - 2 * self.margin and lines[-1]:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines


def write_film(frames: Iterable[Picture], file: Path, *, fps: int) -> None:
    """Write pictures of one even size as H.264 in MP4; after a kill there is a whole film or none.

    The same pictures give the same bytes, on one kind of processor. So x264's macroblock tree is
    left out: with AVX-512 it reads memory that nobody wrote, and every film of an episode was
    another one. Without it a film is 30 % larger at nearly the same quality (0.2 dB less).

    The file's last box, which players pass over, is the checksum of all before it.

    Raises:
        ValueError: If there are no pictures.
    """
    with replacing(file) as beside:
        _write_mp4(frames, beside, fps=fps)
        checksum = file_checksum(beside)
        with beside.open("ab") as stream:
            stream.write(_CHECKSUM_BOX + checksum.to_bytes(4, "big"))


def is_whole_film(file: Path) -> bool:
    """Return whether the film is there, and every byte of it as `write_film` wrote it."""
    if not file.is_file():
        return False
    content = file.read_bytes()
    film, box, checksum = content[:-12], content[-12:-4], content[-4:]
    return box == _CHECKSUM_BOX and checksum == zlib.crc32(film).to_bytes(4, "big")


def _write_mp4(frames: Iterable[Picture], file: Path, *, fps: int) -> None:
    stream = None
    # faststart: a browser can begin before the file has arrived.
    with av.open(file, "w", format="mp4", options={"movflags": "faststart"}) as container:
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "28", "preset": "medium", "x264-params": "mbtree=0"}
                stream.codec_context.thread_count = 1  # other cores film other episodes
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is None:
            raise ValueError(f"a film needs at least one picture: {file}.")
        container.mux(stream.encode())
