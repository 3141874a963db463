"""Bad messages and hostile connections to a policy server; part of `benchmarks/reliability.py`.

A block is a server of its own, which gets up to a thousand bad messages while up to fifty hostile
connections (`benchmarks/hostile_clients.py`) attack it in every way at once. A calm client asks ten
times a second; its waiting times and the server's resident memory above the calm one are noted.
The server is on one core; the calm client and, at a lower priority, the attackers on the other.
"""

import asyncio
import json
import multiprocessing
import os
import random
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from benchmarks.hostile_clients import ATTACKS
from benchmarks.reliability_kills import GONE, ask, free_port, until_it_answers
from benchmarks.reliability_process import Run, said, start
from eyehand.functional.wire import pack, unpack
from eyehand.serving.client import PolicyConnection
from eyehand.types import InputError

MESSAGES, CONNECTIONS = 1000, 50
"""Of one block."""
CHECKPOINT = "mt50"
CALM_HERTZ = 10.0
SECONDS = 20.0
"""Shortest attack."""
LONGEST = 100.0
"""Longest attack, seconds: a server that takes longer for the messages of a block has failed."""
MOST_MEMORY, MOST_P99 = 300.0, 50.0
"""Megabytes above the calm server, and milliseconds."""
ANSWER_SECONDS = 10.0
"""Longest wait for an answer to a bad message."""
SERVER_CORE, CLIENT_CORE = 0, -1
CHANGED = 0.3
"""Share of good messages of which some bytes are changed; they may still be good."""


@dataclass(frozen=True)
class Block:
    """Messages and connections that are tried on one server."""

    number: int
    messages: int
    connections: int
    seed: str


def blocks(count: int, seed: int) -> Iterator[Block]:
    """Yield blocks with ``count`` messages in all."""
    for number, begin in enumerate(range(0, count, MESSAGES)):
        messages = min(MESSAGES, count - begin)
        connections = CONNECTIONS * messages // MESSAGES
        yield Block(number, messages, connections, f"{seed} messages {number}")


def bad_message(told: dict[str, Any], draw: random.Random) -> tuple[str, bytes | str]:
    """Return a kind and a message of it; only "changed" ones may still be good."""
    size, state = told["image_size"], told["state_dim"]
    good: dict[str, Any] = {
        key: np.full((size, size, 3), 99, np.uint8) for key in told["picture_keys"].values()
    } | {"observation/state": np.zeros(state, np.float32), "prompt": "open the drawer"}
    key = draw.choice(sorted(good))
    raw = bytearray(pack(good))
    if draw.random() < CHANGED:
        for _ in range(draw.randint(1, 8)):
            raw[draw.choice((draw.randrange(200), draw.randrange(len(raw))))] = draw.randrange(256)
        return "changed", bytes(raw)
    array = {
        b"__ndarray__": True,
        b"data": bytes(12),
        b"dtype": draw.choice(
            ("|u1", "<f4", "|O", "O", "<V8", "<U9", "<c8", "<M8[s]", "", None, 7)
        ),
        b"shape": draw.choice(([2**62, 4], [-1], [9] * 9, [0], [3.5], ["3"], None, [2**31] * 2)),
    }
    count = draw.choice((b"\xdf", b"\xdd", b"\xc6", b"\xdb")) + draw.randbytes(4)
    deep = draw.choice((b"\x91", b"\x81\xa1x")) * draw.choice((10, 1000, 100_000))
    spoiled = np.full(state, draw.choice((np.nan, np.inf, -np.inf)), np.float32)
    other = draw.choice((None, 1, 1.5, True, [], {}, b"x", [1] * 5000, np.zeros((2, 2)), -(2**62)))
    control = draw.choice(("nothing", 1, None, ["episode_start"], "episode_start\0"))
    bad: dict[str, bytes | str] = {
        "cut": bytes(raw[: draw.randrange(len(raw))]),
        "random": draw.randbytes(draw.choice((0, 1, 5, 100, 10_000))),
        "text": draw.choice(("", "{}", "hello", "\0" * 1000, json.dumps({"prompt": "go"}))),
        "nested": b"\x81\xa1x" + deep + b"\xc0",
        "lying count": b"\x81\xa1x" + count + draw.randbytes(40),
        "lying array": pack(good | {key: array}),
        "wrong number": pack(good | {"observation/state": spoiled}),
        "wrong type": pack(good | {key: other}),
        "missing": pack({name: value for name, value in good.items() if name != key}),
        "control": pack(good | {"__ctrl__": control}),
        "long": pack(good | {"prompt": "pull " * draw.choice((10_000, 100_000))}),
    }
    kind = draw.choice(sorted(bad))
    return kind, bad[kind]


def judge(kind: str, answer: str | bytes, told: dict[str, Any]) -> str | None:
    """Return what is wrong with the answer to a bad message; None if it is right."""
    if isinstance(answer, str):
        return f"{kind}: answered by a traceback" if "Traceback" in answer else None
    if kind != "changed":
        return f"{kind}: answered as if it were good"
    try:
        chunk = unpack(answer).get("actions")
    except InputError as error:
        return f"{kind}: {error}"
    shape = (told["horizon"], told["action_dim"])
    fits = isinstance(chunk, np.ndarray) and chunk.shape == shape and np.isfinite(chunk).all()
    return None if fits else f"{kind}: answered by no chunk"


def send_bad(port: int, block: Block, result: Connection) -> None:
    """Send the bad messages of a block, over the time that it takes; tell what went wrong."""
    _step_aside()
    draw, problems, closed, sent = random.Random(block.seed), [], 0, 0
    socket: ClientConnection | None = None
    told: dict[str, Any] = {}
    until = time.monotonic() + LONGEST
    for number in range(block.messages):
        began = time.monotonic()
        if began > until:
            problems.append(f"{number} messages of {block.messages} took {LONGEST:g} s")
            break
        sent += 1
        try:
            if socket is None:
                socket = connect(f"ws://127.0.0.1:{port}", max_size=None, compression=None)
                told = unpack(socket.recv(ANSWER_SECONDS))
            kind, message = bad_message(told, draw)
            socket.send(message)
            problem = judge(kind, socket.recv(ANSWER_SECONDS), told)
            if problem:
                problems.append(f"message {number}, {problem}")
        except TimeoutError:
            problems.append(f"message {number}: no answer in {ANSWER_SECONDS:g} s")
            socket = None
        except (OSError, WebSocketException):  # closed by the server, which it may
            socket, closed = None, closed + 1
            time.sleep(0.05)
        time.sleep(max(0.0, SECONDS / MESSAGES - (time.monotonic() - began)))
    result.send((problems, closed, sent))


def attack(port: int, connections: int) -> None:
    """Attack in every way at once, until the process is killed."""
    _step_aside()
    address, ways = f"127.0.0.1:{port}", list(ATTACKS.values())
    shares = [len(range(number, connections, len(ways))) for number in range(len(ways))]

    async def all_ways() -> None:
        pairs = zip(ways, shares, strict=True)
        await asyncio.gather(*(way(address, share) for way, share in pairs if share))

    asyncio.run(all_ways())


def _step_aside() -> None:
    os.nice(10)


def ask_calmly(port: int, over: Any, result: Connection) -> None:
    """Ask ten times a second; tell the times of the answers, ms, and the problems."""
    times, problems = [], []
    connection = PolicyConnection(f"ws://127.0.0.1:{port}", timeout=60.0)
    told = connection.metadata
    size = told["image_size"]
    picture = np.full((size, size, 3), 99, np.uint8)
    message: dict[str, Any] = dict.fromkeys(told["picture_keys"].values(), picture)
    message |= {"observation/state": np.zeros(told["state_dim"], np.float32), "prompt": "go"}
    connection.infer(message)  # the sentence is encoded once
    result.send("ready")
    while not over.is_set():
        began = time.perf_counter()
        try:
            connection.infer(message)
        except InputError as error:
            problems.append(f"the calm client: {error!s:.200}")
            with suppress(InputError):
                connection = PolicyConnection(f"ws://127.0.0.1:{port}", timeout=60.0)
        times.append(round(1000 * (time.perf_counter() - began), 2))
        time.sleep(max(0.0, 1 / CALM_HERTZ - times[-1] / 1000))
    result.send((times, problems))


def run_block(block: Block, folder: Path, base: Path) -> dict[str, Any]:
    """Attack a server; return times, memory and ``problems``."""
    port = free_port()
    cores = sorted(os.sched_getaffinity(0))
    run = start(["serve", CHECKPOINT, "--port", str(port)], folder, real=True)
    context, processes = multiprocessing.get_context("fork"), []
    try:
        wanted = until_it_answers("serve", port, run)
        _pin(run.pid, cores[SERVER_CORE])
        os.sched_setaffinity(0, [cores[CLIENT_CORE]])
        over = context.Event()
        pipes = {name: context.Pipe() for name in ("calm", "bad")}
        jobs = [
            context.Process(target=ask_calmly, args=(port, over, pipes["calm"][1])),
            context.Process(target=send_bad, args=(port, block, pipes["bad"][1])),
            context.Process(target=attack, args=(port, block.connections)),
        ]
        server = psutil.Process(run.pid)
        processes.append(jobs[0])
        jobs[0].start()
        pipes["calm"][0].recv()
        time.sleep(2.0)
        calm = most = server.memory_info().rss
        for job in jobs[1:]:
            job.start()
            processes.append(job)
        until = time.monotonic() + SECONDS * max(0.25, block.messages / MESSAGES)
        while time.monotonic() < until or not pipes["bad"][0].poll():
            most = max(most, server.memory_info().rss)
            time.sleep(0.05)
            if run.wait(0) is not None or not jobs[1].is_alive():
                break
        over.set()
        told = pipes["bad"][0].recv() if pipes["bad"][0].poll(1.0) else (["died"], 0, 0)
        problems, closed, sent = told
        times, more = pipes["calm"][0].recv() if pipes["calm"][0].poll(90.0) else ([], ["stuck"])
        problems += more
        jobs[2].kill()
        problems += _after(port, run, wanted)
    except psutil.NoSuchProcess:
        return {"problems": [f"the server is down: {said(run.log)}"]}
    finally:
        for job in processes:
            job.kill()
        if run.code is None:
            os.kill(run.pid, signal.SIGTERM)
        if run.wait(20.0) is None:
            run.kill()
    memory = (most - calm) / 1e6
    late = float(np.quantile(times, 0.99)) if times else float("inf")
    if memory > MOST_MEMORY:
        problems.append(f"memory {memory:.0f} MB above calm")
    if late > MOST_P99:
        problems.append(f"p99 of the calm client {late:.0f} ms")
    return {
        "messages": sent, "connections": block.connections, "closed": closed,
        "times_ms": times, "memory_mb": memory, "problems": problems,
    }  # fmt: skip


def _pin(pid: int, core: int) -> None:
    for task in os.listdir(f"/proc/{pid}/task"):
        with suppress(OSError):
            os.sched_setaffinity(int(task), [core])


def _after(port: int, run: Run, wanted: np.ndarray | None) -> list[str]:
    """Return what is wrong with the server after the attack."""
    problems = []
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.read() == b"OK\n"
        for _ in range(50):  # the hostile connections may take a moment to go
            with suppress(InputError):
                # Alone in its batch or not, an answer is rounded otherwise.
                if not np.allclose(ask(port), wanted, atol=1e-4):
                    problems.append("after the attack it answers otherwise")
                break
            time.sleep(0.2)
        else:
            problems.append("after the attack it takes no client")
    except GONE as error:
        problems.append(f"after the attack: {type(error).__name__}: {error!s:.200}")
    if "Traceback" in run.log.read_text(errors="replace"):
        problems.append(f"a traceback in the server: {said(run.log)}")
    return problems
