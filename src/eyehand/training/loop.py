"""The training loop: anything with ``loss(batch)``, over steps or minutes, resumable to the bit.

accelerate is underneath: one process as it is; several, or FSDP, by ``accelerate launch`` and its
own config.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from rich.console import Console
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.flop_counter import FlopCounterMode

from eyehand.functional.schedule import warmup_cosine
from eyehand.training.checkpoint import Checkpoints, open_run, read_counters, write_description
from eyehand.training.ema import MovingAverage
from eyehand.training.interrupt import Interrupt
from eyehand.training.metrics import Display, MetricsFile
from eyehand.training.optimizer import build_optimizer
from eyehand.training.profile import matrix_multiply_peak, resident_memory
from eyehand.types import InputError


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
    weight_decay_only: str = ""
    """Only weights with this in their name get weight decay, such as ``language.gates``."""
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

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if (self.steps is None) == (self.minutes is None):
            got = "both" if self.steps is not None else "neither"
            raise InputError(f"train for --steps or for --minutes, one of the two; got {got}.")
        positive = {
            "steps": self.steps,
            "minutes": self.minutes,
            "learning_rate": self.learning_rate,
            "gradient_clip": self.gradient_clip,
            "checkpoint_minutes": self.checkpoint_minutes,
            "checkpoint_steps": self.checkpoint_steps,
            "log_every": self.log_every,
        }
        for name, value in positive.items():
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{_flag(name)} must be above 0; got {value}.")
        shares = {
            "warmup": self.warmup,
            "final_learning_rate": self.final_learning_rate,
            "ema_decay": self.ema_decay,
        }
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise InputError(f"{_flag(name)} must be in [0, 1); got {value}.")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(
                f"{_flag('weight_decay')} must be at least 0; got {self.weight_decay}."
            )
        if self.seed < 0:
            raise InputError(f"{_flag('seed')} must be at least 0; got {self.seed}.")


def _flag(name: str) -> str:
    """Return the field as the command line spells it; how long is asked of every recipe."""
    section = "" if name in ("steps", "minutes") else "training."
    return f"--{section}{name.replace('_', '-')}"


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
    """Optimizer steps in all, resumed parts included."""
    seconds: float
    """Of training in all, resumed parts included."""
    final_loss: float
    """Mean loss over the last logged steps."""
    samples_per_second: float
    """Of all processes, over this part of the run; 0 where nothing was left to do."""
    model_flops_utilisation: float
    """Share of this machine's matrix-multiply peak, over this part of the run, in [0, 1]."""


class _Loss(nn.Module):
    """The loss as a forward pass, which is what DDP, FSDP and autocast wrap."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        loss = cast("Callable[[TrainBatch], dict[str, Tensor]]", self.policy.loss)
        return loss(batch)


@dataclass
class _Counters:
    """What a run goes on from, beside the tensors; JSON in the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    flops_per_sample: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    """Every loss, summed over the steps since the latest line of metrics."""
    summed: int = 0
    """How many steps that were."""
    final_loss: float | None = None
    """The loss of the latest line of metrics."""

    def progress(self, config: TrainConfig) -> float:
        """Share of the run that is done, in [0, 1]."""
        if config.steps is not None:
            return self.step / config.steps
        assert config.minutes is not None  # one of the two is there
        return min(1.0, self.seconds / (60 * config.minutes))


def train(
    module: nn.Module,
    batches: Callable[[int], Iterator[TrainBatch]],
    *,
    config: TrainConfig,
    folder: Path,
    description: Mapping[str, Any],
    resume: bool = False,
    watch: Callable[[float, float], None] | None = None,
) -> TrainResult:
    """Train ``module`` and leave a run in ``folder``.

    The folder gets config.json (``description``, the config under ``training``, commit and
    versions), model.safetensors (averaged weights), training_state, metrics.jsonl and tensorboard.
    ``module`` is left in training mode with the weights of the last step, not the average.

    With ``resume`` a run that was killed at any moment goes on from its latest checkpoint and ends
    with the weights that it would have had, to the bit (with ``steps``; the schedule over minutes
    depends on the clock); where there is none, it begins. Before each step torch's generators are
    seeded from (seed, step, process), so nothing that the network draws depends on what ran before.

    Args:
        module: A network with ``loss(batch)``, which returns scalars, ``"loss"`` among them;
            parameters with ``requires_grad`` False are neither trained nor saved.
        batches: Gives the endless batches from a step on; batch i depends on i alone, and is this
            process's share of the global batch.
        config: How long, and how.
        folder: The run's folder.
        description: The rest of config.json, JSON values by section.
        resume: Go on from the folder's latest checkpoint.
        watch: Called in the main process with the share of the run that is done and the loss, at
            every line of metrics. What it raises ends the run.

    Raises:
        InputError: If the folder holds a run and ``resume`` is False; if it holds a run of another
            config; if the loss or the gradient is not a finite number.
        KeyboardInterrupt: After Ctrl-C, when the step is done and a checkpoint is saved.
    """
    description = {**description, "training": asdict(config)}
    state = open_run(folder, description, resume=resume)
    # One process may train several times, and accelerate keeps the first precision otherwise.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        log_with="tensorboard",
        project_dir=folder,
    )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise InputError(
            "a run under DeepSpeed cannot be resumed, its state is pickled; share the weights out "
            "by FSDP: accelerate launch --use_fsdp --fsdp_version 2."
        )
    counters = _Counters() if state is None else _Counters(**read_counters(state))
    if config.steps is not None and config.steps < counters.step:
        raise InputError(
            f"{folder} has {counters.step} steps already; --steps must be at least that, "
            f"got {config.steps}."
        )
    accelerator.wait_for_everyone()  # every process has looked before the first one writes
    if accelerator.is_main_process and (state is None or counters.progress(config) < 1):
        write_description(folder, description)
    try:
        run = _Run(
            module, batches(counters.step), config, counters,
            folder=folder, accelerator=accelerator, watch=watch,
        )  # fmt: skip
        if state is not None:
            run.checkpoints.load(state, writes=accelerator.is_main_process)
        return run.go()
    finally:
        accelerator.end_training()


class _Run:
    """One run: its parts as accelerate prepared them, and the loop."""

    def __init__(
        self,
        module: nn.Module,
        batches: Iterator[TrainBatch],
        config: TrainConfig,
        counters: _Counters,
        *,
        folder: Path,
        accelerator: Accelerator,
        watch: Callable[[float, float], None] | None,
    ) -> None:
        self.batches, self.watch, self.accelerator = batches, watch, accelerator
        self.config, self.counters = config, counters
        optimizer = build_optimizer(
            module,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            weight_decay_only=config.weight_decay_only,
        )
        loss = _Loss(module.train())
        if accelerator.num_processes > 1 and accelerator.distributed_type != DistributedType.FSDP:
            first = next(batches)
            self.batches = chain([first], batches)
            unused = _has_unused_weights(loss, first, accelerator)
            accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=unused)
        self.model, self.optimizer = accelerator.prepare(loss, optimizer)
        self.parameters = list(self.model.parameters())
        trainable = [p for p in self.parameters if p.requires_grad]
        self.average = MovingAverage(trainable, decay=config.ema_decay)
        self.checkpoints = Checkpoints(
            folder,
            model=self.model,
            prefix="policy.",
            optimizer=self.optimizer.optimizer,
            average=self.average,
        )
        self.peak = matrix_multiply_peak(config.precision, device=accelerator.device.type)
        self.peak *= accelerator.num_processes
        self.console = Console(stderr=True, quiet=not accelerator.is_main_process)
        self.learning_rate = self.norm = 0.0
        # Of this part of the run, from here on:
        self.clock = perf_counter() - counters.seconds
        self.saved_step, self.saved_seconds = counters.step, counters.seconds
        self.line_samples, self.line_seconds = 0, counters.seconds

    def go(self) -> TrainResult:
        """Go through the steps that are left; save when it is time to, and at the end."""
        config, counters, samples = self.config, self.counters, 0
        before = counters.seconds
        main = self.accelerator.is_main_process
        file = MetricsFile(self.checkpoints.folder, step=counters.step) if main else None
        tensorboard = {"tensorboard": {"purge_step": counters.step + 1}}
        self.accelerator.init_trackers("tensorboard", init_kwargs=tensorboard)
        display = Display(
            self.console,
            limit="" if config.steps is None else f"/{config.steps:,}",
            progress=counters.progress(config),
            peak=self.peak,
        )
        with display, Interrupt() as ctrl_c:
            while counters.progress(config) < 1:
                batch = next(self.batches).to(self.accelerator.device)
                losses, stop = self._step(batch, stop=ctrl_c.pressed)
                count = len(batch) * self.accelerator.num_processes
                samples += count
                self._record(losses, count, file)
                display.update(
                    step=counters.step,
                    progress=counters.progress(config),
                    loss=losses["loss"],
                    samples=count,
                    flops_per_sample=counters.flops_per_sample,
                )
                if stop or self._is_due():
                    self._save()
                if stop:
                    self.console.print(
                        f"Stopped after step {counters.step:,}; the same command with --resume "
                        "goes on from there.",
                        highlight=False,
                    )
                    raise KeyboardInterrupt
            if counters.summed:
                self._write_line(file)
            if self.saved_step != counters.step:
                self._save()
        self.accelerator.wait_for_everyone()  # the caller may read what the main process wrote
        rate = samples / (counters.seconds - before) if samples else 0.0
        return TrainResult(
            steps=counters.step,
            seconds=counters.seconds,
            final_loss=math.nan if counters.final_loss is None else counters.final_loss,
            samples_per_second=rate,
            model_flops_utilisation=rate * counters.flops_per_sample / self.peak,
        )

    def _step(self, batch: TrainBatch, *, stop: bool) -> tuple[dict[str, float], bool]:
        """Take one optimizer step; return the losses, and whether any process wants to stop."""
        config, counters, accelerator = self.config, self.counters, self.accelerator
        progress = counters.progress(config)
        if config.steps is not None:  # of the step's middle: at rate 0 the first one would be lost
            progress = (counters.step + 0.5) / config.steps
        self.learning_rate = config.learning_rate * warmup_cosine(
            progress, warmup=config.warmup, final=config.final_learning_rate
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        torch.manual_seed(_seed(config.seed, counters.step, accelerator.process_index))
        self.optimizer.zero_grad()
        counter = None if counters.flops_per_sample else FlopCounterMode(display=False)
        with counter or nullcontext():
            tensors = self.model(batch)
            accelerator.backward(tensors["loss"])
        if counter is not None:
            counters.flops_per_sample = counter.get_total_flops() / len(batch)
        norm = accelerator.clip_grad_norm_(self.parameters, config.gradient_clip)
        norm = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        losses = {name: tensor.item() for name, tensor in tensors.items()}
        seconds = perf_counter() - self.clock
        if accelerator.num_processes > 1:
            mine = [seconds, float(stop), norm, *losses.values()]
            table = accelerator.gather(
                torch.tensor([mine], dtype=torch.float64, device=accelerator.device)
            )
            mean = table.mean(dim=0).tolist()
            seconds, stop, norm = table[0, 0].item(), mean[1] > 0, mean[2]
            losses = dict(zip(losses, mean[3:], strict=True))
        self._refuse_not_finite("loss", losses["loss"])
        self._refuse_not_finite("gradient's norm", norm)
        self.optimizer.step()
        counters.step += 1
        counters.seconds, self.norm = seconds, norm
        self.average.update(counters.step)
        return losses, stop

    def _refuse_not_finite(self, name: str, value: float) -> None:
        if math.isfinite(value):
            return
        kept = f"{self.checkpoints.folder} keeps the checkpoint of step {self.saved_step}"
        raise InputError(
            f"the {name} is {value} at step {self.counters.step + 1} (batch {self.counters.step}, "
            f"counted from 0); {kept if self.saved_step else 'there is no checkpoint yet'}. Look "
            f"at that batch, or lower --training.learning-rate ({self.config.learning_rate})."
        )

    def _record(self, losses: dict[str, float], samples: int, file: MetricsFile | None) -> None:
        counters = self.counters
        counters.sums = {n: counters.sums.get(n, 0.0) + value for n, value in losses.items()}
        counters.summed += 1
        self.line_samples += samples
        if counters.step % self.config.log_every == 0:
            self._write_line(file)

    def _write_line(self, file: MetricsFile | None) -> None:
        """Log the means since the latest line."""
        counters = self.counters
        losses = {name: total / counters.summed for name, total in counters.sums.items()}
        passed = counters.seconds - self.line_seconds
        rate = self.line_samples / passed if passed > 0 else 0.0
        line = {
            **losses,
            "seconds": counters.seconds,
            "learning_rate": self.learning_rate,
            "gradient_norm": self.norm,
            "samples_per_second": rate,
            "model_flops_utilisation": rate * counters.flops_per_sample / self.peak,
            "memory": float(resident_memory()),
        }
        if file is not None:
            file.add(counters.step, line)
            if self.watch is not None:
                self.watch(counters.progress(self.config), losses["loss"])
        self.accelerator.log(line, step=counters.step)
        counters.final_loss = losses["loss"]
        counters.sums, counters.summed = {}, 0
        self.line_samples, self.line_seconds = 0, counters.seconds

    def _is_due(self) -> bool:
        if self.config.checkpoint_steps is not None:
            return self.counters.step % self.config.checkpoint_steps == 0
        return self.counters.seconds - self.saved_seconds >= 60 * self.config.checkpoint_minutes

    def _save(self) -> None:
        self.checkpoints.save(asdict(self.counters), writes=self.accelerator.is_main_process)
        self.saved_step, self.saved_seconds = self.counters.step, self.counters.seconds


def _seed(*numbers: int) -> int:
    """Hash seed, step and process to one seed, so that no two steps draw alike."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _has_unused_weights(loss: _Loss, batch: TrainBatch, accelerator: Accelerator) -> bool:
    """Tell whether a weight that trains has no part in the loss: DDP must then look for it."""
    loss.to(accelerator.device)
    buffers = [buffer.clone() for buffer in loss.buffers()]
    with accelerator.autocast():
        value = loss(batch.to(accelerator.device))["loss"]
    trainable = [p for p in loss.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(value, trainable, allow_unused=True)
    for buffer, held in zip(loss.buffers(), buffers, strict=True):
        buffer.copy_(held)  # such as running statistics, which one batch must not move twice
    unused = torch.tensor([any(g is None for g in gradients)], device=accelerator.device)
    return bool(accelerator.gather(unused).any())
