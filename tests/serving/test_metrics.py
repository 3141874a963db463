"""What the server counts while it is used."""

from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.request import urlopen

from eyehand.serving.client import PolicyConnection
from eyehand.serving.metrics import Metrics

Serve = Make = Callable[..., Any]


def test_a_server_counts_its_clients_messages_and_calls(
    serve: Serve, observation: Make, echo: Make
) -> None:
    _, address = serve(echo())
    with closing(PolicyConnection(f"ws://{address}")) as connection:
        for _ in range(3):
            connection.infer(observation())
        page = urlopen(f"http://{address}/metrics").read().decode()
    for line in (
        "eyehand_clients 1.0",
        'eyehand_requests_total{outcome="answered"} 3.0',
        "eyehand_latency_seconds_count 3.0",
        'eyehand_batch_robots_bucket{le="1.0"} 3.0',
        "eyehand_queue 0.0",
    ):
        assert line in page.splitlines()


def test_two_servers_of_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.stopped.inc()
    assert b"eyehand_stopped_episodes_total 1.0" in first.text()
    assert b"eyehand_stopped_episodes_total 0.0" in second.text()
