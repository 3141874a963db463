"""SIGKILL of record, train, eval, serve and live; part of `benchmarks/reliability.py`.

A chain is a series of kills of one command. The command begins, is killed at a moment drawn from
the time that it takes undisturbed, and is begun again, so often; the last time it runs to its end,
and what it leaves is compared with what an undisturbed run left. A command that ends before its
kill is compared too, and the chain goes on in a new folder.

Every command runs in a fork of this process, which has imported everything: importing takes longer
than what is to be killed. Its workers are forks of another such fork.
Every tenth chain runs as a user's does: a new
interpreter, workers that are spawned, and Meta-World in place of the discs of two-ways.
"""

import json
import os
import random
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from websockets.sync.client import connect

from benchmarks.reliability_process import PATIENCE, Run, said, start
from eyehand.serving.client import PolicyConnection
from eyehand.types import InputError

SHARES = {"record": 5, "train": 6, "eval": 5, "serve": 2, "live": 2}
"""Kills of each verb, of twenty."""
MOST_KILLS = 6
"""Longest chain."""
REAL_EVERY = 10
"""One chain of so many runs as a user's does."""
SERVED_SECONDS = 1.5
"""How long clients are there before a server must have been killed."""
RESULTS = {"record": "data", "train": "policy", "eval": "evaluation"}
"""What the result of a verb is called: the others begin with it."""
SUITES = {True: ("metaworld", "reach"), False: ("two-ways", "two-ways")}
CLOCK = ("seconds", "samples_per_second", "model_flops_utilisation", "memory")
"""What differs between two equal trainings."""
UNEQUAL = (".lock", ".pending/lock", ".frames/lock", "report.html", "results.json",
           "metrics.jsonl", "episodes.jsonl", "tensorboard/")  # fmt: skip
"""Files that are compared by what they say, or not at all."""
TRAINING = (
    "--steps", "12", "--threads", "1", "--batch-size", "4", "--training.checkpoint-steps", "2",
    "--training.log-every", "2", "--training.precision", "fp32", "--policy.image-size", "16",
    "--policy.horizon", "4", "--policy.dims", "8", "8", "8", "--policy.context-dim", "8",
    "--policy.keypoints", "4", "--policy.map-dim", "4",
)  # fmt: skip
"""A small policy, which reaches twelve steps in a second."""


@dataclass(frozen=True)
class Chain:
    """Some kills of one command."""

    number: int
    verb: str
    kills: int
    real: bool
    """As a user runs it."""


def chains(count: int, seed: int) -> Iterator[Chain]:
    """Yield chains with ``count`` kills in all, the verbs in their shares.

    Example:
        >>> sum(chain.kills for chain in chains(100, seed=0))
        100
    """
    draw, done, number = random.Random(f"{seed} chains"), Counter[str](), 0
    while count:
        verb = min(SHARES, key=lambda name: done[name] / SHARES[name])
        kills = min(count, draw.randint(1, MOST_KILLS))
        yield Chain(number, verb, kills, real=number % REAL_EVERY == REAL_EVERY - 1)
        done[verb] += kills
        count, number = count - kills, number + 1


def words(verb: str, folder: Path, base: Path, *, real: bool, port: int = 0) -> list[str]:
    """Return a command line; ``base`` holds what the verbs start from."""
    suite, task = SUITES[real]
    data, policy = str(base / f"data-{suite}"), str(base / f"policy-{suite}")
    out, family = ["--out", str(folder)], ["--suite", suite, "--tasks", task, "--workers", "2"]
    if verb == "record":
        return ["record", *family, "--episodes", "6", "--image-size", "16", *out]
    if verb == "train":
        resume = ["--resume"] if folder.exists() else []
        return ["train", "bcz-metaworld", "--data", data, *TRAINING, *resume, *out]
    if verb == "eval":
        return ["eval", policy, *family, "--episodes", "6", "--films", "1", *out]
    if verb == "serve":
        return ["serve", policy, "--port", str(port)]
    return ["live", policy, "--suite", suite, "--task", task, "--port", str(port)]


def prepare(base: Path) -> None:
    """Make data, policies and the undisturbed results, in ``base``; what is there is kept."""
    for real, (suite, _) in SUITES.items():
        for verb in RESULTS:
            target = base / f"{RESULTS[verb]}-{suite}"
            seconds = base / f"seconds-{verb}-{suite}"
            if seconds.exists():
                continue
            shutil.rmtree(target, ignore_errors=True)
            run = start(words(verb, target, base, real=real), base / "work", real=real)
            if run.wait(PATIENCE) != 0:
                raise RuntimeError(f"undisturbed, eyehand {verb} failed: see {run.log}")
            seconds.write_text(str(time.monotonic() - run.began))
    for real, (suite, _) in SUITES.items():
        for verb in ("serve", "live"):
            seconds = base / f"seconds-{verb}-{suite}"
            if not seconds.exists():
                port = free_port()
                run = start(words(verb, base, base, real=real, port=port), base / "work", real=real)
                try:
                    answer = until_it_answers(verb, port, run)
                    seconds.write_text(str(time.monotonic() - run.began + SERVED_SECONDS))
                finally:
                    if run.code is None:
                        os.kill(run.pid, signal.SIGTERM)
                    run.wait(PATIENCE)
                if answer is not None:
                    np.save(base / f"answer-{suite}.npy", answer)


def run_chain(chain: Chain, seed: int, folder: Path, base: Path) -> dict[str, Any]:
    """Kill, run to the end, compare; return what was found, with a list of ``problems``."""
    shutil.rmtree(folder, ignore_errors=True)
    draw = random.Random(f"{seed} kills {chain.number}")
    most = float((base / f"seconds-{chain.verb}-{SUITES[chain.real][0]}").read_text())
    moments = [draw.uniform(0, most) for _ in range(chain.kills)]
    chained = _chain_of_server if chain.verb in ("serve", "live") else _chain_of_command
    problems, killed = chained(chain, moments, folder, base)
    return {
        "verb": chain.verb, "kills": killed, "real": chain.real, "problems": problems,
        "moments": [round(moment, 3) for moment in moments],
    }  # fmt: skip


def _chain_of_command(
    chain: Chain, moments: list[float], folder: Path, base: Path
) -> tuple[list[str], int]:
    suite, number, killed = SUITES[chain.real][0], 0, 0
    while True:
        target = folder / f"out-{number}"
        run = start(words(chain.verb, target, base, real=chain.real), folder, real=chain.real)
        last = killed == len(moments)
        code = run.wait(PATIENCE if last else moments[killed])
        if code is None:
            run.kill()
            killed += not last
            problems = [f"orphan: {name}" for name in run.survivors()]
            problems += [f"not done in {PATIENCE:g} s: {said(run.log)}"] if last else []
        elif code:
            problems = [f"exit code {code}: {said(run.log)}"]
        else:
            problems = compare(chain.verb, target, base, suite)
            problems += leftovers(folder / "temporary", run)
            number += 1
            if not last:  # it was faster than when its time was taken: another folder, and earlier
                moments[killed] *= 0.8
        if problems or last:
            return problems, killed


def _chain_of_server(
    chain: Chain, moments: list[float], folder: Path, base: Path
) -> tuple[list[str], int]:
    port = free_port()
    command = words(chain.verb, folder, base, real=chain.real, port=port)
    for number, moment in enumerate(moments, start=1):
        run = start(command, folder, real=chain.real)
        with clients(chain.verb, port):
            code = run.wait(moment)
            run.kill()
        problems = [f"orphan: {name}" for name in run.survivors()]
        problems += [f"exit code {code}: {said(run.log)}"] if code is not None else []
        problems += [] if is_free(port) else [f"port {port} is not free after the kill"]
        if problems:
            return problems, number
    run = start(command, folder, real=chain.real)
    answer = base / f"answer-{SUITES[chain.real][0]}.npy"
    problems = finish_server(chain.verb, port, run, answer)
    return problems + leftovers(folder / "temporary", run), len(moments)


def leftovers(temporary: Path, run: Run) -> list[str]:
    """Return what is left behind of an ended command."""
    names = sorted(path.name for path in temporary.iterdir())
    found = [f"temporary files are left: {names[:3]}"] if names else []
    return found + [f"orphan: {name}" for name in run.survivors()]


@cache
def reference(base: Path, verb: str, suite: str) -> tuple[Path, dict[str, bytes]]:
    """Return the folder of the undisturbed result, and its files."""
    folder = base / f"{RESULTS[verb]}-{suite}"
    return folder, files(folder)


def files(folder: Path) -> dict[str, bytes]:
    """Return every file that must be the same, byte for byte, by its name."""
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not (name := str(path.relative_to(folder))).startswith(UNEQUAL)
        and not name.startswith(".frames")
        and path.name != "config.json"  # it and its copies hold the command
    }


def compare(verb: str, folder: Path, base: Path, suite: str) -> list[str]:
    """Return how a result differs from the undisturbed one."""
    wanted_folder, wanted = reference(base, verb, suite)
    found, problems = files(folder), []
    ignored = (".mp4",) if verb == "eval" else ()
    if lost := sorted(wanted.keys() - found.keys()):
        problems.append(f"lost: {lost[:3]}")
    if more := sorted(found.keys() - wanted.keys()):
        problems.append(f"left over: {more[:3]}")
    for name in sorted(wanted.keys() & found.keys()):
        if name.endswith(ignored) or found[name] == wanted[name]:
            continue
        if name.endswith(".safetensors") and same_tensors(folder / name, wanted_folder / name):
            continue
        if name.endswith("state.json") and same_state(found[name], wanted[name]):
            continue
        problems.append(f"differs: {name}")
    if verb == "train" and metrics(folder) != metrics(wanted_folder):
        problems.append("differs: metrics.jsonl")
    if verb == "eval":
        problems += compare_evaluations(folder, wanted_folder)
    return problems


def same_tensors(one: Path, other: Path) -> bool:
    """Return whether two files hold the same tensors, bit for bit."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def same_state(one: bytes, other: bytes) -> bool:
    """Return whether two files of counters say the same, but for the clock and their checksum."""
    first, second = json.loads(one), json.loads(other)
    names = first.keys() | second.keys()
    unlike = {name for name in names if first.get(name) != second.get(name)}
    return unlike <= {"seconds", "checksum"}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without what depends on the clock."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in (*CLOCK, "checksum")} for line in lines]


def compare_evaluations(folder: Path, wanted: Path) -> list[str]:
    """Return how an evaluation differs: in results, or by an episode that is there twice."""
    problems = []
    found, expected = (json.loads((one / "results.json").read_text()) for one in (folder, wanted))
    for name in ("episodes", "tasks", "films", "score", "task_mean"):
        if found[name] != expected[name]:
            problems.append(f"results.json differs in {name}")
    lines = map(json.loads, (folder / "episodes.jsonl").read_text().splitlines()[1:])
    times = Counter((line["probe"], line["task"], line["seed"]) for line in lines)
    doubled = [episode for episode, count in times.items() if count > 1]
    if doubled:
        problems.append(f"doubled: {doubled[:3]}")
    if sum(times.values()) != len(expected["episodes"]):
        problems.append(f"episodes.jsonl has {sum(times.values())} episodes")
    return problems


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether a server can listen at a port."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


GONE = (InputError, OSError, EOFError, Exception)
"""What a client meets whose server is killed."""


def ask(port: int) -> np.ndarray:
    """Return the chunk that a policy server answers to a picture of grey."""
    connection = PolicyConnection(f"ws://127.0.0.1:{port}", timeout=20.0)
    try:
        told = connection.metadata
        size = told["image_size"]
        picture = np.full((size, size, 3), 99, np.uint8)
        message: dict[str, Any] = dict.fromkeys(told["picture_keys"].values(), picture)
        message |= {"observation/state": np.zeros(told["state_dim"], np.float32), "prompt": "go"}
        return np.asarray(connection.infer(message)["actions"])
    finally:
        connection.close()


def watch(port: int) -> None:
    """Visit a live page: run the robot until it has moved, and download the episode."""
    address = f"127.0.0.1:{port}"
    with connect(f"ws://{address}/socket", open_timeout=20, max_size=None) as page:
        step = 0
        while step < 4:
            message = page.recv(timeout=10)
            frame = json.loads(message) if isinstance(message, str) else {}
            step = frame.get("step", step)
            if frame.get("kind") == "frame" and not frame["running"] and step < 4:
                page.send(json.dumps({"do": "run"}))  # before the first frame there is no robot
        with urllib.request.urlopen(f"http://{address}/episode.zip", timeout=60) as answer:
            if not answer.read(4).startswith(b"PK"):
                raise ValueError("episode.zip is no archive")


@contextmanager
def clients(verb: str, port: int, count: int = 3) -> Iterator[None]:
    """Let clients ask as soon as the server listens, and again, in this block."""
    over = threading.Event()

    def again() -> None:
        while not over.is_set():
            with suppress(*GONE):
                ask(port) if verb == "serve" else watch(port)
            over.wait(0.05)

    threads = [threading.Thread(target=again, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def until_it_answers(verb: str, port: int, run: Run) -> np.ndarray | None:
    """Return a server's answer as soon as there is one; None of a live page."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if verb == "serve":
                return ask(port)
            return watch(port)
        except GONE as error:
            ended = run.wait(0.05)
            if ended is not None:
                raise RuntimeError(f"exit code {ended}: {said(run.log)}") from error
            if time.monotonic() > until:
                raise


def finish_server(verb: str, port: int, run: Run, wanted: Path) -> list[str]:
    """Let clients come back to a server that was started again, and end it as a user does."""
    problems = []
    try:
        answer = until_it_answers(verb, port, run)
        if answer is not None and not np.array_equal(answer, np.load(wanted)):
            problems.append("the answer differs from that of the undisturbed server")
    except GONE as error:
        problems.append(f"no answer after the restart: {type(error).__name__}: {error!s:.300}")
    if run.code is None:
        os.kill(run.pid, signal.SIGTERM)
    if run.wait(20.0) is None:
        problems.append("it does not end by SIGTERM within 20 s")
        run.kill()
    if not is_free(port):
        problems.append(f"port {port} is not free at the end")
    return problems
