"""What hostile clients do to a calm client of the policy server: its waiting time, and memory.

The attacks are plain functions, so that others can combine them. Each takes the server's address,
``HOST:PORT``, and a number of connections, and goes on until it is cancelled; a connection that the
server closes is opened again after `PAUSE` seconds.

    flood(address, connections, payload=...)   sends one message after the other, reads the answers
    never_read(address, connections)           sends valid observations and pings, reads nothing
    ping(address, connections)                 sends pings as fast as they go
    open_slowly(address, connections)          a handshake of one byte a second
    half_send(address, connections, ...)       the first half of a long message, then nothing
    stay_idle(address, connections)            connects and says nothing
    cut_up(address, connections)               a message in fragments of no bytes that never ends

`ATTACKS` names all with their usual payloads; ``garbage``, ``small_maps`` and ``observation`` make
payloads. Sockets are raw, so that an attacker costs the machine little; a frame's mask is zero.

Run:
    python benchmarks/hostile_clients.py [--connections 500] [--seconds 5] [--attacks flood ping]

A stub policy of 2 ms serves in one process, the attackers are a second, the calm client a third: it
asks 20 times a second. The table shows the median and the 99th percentile of its answers, how many
never came, and the server's memory above that of the calm server.
"""

import argparse
import asyncio
import contextlib
import math
import multiprocessing
import random
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
import psutil
import torch

from eyehand.functional.wire import pack
from eyehand.serving.client import PolicyConnection
from eyehand.serving.observation import PolicyInterface
from eyehand.serving.server import PolicyServer, ServeConfig, listen
from eyehand.types import InputError, Observation

PAUSE = 0.1
"""Seconds before a hostile client connects again."""
POLICY_SECONDS = 0.002
CALM_HERTZ = 20.0
INTERFACE = PolicyInterface(
    name="stub",
    cameras=("front",),
    image_size=96,
    state_dim=4,
    action_dim=4,
    horizon=16,
    history_stride=1,
    checkpoint_sha256="0" * 64,
    action_low=(-1.0,) * 4,
    action_high=(1.0,) * 4,
)
TEXT, BINARY, PING = 1, 2, 9
HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LOST = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
"""What a server that closes a connection does to its client."""


def frame(payload: bytes, *, opcode: int = BINARY, final: bool = True) -> bytes:
    """Return a client's WebSocket frame; its mask is zero."""
    return head(len(payload), opcode=opcode, final=final) + payload


def head(length: int, *, opcode: int = BINARY, final: bool = True) -> bytes:
    """Return the beginning of a frame of ``length`` bytes."""
    first = bytes([opcode | (0x80 if final else 0)])
    if length < 126:
        return first + bytes([0x80 | length]) + bytes(4)
    if length < 2**16:
        return first + b"\xfe" + struct.pack(">H", length) + bytes(4)
    return first + b"\xff" + struct.pack(">Q", length) + bytes(4)


def garbage(length: int, *, seed: int = 0) -> bytes:
    """Return random bytes."""
    return random.Random(seed).randbytes(length)


def small_maps(length: int) -> bytes:
    """Return a message of that many bytes whose value is lists in lists of empty maps."""
    inner = b"\xdc\x27\x10" + b"\x80" * 10_000
    count = max(1, min(10_000, (length - 20) // len(inner)))
    if length < len(inner):
        return b"\x81\xa1x\xdc" + struct.pack(">H", length) + b"\x80" * length
    return b"\x81\xa1x\xdc" + struct.pack(">H", count) + inner * count


def observation(size: int = 96) -> bytes:
    """Return an observation that the stub answers."""
    return pack(
        {
            "observation/image": np.zeros((size, size, 3), np.uint8),
            "observation/state": np.zeros(4, np.float32),
            "prompt": "open the drawer",
        }
    )


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket; raises an error of `LOST` if the server refuses."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(HANDSHAKE.format(address=address).encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _again(one: Callable[[], Awaitable[None]], connections: int) -> None:
    """Let every connection do the same, again and again, until it is cancelled."""

    async def forever() -> None:
        while True:
            with contextlib.suppress(*LOST):
                await one()
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(forever())


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(2**16):
        pass


@contextlib.asynccontextmanager
async def _connected(address: str, *, reads: bool = True) -> AsyncIterator[asyncio.StreamWriter]:
    reader, writer = await connect(address)
    reading = asyncio.create_task(_drain(reader)) if reads else None
    if not reads:
        writer.transport.pause_reading()
    try:
        yield writer
    finally:
        if reading is not None:
            reading.cancel()
        writer.transport.abort()


async def flood(address: str, connections: int, *, payload: bytes) -> None:
    """Send one message after the other, and read what is answered."""
    whole = frame(payload)

    async def one() -> None:
        async with _connected(address) as writer:
            while True:
                writer.write(whole)
                await writer.drain()
                await asyncio.sleep(0)

    await _again(one, connections)


async def ping(address: str, connections: int, *, reads: bool = True) -> None:
    """Send pings as fast as they go."""
    many = frame(b"", opcode=PING) * 1000

    async def one() -> None:
        async with _connected(address, reads=reads) as writer:
            while True:
                writer.write(many)
                await writer.drain()
                await asyncio.sleep(0)

    await _again(one, connections)


async def never_read(address: str, connections: int) -> None:
    """Send observations and long pings, and read nothing."""
    both = frame(observation()) + frame(bytes(125), opcode=PING) * 100

    async def one() -> None:
        async with _connected(address, reads=False) as writer:
            while True:
                writer.write(both)
                await writer.drain()
                await asyncio.sleep(0)

    await _again(one, connections)


async def open_slowly(address: str, connections: int) -> None:
    """Send a handshake of one byte a second."""
    host, _, port = address.rpartition(":")

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        reading = asyncio.create_task(_drain(reader))
        try:
            for character in HANDSHAKE.format(address=address):
                if reading.done():
                    return
                writer.write(character.encode())
                await writer.drain()
                await asyncio.sleep(1.0)
        finally:
            reading.cancel()
            writer.transport.abort()

    await _again(one, connections)


async def half_send(address: str, connections: int, *, length: int = 3_000_000) -> None:
    """Send all but the last byte of a long message, and then nothing."""

    async def one() -> None:
        reader, writer = await connect(address)
        try:
            writer.write(head(length) + bytes(length - 1))
            await writer.drain()
            await _drain(reader)
        finally:
            writer.transport.abort()

    await _again(one, connections)


async def cut_up(address: str, connections: int) -> None:
    """Send a message in fragments of no bytes that never ends."""
    many = frame(b"", opcode=0, final=False) * 1000

    async def one() -> None:
        async with _connected(address) as writer:
            writer.write(frame(b"", final=False))
            while True:
                writer.write(many)
                await writer.drain()
                await asyncio.sleep(0)

    await _again(one, connections)


async def stay_idle(address: str, connections: int) -> None:
    """Connect and say nothing."""

    async def one() -> None:
        reader, writer = await connect(address)
        try:
            await _drain(reader)
        finally:
            writer.transport.abort()

    await _again(one, connections)


ATTACKS: dict[str, Callable[[str, int], Awaitable[None]]] = {
    "100 kB of garbage": partial(flood, payload=garbage(100_000)),
    "100 kB of empty maps": partial(flood, payload=small_maps(100_000)),
    "3 MB of empty maps": partial(flood, payload=small_maps(3_000_000)),
    "16 MB of empty maps": partial(flood, payload=small_maps(16_000_000)),
    "pictures of 1000 pixels": partial(flood, payload=observation(1000)),
    "empty messages": partial(flood, payload=b""),
    "pings": ping,
    "pings, never read": partial(ping, reads=False),
    "observations, never read": never_read,
    "slow handshakes": open_slowly,
    "half messages": half_send,
    "fragments": cut_up,
    "idle": stay_idle,
}
"""Every attack by name."""


class StubPolicy:
    """Answers zeros after `POLICY_SECONDS`."""

    def act(self, observation: Observation) -> torch.Tensor:
        """Return a chunk."""
        time.sleep(POLICY_SECONDS)
        return torch.zeros(len(observation.env_ids), INTERFACE.horizon, INTERFACE.action_dim)

    def reset(self, env_ids: list[int]) -> None:
        """Nothing to forget."""


def serve_stub(wire: Connection) -> None:
    """Serve the stub; tells its address."""
    torch.set_num_threads(1)
    server = PolicyServer(StubPolicy(), INTERFACE, ServeConfig(port=0))
    with listen("127.0.0.1", 0) as sock:
        wire.send(f"127.0.0.1:{sock.getsockname()[1]}")
        server.web_server().run(sockets=[sock])


def attack(name: str, address: str, connections: int, wire: Connection) -> None:
    """Say that all is loaded, wait for the word, and attack until the process is ended."""
    wire.send("ready")
    wire.recv()
    asyncio.run(ATTACKS[name](address, connections))


def calm(address: str, wire: Connection) -> None:
    """Ask `CALM_HERTZ` times a second until there is word; send begin and time of every answer.

    The time of an answer that never came is infinite.
    """
    message = {
        "observation/image": np.zeros((96, 96, 3), np.uint8),
        "observation/state": np.zeros(4, np.float32),
        "prompt": "open the drawer",
    }
    times = []
    connection = PolicyConnection(f"ws://{address}", timeout=30.0)
    while not wire.poll():
        begun = time.time()
        try:
            connection.infer(message)
            times.append((begun, time.time() - begun))
        except InputError:
            times.append((begun, math.inf))
        time.sleep(max(0.0, 1 / CALM_HERTZ - (time.time() - begun)))
    connection.close()
    wire.send(times)


def measure(name: str | None, connections: int, seconds: float) -> tuple[list[float], float]:
    """Return the times of a calm client's answers under an attack, and the server's memory, MB.

    Both count from the attack's first moment on.
    """
    context = multiprocessing.get_context("spawn")
    started = []

    def start(function: Callable[..., None], *arguments: object) -> tuple[int, Connection]:
        ours, theirs = context.Pipe()
        process = context.Process(target=function, args=(*arguments, theirs), daemon=True)
        process.start()
        started.append(process)
        return process.pid, ours

    try:
        number, server = start(serve_stub)
        address = server.recv()
        process = psutil.Process(number)
        _, client = start(calm, address)
        if name is not None:
            _, attacker = start(attack, name, address, connections)
            attacker.recv()
        time.sleep(2.0)
        before, begun = process.memory_info().rss, time.time()
        if name is not None:
            attacker.send("go")
        most = 0
        while time.time() < begun + seconds:
            most = max(most, process.memory_info().rss)
            time.sleep(0.05)
        client.send("enough")
        times = [passed for at, passed in client.recv() if at > begun]
    finally:
        for one in started:
            one.kill()
            one.join()
    return times, (most - before) / 1e6


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--attacks", nargs="*", choices=ATTACKS, default=list(ATTACKS))
    wanted = parser.parse_args()
    print("| attack | answers | lost | p50, ms | p99, ms | longest, ms | memory, MB |")
    print("| --- " * 7 + "|")
    for name in [None, *wanted.attacks]:
        times, memory = measure(name, wanted.connections, wanted.seconds)
        lost = sum(map(math.isinf, times))
        median, late, longest = 1000 * np.quantile(times, [0.5, 0.99, 1.0], method="higher")
        print(
            f"| {name or 'none'} | {len(times)} | {lost} | {median:.1f} | {late:.1f} | "
            f"{longest:.1f} | {memory:+.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
