"""A run folder as the version before wrote it is gone on with, to the bit."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file, save_file

from eyehand.training.checkpoint import open_run
from eyehand.training.earlier import defaults_of
from eyehand.types import InputError

SETTINGS = {"steps": 6, "log_every": 4, "learning_rate": 0.01}


def age(folder: Path, **training: object) -> None:
    """Write a run's files as the version before did."""
    config = json.loads((folder / "config.json").read_text())
    del config["checksum"]
    for name in ("accumulate", "threads"):
        del config["training"][name]
    config["training"] |= training
    (folder / "config.json").write_text(json.dumps(config))
    before, state = sorted((folder / "training_state").iterdir())
    shutil.rmtree(before)
    (state / "config.json").unlink()
    counters = json.loads((state / "state.json").read_text())
    del counters["checksum"]
    del counters["cycle"]
    del counters["sums"]["gradient_norm"]
    counters["summed"] = counters.pop("counts")["loss"]
    (state / "state.json").write_text(json.dumps(counters))
    tensors = load_file(state / "tensors.safetensors")
    del tensors["count"]
    save_file(tensors, state / "tensors.safetensors")


@pytest.fixture
def stopped(toy: ModuleType, tmp_path: Path) -> Path:
    """A run that was stopped after three of six steps."""
    with pytest.raises(KeyboardInterrupt):
        toy.run_toy(tmp_path / "twice", spoil=toy.press_ctrl_c(at=2), **SETTINGS)
    return tmp_path / "twice"


def test_a_run_of_the_version_before_goes_on(
    toy: ModuleType, tmp_path: Path, stopped: Path
) -> None:
    age(stopped, weight_decay_only="")
    toy.run_toy(tmp_path / "once", **SETTINGS)
    toy.run_toy(stopped, resume=True, **SETTINGS)
    once, twice = toy.tensors(tmp_path / "once"), toy.tensors(stopped)
    assert once.keys() == twice.keys()
    assert all((once[name] == twice[name]).all() for name in once)
    assert toy.losses(tmp_path / "once") == toy.losses(stopped)


def test_a_run_whose_decay_was_of_other_weights_is_refused(toy: ModuleType, stopped: Path) -> None:
    age(stopped, weight_decay_only="cross_attention")
    before = (stopped / "config.json").read_text()
    with pytest.raises(InputError, match=r"'cross_attention' in their names, .* another folder"):
        toy.run_toy(stopped, resume=True, **SETTINGS)
    assert (stopped / "config.json").read_text() == before


def test_the_length_of_the_schedule_is_read_off_the_config(toy: ModuleType, stopped: Path) -> None:
    age(stopped)
    toy.run_toy(stopped, resume=True, **{**SETTINGS, "steps": 12, "log_every": 1})
    state = stopped / "training_state/step-00000012/state.json"
    cycle = json.loads(state.read_text())["cycle"]
    assert (cycle["begin"], cycle["end"]) == (3, 12)
    assert 0 < cycle["start"] < 1


def test_a_field_that_is_new_counts_as_its_default(tmp_path: Path) -> None:
    """Heads too: the defaults are those of the config that is chosen."""

    @dataclass(frozen=True)
    class Head:
        dim: int
        depth: int = 2

    @dataclass(frozen=True)
    class Policy:
        head: Head
        gripper: int = 1

    (tmp_path / "config.json").write_text('{"policy": {"head": {"dim": 8}}}')
    for policy, message in (
        (Policy(Head(8)), None),
        (Policy(Head(8), gripper=0), "policy.gripper is 0, and not there|and 1 in"),
        (Policy(Head(8, depth=3)), "policy.head.depth is 3"),
    ):
        defaults = {"policy": defaults_of(policy)}
        told = {"policy": asdict(policy)}
        with nullcontext() if message is None else pytest.raises(InputError, match=message):
            assert open_run(tmp_path, told, resume=True, defaults=defaults) is None
