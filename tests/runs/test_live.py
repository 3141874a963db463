import pytest
import torch

from eyehand.policies.registry import RELEASED
from eyehand.runs.live import make_live_policy
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
