"""Damage in the files that eyehand keeps; part of `benchmarks/reliability.py`.

One file of a data set, a checkpoint, a run, an evaluation or an unfinished recording is damaged:
a bit or a byte is changed, 64 bytes become zeros, or the end is cut off. Then the folder is opened
as a user does it. The damage must be refused in one sentence, or what comes of it must be the same
as without: because it does not matter, or because it was repaired. Another content is silent
damage; any other exception is a traceback.

The simulators run in this process, and the language model is loaded once: neither is tried here.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import random
import resource
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.reliability_kills import TRAINING, files, metrics
from eyehand.cli import main
from eyehand.collection import record as record_module
from eyehand.data.lerobot import Dataset
from eyehand.data.store import open_store
from eyehand.data.writer import DatasetWriter
from eyehand.envs.rollout import Outcome, Start, drive
from eyehand.evaluation import protocol
from eyehand.evaluation.results import read_results
from eyehand.models.language import pretrained
from eyehand.policies.registry import describe_policy, load_policy
from eyehand.training import loop
from eyehand.training.checkpoint import Checkpoints
from eyehand.training.counters import Counters
from eyehand.types import InputError

TARGETS = ("a data set", "a checkpoint", "a run", "an evaluation", "a recording")
UNREAD = (".lock", "lock", "report.html")
"""Files that nothing is read from; tensorboard's are such too."""
MEMORY = 8 << 30
"""Most address space of a trial, bytes: what asks for more gets a MemoryError."""
ALL_FILMED = "12"
"""Films per task, so many that the actions of every episode are read again."""
FAMILY = ("--suite", "two-ways", "--tasks", "two-ways", "--workers", "1")


@dataclass(frozen=True)
class Flip:
    """One damage."""

    number: int
    target: str
    seed: str


def flips(count: int, seed: int) -> Iterator[Flip]:
    """Yield ``count`` damages, of every target in turn."""
    for number in range(count):
        yield Flip(number, TARGETS[number % len(TARGETS)], f"{seed} flips {number}")


class Here(Executor):
    """Does everything at once, in this process."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], /, *words: Any, **named: Any) -> Future[Any]:
        """Call a function; return what came of it."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*words, **named))
        except Exception as error:
            future.set_exception(error)
        return future


def rollout_here(
    policy: Any, suite: Any, starts: Sequence[Start], *, cameras: Mapping[str, int],
    execution: Any, on_outcome: Callable[[Outcome], None], **_: object,
) -> None:  # fmt: skip
    """Run every episode in this process, one after the other."""
    env = suite.make(starts[0].task, cameras=cameras, render_observations=False)
    for start in starts:
        on_outcome(drive(policy, env, start, execution=execution, most=suite.max_steps))


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Simulate here, and spare a run the second in which it measures the machine."""
    with (
        patch.object(record_module, "ProcessPoolExecutor", Here),
        patch.object(protocol, "rollout", rollout_here),
        patch.object(protocol, "ProcessPoolExecutor", Here),
        patch.object(loop, "matrix_multiply_peak", lambda *_, **__: 1e9),
    ):
        yield


def warm_up() -> None:
    """Load the language model, which every fork of this process then has."""
    load = functools.cache(pretrained._load)
    pretrained._load = load
    pretrained.load_language_model("minilm")


def record(folder: Path, episodes: int) -> int:
    """Record, or go on."""
    words = ["--image-size", "16", "--episodes", str(episodes), "--out", str(folder)]
    return main(["record", *FAMILY, *words])


def train(folder: Path, data: Path) -> int:
    """Train, or go on."""
    resume = ["--resume"] if folder.exists() else []
    words = [*TRAINING, "--steps", "8", *resume, "--data", str(data), "--out", str(folder)]
    return main(["train", "bcz-metaworld", *words])


def train_half(folder: Path, data: Path) -> int:
    """Train up to the checkpoint of step 4, and stop as if the process were killed then."""

    class Stopped(BaseException):
        pass

    save = Checkpoints.save

    def save_and_stop(checkpoints: Checkpoints, counters: Counters, state: Any) -> None:
        save(checkpoints, counters, state)
        if counters.step == 4:
            raise Stopped

    with contextlib.suppress(Stopped), patch.object(Checkpoints, "save", save_and_stop):
        return train(folder, data)
    return 0


def evaluate(folder: Path, policy: Path, episodes: int, films: str = "0") -> int:
    """Evaluate, or go on."""
    words = ["--episodes", str(episodes), "--films", films, "--out", str(folder)]
    return main(["eval", str(policy), *FAMILY, *words])


def prepare(base: Path) -> None:
    """Make the five folders and what comes of each undamaged; what is there is kept."""
    place = base / "flips"
    if (place / "wanted.json").exists():
        return
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    data, policy = place / "a data set", place / "a checkpoint"
    with in_this_process():
        codes = [record(data, 4)]
        open_data(data)  # decodes the pictures
        codes += [train_half(place / "a run", data)]
        policy.mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy2(place / "a run" / name, policy / name)
        codes += [evaluate(place / "an evaluation", policy, 4)]
        recording = place / "a recording"
        codes += [record(recording, 2)]

        class Stopped(BaseException):
            pass

        def stop(_: DatasetWriter) -> None:
            raise Stopped

        with contextlib.suppress(Stopped), patch.object(DatasetWriter, "close", stop):
            record(recording, 4)
    if any(codes):
        raise RuntimeError(f"the folders cannot be made: exit codes {codes}")
    wanted = {}
    for target in TARGETS:
        copy = place / "copy" / target.replace(" ", "-")
        shutil.copytree(place / target, copy)
        with in_this_process():
            wanted[target] = opened(target, copy, place, None)
    shutil.rmtree(place / "copy")
    results = read_results(place / "an evaluation" / "results.json")
    wanted["results.json"] = digest(repr(asdict(results)))
    (place / "wanted.json").write_text(json.dumps(wanted))


def opened(target: str, folder: Path, base: Path, damaged: str | None) -> str:
    """Open a folder as a user does; return a digest of the content, or raise an `InputError`."""
    if target == "a data set":
        return open_data(folder)
    if target == "a checkpoint":
        return open_checkpoint(folder)
    if damaged == "results.json":
        return digest(repr(asdict(read_results(folder / damaged))))
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        if target == "a run":
            code = train(folder, base / "a data set")
        elif target == "an evaluation":
            code = evaluate(folder, base / "a checkpoint", 6, films=ALL_FILMED)
        else:
            code = record(folder, 6)
    if code:
        raise InputError(said.getvalue().strip().splitlines()[-1])
    sys.stderr.write(said.getvalue())
    if target == "a run":
        # Of the two states that a run keeps, the older one is another where the newest was damaged.
        newest = max(folder.glob("training_state/step-*"))
        tensors = {
            f"{path.name}/{name}": tensor
            for path in (folder / "model.safetensors", newest / "tensors.safetensors")
            for name, tensor in sorted(load_file(path).items())
        }
        return digest(tensors, json.dumps(metrics(folder)))
    if target == "an evaluation":
        results = asdict(read_results(folder / "results.json"))
        names = ("episodes", "tasks", "score", "task_mean", "seeds")
        known = {name: results[name] for name in names}
        lines = (folder / "episodes.jsonl").read_text().splitlines()[1:]
        episodes = sorted((line["task"], line["seed"]) for line in map(json.loads, lines))
        paths = sorted(folder.glob("actions/*.npy"))
        actions = {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in paths}
        return digest(repr(known), repr(episodes), actions)
    return digest({name: np.frombuffer(raw, np.uint8) for name, raw in files(folder).items()})


def open_data(folder: Path) -> str:
    """Return a digest of all that a data set says, from its files and from its decoded pictures."""
    dataset, store = Dataset(folder), open_store(folder, needed=("state", "action"))
    frames = dataset.frames
    numbers = {
        "state": store.state, "action": store.action, "sentence": store.sentence,
        "start": store.episode_start, "length": store.episode_length, "time": frames.timestamp,
        **store.columns,
    }  # fmt: skip
    pictures = {
        f"{name}-{number}": part
        for name, shown in store.image.items()
        for number, part in enumerate(shown.parts)
    }
    episodes = [dataset.episode(index) for index in range(len(dataset.episodes))]
    films = {f"{i}-{name}": p for i, one in enumerate(episodes) for name, p in one.image.items()}
    statistics = {
        f"{name}-{key}": np.asarray(value)
        for name, figures in store.statistics.items()
        for key, value in vars(figures).items()
    }
    told = [(one.instruction, one.task, one.seed) for one in episodes]
    info = json.dumps(dataset.info, sort_keys=True)
    return digest(numbers, pictures, films, statistics, repr(told), repr(store.sentences), info)


def open_checkpoint(folder: Path) -> str:
    """Return a digest of a policy: its config and its weights."""
    policy = load_policy(folder)
    return digest(repr(describe_policy(policy.config)), dict(policy.state_dict()))


def digest(*parts: str | Mapping[str, Any]) -> str:
    """Return a hash of texts and of named arrays or tensors."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode())
            continue
        for name, value in sorted(part.items()):
            array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def damage(folder: Path, draw: random.Random) -> tuple[str, str]:
    """Damage one file of a folder; return its name and what was done."""
    names = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.stat().st_size
        and path.name not in UNREAD
        and "tensorboard" not in path.parts
    ]
    path = draw.choice(names)
    status, content = path.stat(), bytearray(path.read_bytes())
    size = len(content)
    place = draw.randrange(min(size, 400) if draw.random() < 0.3 else size)
    kind = draw.choices(("bit", "byte", "zeros", "cut"), (5, 2, 1, 2))[0]
    if kind == "bit":
        content[place] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        content[place] = (content[place] + draw.randrange(1, 256)) % 256
    elif kind == "zeros":
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    else:
        del content[place:]
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # a bad disk changes no time
    return str(path.relative_to(folder)), f"{kind} at {place} of {size}"


def run_flip(flip: Flip, folder: Path, base: Path) -> dict[str, Any]:
    """Damage a copy and open it; return the outcome, with a list of ``problems``."""
    place = base / "flips"
    wanted = json.loads((place / "wanted.json").read_text())
    shutil.rmtree(folder, ignore_errors=True)
    copy = folder / flip.target.replace(" ", "-")
    shutil.copytree(place / flip.target, copy)
    name, what = damage(copy, random.Random(flip.seed))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found: dict[str, Any] = {"target": flip.target, "file": name, "damage": what, "problems": []}
    said = io.StringIO()
    try:
        with in_this_process(), contextlib.redirect_stderr(said):
            content = opened(flip.target, copy, place, name)
    except InputError as error:
        return found | {"outcome": "refused", "said": str(error)[:300]}
    except BaseException as error:
        lines = traceback.format_exception(error)[-2:]
        problem = f"traceback: {name}, {what}: {' '.join(lines)[-400:]}"
        return found | {"outcome": "traceback", "problems": [problem]}
    if name == "metrics.jsonl" and name in said.getvalue():
        return found | {"outcome": "said", "said": said.getvalue()[-300:]}  # lines are lost
    if content != wanted.get(name, wanted[flip.target]):
        return found | {"outcome": "silent", "problems": [f"silent: {name}, {what}"]}
    return found | {"outcome": "unchanged", "said": said.getvalue()[-300:]}
