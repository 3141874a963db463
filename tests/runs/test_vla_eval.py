"""AllenAI's harness asks our checkpoint as it asks any model server."""

from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from eyehand.types import InputError

pytest.importorskip("vla_eval", reason="vla-eval is not installed: make extras")
from vla_eval.api import serve_background
from vla_eval.connection import Connection
from vla_eval.model_servers.base import SessionContext

from eyehand.runs.vla_eval import CheckpointServer


@pytest.fixture(scope="module")
def server() -> CheckpointServer:
    return CheckpointServer(Path("mt50"), executed=3)


def observation(**changes: Any) -> dict[str, Any]:
    return {
        "images": {"front": np.zeros((128, 128, 3), np.uint8)},
        "states": [0.1, 0.6, 0.2, 1.0],
        "task_description": "open a drawer",
    } | changes


def test_the_harness_gets_actions_over_its_own_connection(server: CheckpointServer) -> None:
    """Three actions of a chunk, then another chunk; the harness cuts and counts."""

    async def episode(address: str) -> list[np.ndarray]:
        async with Connection(address) as connection:
            await connection.start_episode({"task": {"name": "drawer"}})
            answers = [await connection.act(observation()) for _ in range(4)]
            await connection.end_episode({"success": False})
        return [np.asarray(answer["actions"]) for answer in answers]

    with serve_background(server) as handle:
        actions = anyio.run(episode, handle.url)
    for stream in (server._send_stream, server._receive_stream):  # the harness leaves them open
        stream.close()
    assert [action.shape for action in actions] == [(4,)] * 4
    assert all(np.abs(action).max() <= 1 for action in actions)
    np.testing.assert_allclose(actions[0], actions[3], atol=1e-5)  # the same picture again
    assert not np.allclose(actions[0], actions[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": {}}, "reads 1 cameras"),
        ({"images": {"front": np.zeros((8, 8), np.uint8)}}, "uint8 picture"),
        ({"states": [1.0]}, "must be 4 numbers"),
        ({"states": None}, "must be 4 numbers"),
        ({"states": [np.nan] * 4}, "finite"),
        ({"task_description": " "}, "must have at least one word"),
    ],
)
def test_what_does_not_fit_is_refused(
    server: CheckpointServer, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        server.predict_batch([observation(**changes)], [SessionContext("a", "b")])


def test_it_says_what_it_wants(server: CheckpointServer) -> None:
    assert server.get_observation_params() == {"send_state": True}
    assert set(server.get_observation_spec()) == {"image", "state", "language"}
    assert set(server.get_action_spec()) == {"actions"}
