import socket

import pytest
import torch

from eyehand.live.live_page import SENDING_SECONDS, LiveConfig
from eyehand.policies.registry import RELEASED
from eyehand.runs import live as live_run
from eyehand.runs.live import make_live_policy, show_live
from eyehand.types import Observation


def test_the_live_policy_is_timed_in_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # of its own process only
    policy, live, timer = make_live_policy(RELEASED / "mt50")
    assert (live.name, live.cameras) == ("bcz", {"work_area": 96})
    assert live.executed < live.horizon
    observation = Observation(
        image={"work_area": torch.zeros(1, 96, 96, 3, dtype=torch.uint8)},
        state=torch.zeros(1, 4),
        instruction=["open the drawer"],
        env_ids=[0],
    )
    with timer:
        policy.act(observation)
    assert list(timer.milliseconds) == ["perceive", "fuse", "act"]
    assert all(time > 0 for time in timer.milliseconds.values())


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has this time limit")
def test_a_connection_that_is_never_read_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = []

    def serve(app: object, sock: socket.socket, **_: object) -> None:
        with socket.create_connection(sock.getsockname()), sock.accept()[0] as visitor:
            limits.append(visitor.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    monkeypatch.setattr(live_run, "serve", serve)
    show_live(RELEASED / "mt50", LiveConfig(port=0, token="a key&"))
    assert limits == [1000 * SENDING_SECONDS]
    assert "/?token=a+key%26 in a browser" in capsys.readouterr().err
