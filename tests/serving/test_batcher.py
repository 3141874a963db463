"""Requests that come together are answered by one call, and none can spoil another's."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest

from eyehand.serving.batcher import Batcher
from eyehand.serving.client import PolicyConnection
from eyehand.serving.observation import Bounds, PolicyInterface, read_observation
from eyehand.types import InputError

Serve = Make = Callable[..., Any]


def test_a_call_has_at_most_so_many_robots_and_each_gets_its_own_chunk(
    interface: PolicyInterface, observation: Make, echo: Make
) -> None:
    policy = echo()

    async def ask_five() -> list[float]:
        batcher = Batcher(policy, window=0.2, most=2, queue=8, connected=lambda: 5)
        running = asyncio.create_task(batcher.run())
        seen = [
            read_observation(observation((n / 10, 0.0, 0.0)), interface, Bounds()) for n in range(5)
        ]
        answers = await asyncio.gather(*(batcher.ask(one, n) for n, one in enumerate(seen)))
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return [round(float(answer.chunk[0, 0]), 3) for answer in answers]

    assert asyncio.run(ask_five()) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert policy.calls == [[0, 1], [2, 3], [4]]


def test_a_client_that_has_gone_is_not_computed_for(
    interface: PolicyInterface, observation: Make, echo: Make
) -> None:
    policy = echo()

    async def leave_and_stay() -> int:
        batcher = Batcher(policy, window=0.0, most=8, queue=8, connected=lambda: 2)
        seen = read_observation(observation(), interface, Bounds())
        gone, stays = (asyncio.create_task(batcher.ask(seen, n)) for n in range(2))
        await asyncio.sleep(0)  # both have asked
        gone.cancel()
        running = asyncio.create_task(batcher.run())
        answer = await stays
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return answer.batch

    assert asyncio.run(leave_and_stay()) == 1
    assert policy.calls == [[1]]


def test_robots_that_ask_together_are_answered_together(
    serve: Serve, observation: Make, echo: Make
) -> None:
    policy = echo(seconds=0.05)
    _, address = serve(policy, window_ms=200.0)
    connections = [PolicyConnection(f"ws://{address}") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        states = [(0.1 * n, 0.0, 0.0) for n in range(4)]
        answers = list(threads.map(lambda c, s: c.infer(observation(s)), connections, states))
    assert [round(float(answer["actions"][0, 0]), 3) for answer in answers] == [0.0, 0.1, 0.2, 0.3]
    assert len(policy.calls) == 1
    assert {answer["server_timing"]["robots"] for answer in answers} == {4}
    for connection in connections:
        connection.close()


def test_one_robots_bad_luck_is_not_the_others(serve: Serve, observation: Make, echo: Make) -> None:
    policy = echo(seconds=0.02)
    _, address = serve(policy, window_ms=200.0)
    connections = [PolicyConnection(f"ws://{address}") for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        bad = threads.submit(connections[0].infer, observation(prompt="fail"))
        good = threads.submit(connections[1].infer, observation())
        with pytest.raises(InputError, match="the policy failed"):
            bad.result()
        assert good.result()["server_timing"]["robots"] == 1
    for connection in connections:
        connection.close()


def test_a_lone_robot_does_not_wait_for_others(serve: Serve, observation: Make, echo: Make) -> None:
    _, address = serve(echo(), window_ms=900.0)
    with closing(PolicyConnection(f"ws://{address}")) as connection:
        connection.infer(observation())
        assert connection.infer(observation())["server_timing"]["wait_ms"] < 500


def test_more_observations_than_fit_the_queue_are_refused(
    serve: Serve, observation: Make, echo: Make
) -> None:
    policy = echo(seconds=0.3)
    _, address = serve(policy, most_waiting=1, most_robots=1)
    connections = [PolicyConnection(f"ws://{address}") for _ in range(6)]

    def ask(connection: PolicyConnection) -> str:
        try:
            connection.infer(observation())
        except InputError as error:
            return str(error)
        return "answered"

    with ThreadPoolExecutor(6) as threads:
        said = list(threads.map(ask, connections))
    assert "answered" in said
    assert any("the server is busy: 1 observations wait" in text for text in said)
    for connection in connections:
        connection.close()
