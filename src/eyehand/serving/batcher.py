"""Observations of many robots, gathered for a moment and answered by one call of the policy."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from eyehand.serving.observation import CheckedObservation, stack
from eyehand.types import Actor, InputError


@dataclass(frozen=True)
class Answer:
    """The policy's answer to one robot."""

    chunk: Float32[np.ndarray, "horizon action"]
    """As the policy returned it, before limits are applied."""
    batch: int
    """Robots that were answered by the same call."""
    waited_ms: float
    """Time from the request to the start of the call."""
    policy_ms: float
    """Time of the call."""


@dataclass
class _Request:
    seen: CheckedObservation
    env_id: int
    answer: "asyncio.Future[Answer]"
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Calls a policy from one thread; every call answers all robots that have asked by then.

    While a call runs, requests queue up, and the next call takes all of them. When the policy is
    idle and fewer robots have asked than are connected, it waits up to ``window`` for the others;
    where one robot is connected there is no wait.

    Args:
        policy: Any policy.
        window: Longest wait for others, seconds.
        most: Most robots in one call.
        queue: Most requests that wait; those beyond it are refused.
        connected: Returns how many robots are connected.
    """

    def __init__(
        self,
        policy: Actor,
        *,
        window: float,
        most: int,
        queue: int,
        connected: Callable[[], int],
    ) -> None:
        self.policy, self.window, self.most = policy, window, most
        self.connected = connected
        self._queue: asyncio.Queue[_Request] = asyncio.Queue(queue)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._queue.qsize()

    async def ask(self, seen: CheckedObservation, env_id: int) -> Answer:
        """Return the policy's answer to one robot.

        Raises:
            InputError: If too many wait already, or the policy refuses the observation.
        """
        request = _Request(seen, env_id, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(request)
        except asyncio.QueueFull:
            raise InputError(
                f"the server is busy: {self._queue.maxsize} observations wait already."
            ) from None
        return await request.answer

    async def forget(self, env_id: int) -> None:
        """Begin a new episode of one robot."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self.policy.reset, [env_id])

    async def run(self) -> None:
        """Answer requests until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                requests = await self._gather()
                begun = time.perf_counter()
                try:
                    chunks = await loop.run_in_executor(self._thread, self._act, requests)
                except Exception as error:  # a bug of the policy must not stop the server
                    await self._answer_alone(requests, error)
                    continue
                passed = time.perf_counter() - begun
                for request, chunk in zip(requests, chunks, strict=True):
                    _settle(request, _answer(request, chunk, len(requests), begun, passed))
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _gather(self) -> list[_Request]:
        requests = [await self._queue.get()]
        deadline = requests[0].since + self.window
        while len(requests) < min(self.most, max(self.connected(), self.waiting)):
            left = deadline - time.perf_counter()
            if left <= 0 and self._queue.empty():
                break
            try:
                requests.append(await asyncio.wait_for(self._queue.get(), max(left, 1e-4)))
            except TimeoutError:
                break
        return [request for request in requests if not request.answer.done()]

    async def _answer_alone(self, requests: Sequence[_Request], error: Exception) -> None:
        """Call for each robot alone: where that fails it gets the error, else its answer."""
        loop = asyncio.get_running_loop()
        for request in requests:
            if len(requests) > 1:
                begun = time.perf_counter()
                try:
                    (chunk,) = await loop.run_in_executor(self._thread, self._act, [request])
                except Exception as own:
                    error = own
                else:
                    passed = time.perf_counter() - begun
                    _settle(request, _answer(request, chunk, 1, begun, passed))
                    continue
            if not request.answer.done():
                request.answer.set_exception(InputError(f"the policy failed: {error!r:.300}"))

    @torch.inference_mode()
    def _act(self, requests: Sequence[_Request]) -> Float32[np.ndarray, "robot horizon action"]:
        if not requests:
            return np.zeros((0, 1, 1), np.float32)
        observation = stack(
            [request.seen for request in requests], [request.env_id for request in requests]
        )
        chunks: Any = self.policy.act(observation).to("cpu", torch.float32).numpy()
        if chunks.ndim != 3 or len(chunks) != len(requests) or not chunks.shape[1]:
            raise ValueError(f"it returned {chunks.shape} for {len(requests)} robots")
        return chunks


def _answer(
    request: _Request, chunk: np.ndarray, batch: int, begun: float, passed: float
) -> Answer:
    return Answer(chunk, batch, 1000 * (begun - request.since), 1000 * passed)


def _settle(request: _Request, answer: Answer) -> None:
    """Deliver the answer, unless its client has disconnected."""
    if not request.answer.done():
        request.answer.set_result(answer)
