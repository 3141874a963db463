"""The run's folder: what it holds, what is refused, and that a kill at any moment is survived."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from eyehand.checksums import load_tensors, save_tensors, write_json
from eyehand.training import checkpoint
from eyehand.training.counters import Counters
from eyehand.training.cycle import Cycle
from eyehand.types import InputError


def published_step(folder: Path) -> int:
    """Return the step whose averages model.safetensors holds."""
    published = load_tensors(folder / "model.safetensors")
    for state in (folder / "training_state").iterdir():
        if state.name.count(".") == 0:
            held = load_tensors(state / "tensors.safetensors")
            if all(torch.equal(held[f"averages/{name}"], t) for name, t in published.items()):
                return int(state.name.removeprefix("step-"))
    return -1


def state_names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "training_state").iterdir())


def test_what_a_run_leaves(toy: ModuleType, tmp_path: Path) -> None:
    _, module = toy.run_toy(tmp_path, steps=5, checkpoint_steps=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock", "config.json", "metrics.jsonl", "model.safetensors", "tensorboard",
        "training_state",
    ]  # fmt: skip
    assert state_names(tmp_path) == ["step-00000004", "step-00000005"], "the last two are kept"
    assert published_step(tmp_path) == 5
    frozen = {"frozen.weight", "frozen.bias"}
    published = load_file(tmp_path / "model.safetensors")
    assert published.keys() == module.state_dict().keys() - frozen
    state = load_file(tmp_path / "training_state/step-00000005/tensors.safetensors")
    for name, tensor in module.state_dict().items():
        if name not in frozen:
            assert torch.equal(state[f"weights/{name}"], tensor)
            assert torch.equal(state[f"averages/{name}"], published[name])
    assert not torch.equal(published["head.weight"], module.head.weight)
    assert torch.equal(published["norm.running_mean"], module.norm.running_mean)
    assert list(tmp_path.glob("tensorboard/events*"))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["policy"] == {"name": "toy", "horizon": 16}
    assert config["training"]["steps"] == 5
    assert set(config["made_with"]) > {"command", "commit", "eyehand", "torch", "python"}


def test_refuses_a_folder_that_holds_a_run(toy: ModuleType, tmp_path: Path) -> None:
    toy.run_toy(tmp_path, steps=1)
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(InputError, match=f"{tmp_path} holds a run; .* --resume, or name another"):
        toy.run_toy(tmp_path, steps=1)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_resuming_where_nothing_is_begins(toy: ModuleType, tmp_path: Path) -> None:
    """The same command then works whenever it was killed, before the first checkpoint as well."""
    result, _ = toy.run_toy(tmp_path / "new", steps=2, resume=True)
    assert result.steps == 2


def test_refuses_to_resume_with_another_config(toy: ModuleType, tmp_path: Path) -> None:
    toy.run_toy(tmp_path, steps=2)
    with pytest.raises(InputError, match=r"training.learning_rate is 0.5, and 0.001 in .*config"):
        toy.run_toy(tmp_path, steps=4, resume=True, learning_rate=0.5)
    with pytest.raises(InputError, match=r"policy.dropout is 0.3, and not there in .*config.json"):
        toy.run_toy(tmp_path, steps=4, resume=True, policy={"dropout": 0.3})
    assert json.loads((tmp_path / "config.json").read_text())["training"]["steps"] == 2
    toy.run_toy(tmp_path, steps=4, resume=True, log_every=2, checkpoint_steps=3)


def test_state_folders_are_ordered_by_number(tmp_path: Path) -> None:
    """A leftover of a killed process and an older state are both passed over."""
    for name in ("step-00000998", "step-00001002", "step-00001004.partial", "step-100000000"):
        state = tmp_path / "training_state" / name
        state.mkdir(parents=True)
        step = int(name.split("-")[1].removesuffix(".partial"))
        write_json(state / "state.json", asdict(Counters(Cycle("steps", 0.0, 9.0), step=step)))
        save_tensors(state / "tensors.safetensors", {})
    (tmp_path / "config.json").write_text("{}")
    found = checkpoint.open_run(tmp_path, {}, resume=True)
    assert found is not None
    assert found.folder.name == "step-100000000"


KILLER = """
# Dies by SIGKILL at call number `at` of those that change the disk, in the checkpoint of step 4.
import os, shutil, signal, sys
from eyehand import checksums
from eyehand.training import checkpoint, loop
sys.path.insert(0, {folder_of_toy!r})
import run_toy

loop.matrix_multiply_peak = lambda *_, **__: 1e9
FOLDER, ONCE = {folder!r}, {once!r}
import torch
torch.set_num_threads(1)


def killed_at(at):
    calls = 0

    def die_before(function):
        def wrapped(*arguments, **options):
            nonlocal calls
            calls += armed
            if armed and calls == at:
                if function is save_file:  # half of the file is on the disk
                    function(*arguments, **options)
                    os.truncate(arguments[1], os.path.getsize(arguments[1]) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return wrapped

    armed = 0
    save_file = checksums.save_file
    checksums.save_file = die_before(save_file)
    os.fsync, os.replace = map(die_before, (os.fsync, os.replace))
    os.unlink, os.rmdir, os.mkdir = map(die_before, (os.unlink, os.rmdir, os.mkdir))
    plain = checkpoint.Checkpoints.save

    def save(self, counters, state):
        nonlocal armed
        armed = int(counters.step == 4)
        plain(self, counters, state)
        armed = 0

    checkpoint.Checkpoints.save = save
    run_toy.run_toy(run_toy.Path(FOLDER, str(at)), steps=6)


def in_a_child(function, *arguments):
    child = os.fork()
    if child == 0:
        function(*arguments)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def resumed(at):
    run_toy.run_toy(run_toy.Path(FOLDER, str(at)), steps=6, resume=True)


run_toy.run_toy(run_toy.Path(ONCE), steps=6)  # and every import is paid for once
at = 0
while True:
    at += {every}
    status = in_a_child(killed_at, at)
    if status == 0:
        break  # there were fewer calls than this
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    shutil.copytree(run_toy.Path(FOLDER, str(at)), run_toy.Path(FOLDER, f"{{at}}.killed"))
    assert in_a_child(resumed, at) == 0, at
print(at - {every})
"""


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_anywhere_in_a_checkpoint_is_survived(
    toy: ModuleType, tmp_path: Path, every: int
) -> None:
    """Killed at each call, or each seventh, that changes the disk: a whole checkpoint is there, and
    resuming ends with the weights, averages and optimizer of a run that was never killed."""
    script = KILLER.format(
        folder=str(tmp_path),
        once=str(tmp_path / "once"),
        folder_of_toy=str(Path(toy.__file__).parent),
        every=every,
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    kills = int(found.stdout)
    assert kills > 10
    wanted = load_file(tmp_path / "once/training_state/step-00000006/tensors.safetensors")
    for at in range(every, kills + 1, every):
        killed = tmp_path / f"{at}.killed"
        step = published_step(killed)  # readable, and whole
        assert step in (2, 4)
        assert load_file(killed / "model.safetensors").keys() >= {"head.weight"}
        assert {"step-00000002", "step-00000004"} & set(state_names(killed)), at
        folder = tmp_path / str(at)
        got = load_file(folder / "training_state/step-00000006/tensors.safetensors")
        assert state_names(folder) == ["step-00000004", "step-00000006"]
        assert published_step(folder) == 6
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[name], tensor) for name, tensor in wanted.items()), at
