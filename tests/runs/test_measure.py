"""What is measured of a policy on a server: what the server says of itself, else what was asked."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from eyehand.evaluation.protocol import EvalConfig, EvaluatedPolicy
from eyehand.evaluation.results import Results
from eyehand.runs import measure as measure_module
from eyehand.runs.measure import measure_server
from eyehand.types import InputError, Observation


class StopError(Exception):
    """Raised where the evaluation would begin."""


class Server:
    """A connection to a policy server that says ``metadata`` of itself."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.metadata, self.closed = metadata, False

    def act(self, observation: Observation, *, generator: object = None) -> torch.Tensor:
        raise NotImplementedError

    def reset(self, env_ids: Sequence[int]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("chains", [0, 3])
def test_chains_are_told_where_they_are_asked_for(
    chains: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def stand_in(name: str, answer: object) -> None:
        def called(*_: object, **__: object) -> object:
            done.append(name)
            return answer

        monkeypatch.setattr(measure_module, name, called)

    stand_in("evaluate", object.__new__(Results))
    for name in ("evaluate_chains", "write_report", "results_table", "chains_table"):
        stand_in(name, name)
    config = EvalConfig(out=Path("unused"), suite="libero-goal", chains=chains)
    evaluated = EvaluatedPolicy("name", "", {}, words=())
    measure_module._measure(Server({}), config, evaluated, training=None)
    told = ["evaluate_chains"] if chains else []
    shown = ["chains_table"] if chains else []
    assert done == ["evaluate", *told, "write_report", "results_table", *shown]
    assert ("chains_table" in capsys.readouterr().out) == bool(chains)


def begin(
    metadata: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, camera: str | None = None
) -> EvaluatedPolicy:
    """Return whom `measure_server` evaluates, and check that it closes the connection."""
    server = Server(metadata)
    found: list[EvaluatedPolicy] = []

    def evaluate(policy: object, config: EvalConfig, evaluated: EvaluatedPolicy) -> None:
        found.append(evaluated)
        raise StopError

    monkeypatch.setattr(measure_module, "RemotePolicy", lambda address, token, action_dim: server)
    monkeypatch.setattr(measure_module, "evaluate", evaluate)
    config = EvalConfig(out=Path("unused"), tasks="reach")
    try:
        with pytest.raises(StopError):
            measure_server("ws://there", config, token=None, camera=camera, image_size=224)
    finally:
        assert server.closed
    return found[0]


def test_a_server_that_describes_itself_is_asked_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = {
        "action_dim": 4,
        "cameras": ["work_area", "corner4"],
        "image_size": 96,
        "checkpoint_sha256": "f" * 64,
    }
    evaluated = begin(told, monkeypatch, camera="corner4")
    assert evaluated.cameras == {"work_area": 96, "corner4": 96}
    assert evaluated.sha256 == "f" * 64
    assert " ".join(evaluated.words) == ("--server ws://there --camera work_area --image-size 96")


def test_a_server_that_says_nothing_gets_the_picture_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert begin({}, monkeypatch).cameras == {"corner4": 224}
    asked = begin({}, monkeypatch, camera="work_area")
    assert asked.cameras == {"work_area": 224}
    assert asked.sha256 != begin({"name": "other"}, monkeypatch).sha256


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"action_dim": 7}, "actions of 7 numbers; this robot takes 4"),
        ({"image_size": 0}, r"1 to 1024 pixels a side\. Got 0"),
        ({"cameras": ["wrist"]}, "no camera of metaworld 'wrist'"),
    ],
)
def test_a_server_that_does_not_fit_the_robot_is_refused(
    metadata: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=said):
        begin(metadata, monkeypatch)


def test_a_correction_is_measured_on_the_actions_that_it_was_learnt_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = SimpleNamespace(config=SimpleNamespace(executed=2), cameras={})
    monkeypatch.setattr(measure_module, "load_policy", lambda _: policy)
    with pytest.raises(InputError, match=r"corrects 2 actions of a chunk.*--execution\.steps 2"):
        measure_module.measure(tmp_path, EvalConfig(tmp_path / "out", tasks="reach"))
