"""A network, batches and a run small enough for tests; as a script, a run in its own process.

python run_toy.py '{"folder": "...", "steps": 4}'
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eyehand.training import loop
from eyehand.training.config import TrainConfig, TrainResult
from eyehand.training.loop import train
from eyehand.training.processes import processes
from eyehand.training.supervised import SupervisedUpdate

GLOBAL_BATCH = 8


@dataclass(frozen=True)
class ToyBatch:
    image: Tensor
    action: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device) -> Self:
        return type(self)(self.image.to(device), self.action.to(device))


class ToyPolicy(nn.Module):
    """One of everything that training meets: channels-last filters, running statistics, dropout,
    a recurrent part, a frozen part, and on request a weight that has no part in the loss."""

    def __init__(self, *, dropout: float = 0.1, unused: bool = False, norm: bool = True) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.filters = nn.Conv2d(3, 4, 3, padding=1).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm1d(4) if norm else nn.Identity()
        self.cross_attention = nn.Linear(4, 8)
        self.dropout = nn.Dropout(dropout)
        self.memory = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 2)
        self.unused = nn.Parameter(torch.ones(3)) if unused else None

    def loss(self, batch: ToyBatch) -> dict[str, Tensor]:
        x = self.filters(batch.image).relu().mean((2, 3))
        x = self.norm(x + self.frozen(x))
        x = self.dropout(self.cross_attention(x).relu())
        x, _ = self.memory(x[:, None])
        error = (self.head(x[:, 0]) - batch.action).square()
        arm, gripper = error[:, 0].mean(), error[:, 1].mean()
        return {"loss": arm + gripper, "arm": arm.detach(), "gripper": gripper.detach()}


def toy_batches(
    *,
    process_index: int = 0,
    process_count: int = 1,
    spoil: Callable[[int, ToyBatch], None] | None = None,
) -> Callable[[int], Iterator[ToyBatch]]:
    """Batch i depends on i alone; each process gets its share of the same global batch."""

    def batches(start: int) -> Iterator[ToyBatch]:
        step = start
        while True:
            generator = torch.Generator().manual_seed(1000 + step)
            image = torch.randn(GLOBAL_BATCH, 3, 5, 5, generator=generator)
            action = torch.stack([image.mean((1, 2, 3)), image.amax((1, 2, 3)) / 3], dim=1)
            share = GLOBAL_BATCH // process_count
            rows = slice(process_index * share, (process_index + 1) * share)
            batch = ToyBatch(image[rows].clone(), action[rows].clone())
            if spoil is not None:
                spoil(step, batch)
            yield batch
            step += 1

    return batches


def run_toy(
    folder: Path,
    *,
    resume: bool = False,
    policy: dict[str, object] | None = None,
    spoil: Callable[[int, ToyBatch], None] | None = None,
    **config: object,
) -> tuple[TrainResult, ToyPolicy]:
    """Train a toy policy, always from the same weights."""
    torch.manual_seed(0)
    module = ToyPolicy(**(policy or {}))
    state = processes()
    batches = toy_batches(
        process_index=state.process_index, process_count=state.num_processes, spoil=spoil
    )
    settings = TrainConfig(**{"checkpoint_steps": 2, "log_every": 1, **config})
    description = {"policy": {"name": "toy", "horizon": 16, **(policy or {})}}
    result = train(
        SupervisedUpdate(module, settings),
        batches,
        config=settings,
        folder=folder,
        description=description,
        resume=resume,
    )
    return result, module


def press_ctrl_c(at: int) -> Callable[[int, ToyBatch], None]:
    """Press Ctrl-C while batch ``at`` is made, so that the run stops after step ``at + 1``."""

    def spoil(step: int, batch: ToyBatch) -> None:
        if step == at:
            signal.raise_signal(signal.SIGINT)

    return spoil


CLOCK = ("seconds", "samples_per_second", "model_flops_utilisation", "memory", "checksum")


def metrics(folder: Path) -> list[dict[str, float]]:
    """Return the lines of metrics.jsonl without what depends on the clock."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line if name not in CLOCK} for line in lines]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in metrics(folder)]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor that a run leaves: weights, averages, optimizer, published weights."""
    state = max((folder / "training_state").iterdir())
    published = load_file(folder / "model.safetensors")
    return {
        **load_file(state / "tensors.safetensors"),
        **{f"p/{n}": t for n, t in published.items()},
    }


def assert_same_run(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


if __name__ == "__main__":
    torch.set_num_threads(1)
    loop.matrix_multiply_peak = lambda *_, **__: 1e9  # spare the second that it takes
    arguments = json.loads(sys.argv[1])
    run_toy(Path(arguments.pop("folder")), **arguments)
