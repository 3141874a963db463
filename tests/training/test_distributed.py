"""Two processes against one, and what cannot be shared out."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from eyehand.training import distributed, loop
from eyehand.types import InputError


def test_refuses_deepspeed(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = property(lambda _: distributed.DistributedType.DEEPSPEED)
    monkeypatch.setattr(distributed.Accelerator, "distributed_type", kind)
    with pytest.raises(InputError, match=r"under DeepSpeed .* by FSDP"):
        toy.run_toy(tmp_path, steps=1)


def test_a_weight_without_use_is_found_and_nothing_moves(toy: ModuleType) -> None:
    batch = next(toy.toy_batches()(0))
    for unused in (False, True):
        policy = toy.ToyPolicy(unused=unused)
        before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
        assert distributed.has_unused_weights(policy, batch, Accelerator(cpu=True)) == unused
        torch.testing.assert_close(policy.state_dict(), before, rtol=0, atol=0)


def run_two_processes(toy: ModuleType, folder: Path, **arguments: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = json.dumps({"folder": str(folder), **arguments})
    shared = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, toy.__file__, text],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_only_the_main_process_holds_the_folder(tmp_path: Path) -> None:
    """The others of the same run would find it held."""
    folder = tmp_path / "run"
    with (
        loop._held(folder, main=True),
        loop._held(folder, main=False),
        pytest.raises(InputError, match="another process"),
        loop._held(folder, main=True),
    ):
        pytest.fail("two hold it")


@pytest.mark.slow
def test_two_processes_are_one(toy: ModuleType, tmp_path: Path) -> None:
    """The same global batch gives the same losses and weights, a weight without use included.

    The two go on from a checkpoint of one: states are whole tensors, however many share the work.
    """
    # Without running statistics and dropout, which are of each process's own half.
    policy = {"norm": False, "dropout": 0.0, "unused": True}
    settings = {"steps": 6, "precision": "fp32", "learning_rate": 0.01, "policy": policy}
    toy.run_toy(tmp_path / "one", **settings)
    with pytest.raises(KeyboardInterrupt):
        toy.run_toy(tmp_path / "two", spoil=toy.press_ctrl_c(at=1), **settings)
    run_two_processes(toy, tmp_path / "two", resume=True, **settings)
    assert [line["step"] for line in toy.metrics(tmp_path / "two")] == [1, 2, 3, 4, 5, 6]
    assert toy.losses(tmp_path / "two") == pytest.approx(toy.losses(tmp_path / "one"), rel=1e-6)
    one, two = toy.tensors(tmp_path / "one"), toy.tensors(tmp_path / "two")
    for name in set(two) - set(one):  # a resumed optimizer also has zeros for the unused weight
        assert name.endswith("unused"), name
    torch.testing.assert_close({n: two[n] for n in one}, one, rtol=1e-4, atol=1e-6)
