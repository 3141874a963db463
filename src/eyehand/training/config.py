"""How long to train and how: the settings of a run, what a batch is, and what comes of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch

from eyehand.types import InputError

MOST, MOST_SEED, MOST_THREADS = 10**12, 2**64 - 1, 1024
"""The largest number of any setting; what torch takes as a seed; threads that a kernel grants."""


@dataclass(frozen=True)
class TrainConfig:
    """How long to train, and how."""

    steps: int | None = None
    """Optimizer steps; this or minutes."""
    minutes: float | None = None
    """Minutes of training, over all resumed parts together; this or steps."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    warmup: float = 0.05
    """Share of the run over which the learning rate rises from 0."""
    final_learning_rate: float = 0.0
    """Share of the peak that is left at the end, after half a cosine."""
    weight_decay: float = 0.01
    """Weight decay of matrices and filters; vectors (biases, norms, gates) have none."""
    accumulate: int = 1
    """Batches per optimizer step: their gradients are averaged before the weights move."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; a longer one is shortened to it."""
    ema_decay: float = 0.999
    """Decay of the moving average of the weights, which is what gets evaluated."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Numbers of the matrix products; weights and optimizer stay in fp32."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints."""
    checkpoint_steps: int | None = None
    """Steps between two checkpoints, instead of minutes."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    seed: int = 0
    """Seeds what the network draws, such as dropout."""
    threads: int | None = None
    """Threads of torch's operators; none leaves what torch chose. One is faster where other
    programs keep the cores busy. The number changes how sums are rounded."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: If a number is out of range, or not exactly one of ``steps`` and ``minutes``
                is given.
        """
        if (self.steps is None) == (self.minutes is None):
            got = "both" if self.steps is not None else "neither"
            raise InputError(f"train for --steps or for --minutes, one of the two; got {got}.")
        positive = (
            "steps", "minutes", "learning_rate", "gradient_clip", "checkpoint_minutes",
            "checkpoint_steps", "accumulate", "threads", "log_every",
        )  # fmt: skip
        for name in positive:
            value = getattr(self, name)
            most = MOST_THREADS if name == "threads" else MOST
            if value is not None and not 0 < value <= most:
                raise InputError(
                    f"{_flag(name)} must be above 0 and at most {most:,}; got {value!s:.40}."
                )
        for name in ("warmup", "final_learning_rate", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{_flag(name)} must be in [0, 1); got {getattr(self, name)}.")
        for name in ("weight_decay", "seed"):
            most = MOST_SEED if name == "seed" else MOST
            if not 0 <= getattr(self, name) <= most:
                raise InputError(
                    f"{_flag(name)} must be at least 0 and at most {most:,}; "
                    f"got {getattr(self, name)!s:.40}."
                )


def _flag(name: str) -> str:
    """Return the field as the command line spells it; these three are options of the verb."""
    section = "" if name in ("steps", "minutes", "threads") else "training."
    return f"--{section}{name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What every verb that trains is told on the command line, beside its recipe."""

    out: Path
    """Folder for checkpoints, metrics, the resolved config and results."""
    minutes: float | None = None
    """Minutes of training; left out, as the recipe says."""
    steps: int | None = None
    """Steps of training; left out, as the recipe says."""
    threads: int | None = None
    """Threads of torch; one is faster where other programs keep the cores busy."""
    resume: bool = False
    """Continue from the last checkpoint in the folder."""

    def applied(self, config: TrainConfig) -> TrainConfig:
        """Return the recipe's config with the length and the threads that were asked for."""
        if (self.minutes, self.steps) != (None, None):
            config = replace(config, minutes=self.minutes, steps=self.steps)
        return config if self.threads is None else replace(config, threads=self.threads)


@runtime_checkable
class TrainBatch(Protocol):
    """What the loop asks of a batch."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def to(self, device: torch.device) -> "TrainBatch":
        """Return the batch with its tensors on ``device``."""
        ...


@dataclass(frozen=True)
class TrainResult:
    """What came of a run."""

    steps: int
    """Steps of the loop in all, resumed parts included."""
    seconds: float
    """Of training in all, resumed parts included."""
    final_loss: float
    """Mean loss over the last logged steps."""
    samples_per_second: float
    """Of all processes, over this part of the run; 0 where nothing was left to do."""
    model_flops_utilisation: float
    """Share of this machine's matrix-multiply peak, over this part of the run, in [0, 1]."""
