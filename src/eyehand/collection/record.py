"""Recording: the simulator's scripted expert does the tasks, and a data set keeps the episodes."""

import multiprocessing
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eyehand.available_memory import check_memory, check_workers
from eyehand.checksums import read_json, write_json
from eyehand.child_process import end_with_parent
from eyehand.collection.demonstrate import demonstrate, lead_of
from eyehand.collection.episodes import dataset_writer
from eyehand.data.encoding import EncodedEpisode, encode_episode
from eyehand.data.paths import inside
from eyehand.data.writer import DatasetWriter
from eyehand.envs.ray_workers import RayExecutor
from eyehand.envs.robot_env import RobotEnv
from eyehand.envs.suite import Suite, find_suite
from eyehand.files import PARTIAL, check_place
from eyehand.types import LARGEST_SIDE, Actor, InputError, check_ranges

TRAINING_SEEDS = 10_000
"""Seeds from here on are for validation and evaluation, never for training."""
MOST_EPISODES = TRAINING_SEEDS // 4
"""Of a task: each may take four attempts, and each attempt a seed."""
LARGEST_PUSH = 10.0
"""Of a random push, in action units; an action is at most 1."""
_DESCRIPTION_PATH = "meta/recording.json"


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What is recorded, and where to."""

    out: Path
    """Folder of the data set; an interrupted recording in it is continued."""
    tasks: str
    """Separated by commas: task names, groups or sets of tasks (Meta-World: ``easy``, ``medium``,
    ``hard``, ``very-hard``, ``mt10``), or ``all``."""
    suite: str = "metaworld"
    """The benchmark."""
    episodes: int = 50
    """Successful episodes per task."""
    seed: int = 0
    """Seed of the first start state of every task; attempt k has seed + k."""
    workers: int = 2
    """Simulator processes; the data set is the same for any number."""
    ray: str | None = None
    """Run the simulators in a Ray cluster: auto takes that of RAY_ADDRESS or starts one on this
    machine, HOST:PORT names one. The data set is the same (docs/ray.md)."""
    perturbation: float = 0.0
    """Strength of random pushes of the hand, standard deviation per axis in action units. The data
    set keeps the action that the expert wanted, so that it shows how to recover."""
    cameras: tuple[str, ...] = ()
    """Cameras whose pictures are kept; left out, the suite's usual one. Meta-World has corner4, and
    work_area, its inner part."""
    image_size: int = 96
    """Height and width of the pictures, pixels."""
    policy: Path | None = None
    """Record corrections of this policy instead (DAgger): it acts up to a random moment, then the
    expert takes over, and only the expert's actions are learned from. Attempts in which the expert
    fails are left out, and two of three in which the policy succeeds."""

    def __post_init__(self) -> None:
        """Check that numbers are in range, and that tasks and cameras exist."""
        check_ranges(
            self,
            episodes=(1, MOST_EPISODES),
            image_size=(1, LARGEST_SIDE),
            perturbation=(0, LARGEST_PUSH),
            seed=(0, TRAINING_SEEDS - 1),
        )
        check_workers(self.workers, elsewhere=self.ray is not None)
        suite = find_suite(self.suite)
        suite.check_cameras(self.cameras)
        last = self.seed + self.attempts - 1
        if last >= TRAINING_SEEDS:
            raise InputError(
                f"--seed {self.seed} with up to {self.attempts} attempts a task reaches seed "
                f"{last}; training seeds are 0 to {TRAINING_SEEDS - 1}, those above are for "
                "choosing and for evaluation. Choose a smaller --seed or fewer --episodes."
            )
        suite.select_tasks(self.tasks)

    @property
    def pictures(self) -> dict[str, int]:
        """Height and width of the pictures that are kept, pixels, by camera."""
        return dict.fromkeys(self.cameras or (find_suite(self.suite).camera,), self.image_size)

    @property
    def attempts(self) -> int:
        """Most attempts per task. With a policy all are made; else the recording fails then."""
        return self.episodes if self.policy else max(20, 4 * self.episodes)


@dataclass(frozen=True)
class RecordResult:
    """What a recording contains now."""

    successes: Mapping[str, int]
    """Episodes in the data set, per task."""
    left_out: Mapping[str, int]
    """Attempts without an episode, per task: the expert failed, or the policy needed no expert."""
    frames: int
    """Frames of these episodes."""


@dataclass
class _Progress:
    """The progress of one task."""

    task: str
    seed: int
    """Next seed to try."""
    successes: int
    left_out: int = 0
    jobs: deque[Future[EncodedEpisode | None]] = field(default_factory=deque)
    """Attempts under way or waiting for an earlier one, in the order of their seeds."""


def record(config: RecordConfig, make_policy: Callable[[], Actor] | None = None) -> RecordResult:
    """Record what is still missing of the data set that ``config`` describes.

    ``make_policy`` loads ``config.policy``, once in every worker; it is needed where that is set.

    Episodes are written in the order of tasks and seeds, and get the task's sentences in turn. The
    files are equal bit for bit for any number of workers, and also if the recording was killed and
    continued; a kill loses the episodes under way and those that wait for an earlier one. Episodes
    that are damaged on the disk before they are in a file are recorded anew, with those after them.

    Raises:
        InputError: If the folder holds something else, or the expert fails too often.
        RuntimeError: If a worker process fails; with its traceback and the task.
    """
    if (config.policy is None) != (make_policy is None):
        raise ValueError("`make_policy` is needed if and only if `config.policy` is set.")
    suite = find_suite(config.suite)
    tasks = suite.select_tasks(config.tasks)
    pixels = sum(size**2 for size in config.pictures.values())
    if config.ray is None:  # every worker holds its episode, which is no shorter than a second
        check_memory(
            config.workers * suite.fps * 3 * pixels,
            f"--image-size {config.image_size} with --workers {config.workers}",
        )
    check_place(config.out, folder=True)
    _check_folder(config)
    with dataset_writer(
        config.out, suite, config.pictures, corrections=config.policy is not None
    ) as writer:
        _write_description(config)
        states = [_state(task, config, writer) for task in tasks]
        if any(state.successes < config.episodes for state in states):
            _record_missing(states, config, writer, make_policy)
        lengths = [recorded.length for recorded in writer.recorded if recorded.task in tasks]
    if not lengths:
        raise InputError(
            f"none of {config.attempts} attempts per task gave a correction of the policy "
            f"{config.policy}: the expert failed, or was not needed. Set more `episodes`."
        )
    return RecordResult(
        successes={state.task: state.successes for state in states},
        left_out={state.task: state.left_out for state in states},
        frames=sum(lengths),
    )


def _description(config: RecordConfig) -> dict[str, Any]:
    """Return what must stay the same when a recording goes on."""
    names = ("suite", "seed", "perturbation", "image_size")
    policy = str(config.policy) if config.policy else None
    protocol = find_suite(config.suite).protocol  # it decides the start states
    own = {"cameras": list(config.pictures), "policy": policy, "protocol": protocol}
    return {name: getattr(config, name) for name in names} | own


def _check_folder(config: RecordConfig) -> None:
    path = inside(config.out, _DESCRIPTION_PATH)
    if path.is_file():
        found = read_json(path)
        if found != _description(config):
            raise InputError(
                f"{config.out} holds a recording with {found}; this one has "
                f"{_description(config)}. Choose another folder."
            )
    elif config.out.exists() and not (config.out.is_dir() and _is_begun(config.out)):
        raise InputError(
            f"{config.out} exists and is not a recording. Choose an empty or a new folder."
        )


def _is_begun(folder: Path) -> bool:
    """Return whether a folder holds no more than a recording that was killed at its very begin."""
    began = {".pending", "meta", f"{_DESCRIPTION_PATH}{PARTIAL}"}
    found = [*folder.iterdir(), *folder.glob("meta/*")]
    return all(path.relative_to(folder).as_posix() in began for path in found)


def _write_description(config: RecordConfig) -> None:
    path = config.out / _DESCRIPTION_PATH
    path.parent.mkdir(exist_ok=True)
    write_json(path, _description(config))


def _state(task: str, config: RecordConfig, writer: DatasetWriter) -> _Progress:
    seeds = [recorded.seed for recorded in writer.recorded if recorded.task == task]
    after = max(seeds) + 1 if seeds else config.seed
    return _Progress(task, after, len(seeds), left_out=after - config.seed - len(seeds))


def _record_missing(
    states: list[_Progress],
    config: RecordConfig,
    writer: DatasetWriter,
    make_policy: Callable[[], Actor] | None,
) -> None:
    suite = find_suite(config.suite)
    total = config.episodes * len(states)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} frames/s, {task.fields[left_out]} left out"),
        TimeRemainingColumn(),
    )
    began, frames = time.monotonic(), 0
    with (
        Progress(*columns, console=Console(stderr=True)) as progress,
        _start_workers(config, make_policy) as workers,
    ):
        bar = progress.add_task("recording", total=total, rate=0.0, left_out=0)
        try:
            for state in states:
                for episode in _episodes(state, states, config, workers):
                    sentence = _sentence(suite, state.task, state.successes)
                    writer.add_encoded(replace(episode, instruction=sentence))
                    state.successes += 1
                    frames += len(episode.state)
                    progress.update(
                        bar,
                        description=state.task,
                        completed=sum(min(s.successes, config.episodes) for s in states),
                        rate=frames / (time.monotonic() - began),
                        left_out=sum(s.left_out for s in states),
                    )
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise


def _start_workers(config: RecordConfig, make_policy: Callable[[], Actor] | None) -> Executor:
    """Return what runs the attempts: processes of this machine, or of a Ray cluster."""
    if config.ray is not None:
        return RayExecutor(
            config.ray, workers=config.workers, initializer=_prepare, initargs=(make_policy,)
        )
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    return ProcessPoolExecutor(
        config.workers, context, initializer=_start_worker, initargs=(make_policy,)
    )


def _episodes(
    state: _Progress,
    states: list[_Progress],
    config: RecordConfig,
    workers: Executor,
) -> Iterator[EncodedEpisode]:
    """Yield the missing episodes of one task in the order of their seeds.

    Meanwhile the workers are kept busy with this task and those after it. Only attempts that are
    needed in any case are started, so which ones are made does not depend on the workers' speed.
    """
    while state.successes < config.episodes:
        if not state.jobs and state.seed - config.seed >= config.attempts:
            if config.policy:
                return
            hint = " A smaller `perturbation` helps." if config.perturbation > 0 else ""
            raise InputError(
                f"the expert of task {state.task!r} succeeded in {state.successes} of "
                f"{state.successes + state.left_out} attempts; {config.episodes} episodes were "
                f"asked for.{hint} Record the other tasks, or fewer episodes."
            )
        _fill(states, config, workers)
        if not (state.jobs and state.jobs[0].done()):
            running = [job for other in states for job in other.jobs if not job.done()]
            wait(running, return_when=FIRST_COMPLETED)
            continue
        seed = state.seed - len(state.jobs)
        episode = _result(state.jobs.popleft(), state.task, seed)
        if episode is None:
            state.left_out += 1
        else:
            yield episode


def _fill(states: list[_Progress], config: RecordConfig, workers: Executor) -> None:
    """Start attempts in the order of tasks, until every worker has one at work and one waiting.

    In a cluster none waits: one with more processors than workers would run it at once.
    """
    most = config.workers if config.ray else 2 * config.workers
    running = sum(not job.done() for state in states for job in state.jobs)
    for state in states:
        while running < most:
            # A failed attempt counts until its result is read in order: this keeps the order fixed.
            if state.successes + len(state.jobs) >= config.episodes:
                break
            if state.seed - config.seed >= config.attempts:
                break
            job = workers.submit(_attempt, state.task, state.seed, config)
            state.jobs.append(job)
            state.seed += 1
            running += 1


def _result(job: Future[EncodedEpisode | None], task: str, seed: int) -> EncodedEpisode | None:
    try:
        return job.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"a worker process died while task {task!r} with seed {seed}, or one after it, was "
            "recorded; it may have run out of memory."
        ) from error
    except InputError:  # such as a policy that reads another camera
        raise
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        raise RuntimeError(
            f"the worker that recorded task {task!r} with seed {seed} failed:\n{text}"
        ) from error


def _sentence(suite: Suite, task: str, number: int) -> str:
    """Return the sentence of an episode: each of the task's in turn, held-out ones left out."""
    sentences = suite.instructions(task)
    told = (sentences.canonical, *sentences.training, *sentences.chinese)
    return told[number % len(told)]


def _start_worker(make_policy: Callable[[], Actor] | None) -> None:
    """Ignore Ctrl-C, which the parent handles, and end when the parent ends."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prepare(make_policy)


def _prepare(make_policy: Callable[[], Actor] | None) -> None:
    """Load the policy; what an earlier recording left in this process is forgotten."""
    global _policy
    for environment in _environments.values():
        environment.close()
    _environments.clear()
    _policy = None
    if make_policy is not None:
        torch.set_num_threads(1)  # every core is busy with a worker of its own
        _policy = make_policy()


_policy: Actor | None = None
"""The policy that this worker corrects."""
_environments: dict[tuple[str, str], RobotEnv] = {}
"""The environment that this worker used last, by suite and task."""


def _attempt(task: str, seed: int, config: RecordConfig) -> EncodedEpisode | None:
    """Let the expert try; return the encoded episode, or None where it is left out."""
    suite = find_suite(config.suite)
    if (config.suite, task) not in _environments:
        for env in _environments.values():
            env.close()
        _environments.clear()
        _environments[config.suite, task] = suite.make(
            task, cameras=config.pictures, render_observations=False
        )
    env = _environments[config.suite, task]
    lead: list[Float32[np.ndarray, " action"]] | None = []
    if _policy is not None:
        told = _sentence(suite, task, seed)
        lead = lead_of(suite, _policy, env, seed=seed, instruction=told)
    if lead is None:
        return None
    episode = demonstrate(suite, env, seed=seed, perturbation=config.perturbation, lead=lead)
    return None if episode is None else encode_episode(episode, fps=suite.fps)
