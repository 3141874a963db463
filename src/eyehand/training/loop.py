"""The training loop: drives any `Update` over steps or minutes, resumable to the bit.

It resumes, saves, measures, logs, schedules the rate and listens to Ctrl-C. What a batch does to
the weights is the update's (:mod:`eyehand.training.update`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from eyehand.files import locked
from eyehand.training.checkpoint import Checkpoints, Resumed, check_out, open_run
from eyehand.training.config import TrainBatch, TrainConfig, TrainResult
from eyehand.training.counters import Counters
from eyehand.training.cycle import Cycle
from eyehand.training.distributed import agree, make_accelerator, seed_step
from eyehand.training.earlier import check_decay, defaults_of
from eyehand.training.interrupt import Interrupt
from eyehand.training.memory import keep_freed_memory
from eyehand.training.metrics import Display, MetricsFile
from eyehand.training.profile import OtherPrograms, matrix_multiply_peak, resident_memory
from eyehand.training.update import Update
from eyehand.types import InputError


def train(
    update: Update,
    batches: Callable[[int], Iterator[TrainBatch]],
    *,
    config: TrainConfig,
    folder: Path,
    description: Mapping[str, Any],
    resume: bool = False,
    watch: Callable[[float, float], None] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train by ``update`` and leave a run in ``folder``.

    The folder gets config.json (``description``, the config under ``training``, commit and
    versions), model.safetensors (what the update publishes), training_state, metrics.jsonl and
    tensorboard. Networks are left with the weights of the last step, not the average.

    With ``resume`` a run that was killed at any moment goes on from its latest checkpoint and ends
    with the weights that it would have had, to the bit (with ``steps``; the schedule over minutes
    depends on the clock); where there is none, it begins. Where the latest was damaged since, a
    line says so and the run goes on from the one before. Resumed with another length, the rate
    begins a new cycle of warm-up and cosine from where it was (:mod:`eyehand.training.cycle`).

    Args:
        update: What a batch does to the weights, such as
            :class:`eyehand.training.supervised.SupervisedUpdate`.
        batches: Gives the endless batches from a batch on; batch i depends on i alone, and is this
            process's share of the global batch.
        config: How long, and how.
        folder: The run's folder.
        description: The rest of config.json, JSON values by section.
        resume: Go on from the folder's latest checkpoint.
        watch: Called in the main process with the share of the run that is done and the loss, at
            every line of metrics. What it raises ends the run.
        defaults: What fields of ``description`` count as in a run of a version that did not have
            them; see :func:`eyehand.training.earlier.defaults_of`.

    Raises:
        InputError: If the folder holds a run and ``resume`` is False, or something that is no run;
            if it holds a run of another config; if another process trains there; if the loss, the
            gradient or a weight is not finite.
        KeyboardInterrupt: After Ctrl-C, when the step is done and a checkpoint is saved.
    """
    description = {**description, "training": asdict(config)}
    known = {**(defaults or {}), "training": defaults_of(config)}
    check_out(folder, resume=resume)
    accelerator = make_accelerator(config.precision, folder)
    with _held(folder, main=accelerator.is_main_process):
        resumed = open_run(folder, description, resume=resume, defaults=known)
        counters = Counters(Cycle.of(config)) if resumed is None else resumed.counters
        if resumed is not None:
            for learner in update.learners.values():
                check_decay(resumed.training, learner.network)
        if config.steps is not None and config.steps < counters.step:
            raise InputError(
                f"{folder} has {counters.step} steps already; --steps must be at least that, "
                f"got {config.steps}."
            )
        accelerator.wait_for_everyone()  # every process has looked before the first one writes
        checkpoints = Checkpoints(folder, published=update.published)
        if accelerator.is_main_process and (resumed is None or counters.progress(config) < 1):
            checkpoints.describe(description)
        try:
            keep_freed_memory()
            with torch_threads(config.threads):
                run = _Run(
                    update, batches(counters.step * config.accumulate), config, counters,
                    checkpoints=checkpoints, accelerator=accelerator, watch=watch,
                )  # fmt: skip
                if resumed is not None:
                    run.restore(resumed)
                return run.go()
        finally:
            accelerator.end_training()


@contextmanager
def _held(folder: Path, *, main: bool) -> Iterator[None]:
    """Hold the folder; of several processes the main one does it for all."""
    if not main:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "trains"):
        yield


@contextmanager
def torch_threads(wanted: int | None) -> Iterator[None]:
    """Compute with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    """One run: its parts, and the loop."""

    def __init__(
        self,
        update: Update,
        batches: Iterator[TrainBatch],
        config: TrainConfig,
        counters: Counters,
        *,
        checkpoints: Checkpoints,
        accelerator: Accelerator,
        watch: Callable[[float, float], None] | None,
    ) -> None:
        first = next(batches)
        self.batches, self.watch, self.accelerator = chain([first], batches), watch, accelerator
        self.update, self.config, self.counters = update, config, counters
        self.checkpoints = checkpoints
        update.prepare(accelerator, first)
        self.peaks = [group["lr"] for group in self._groups()]
        counters.cycle = counters.cycle.resumed(
            config, step=counters.step, seconds=counters.seconds
        )
        self.peak = matrix_multiply_peak(config.precision, device=accelerator.device.type)
        self.peak *= accelerator.num_processes
        self.console = Console(stderr=True, quiet=not accelerator.is_main_process)
        # Of this part of the run, from here on:
        self.clock = perf_counter() - counters.seconds
        self.saved_step, self.saved_seconds = counters.step, counters.seconds
        self.line_samples, self.line_seconds = 0, counters.seconds

    def restore(self, resumed: Resumed) -> None:
        """Go on from a checkpoint."""
        if self.accelerator.is_main_process:
            self.checkpoints.restore(resumed)
        self.update.load_state_dict(resumed.state)
        resumed.state.clear()  # else the file would stay open, and on the disk, to the run's end

    def go(self) -> TrainResult:
        """Go through the steps that are left; save when it is time to, and at the end."""
        config, counters, samples = self.config, self.counters, 0
        before = counters.seconds
        main = self.accelerator.is_main_process
        file = (
            MetricsFile(self.checkpoints.folder, step=counters.step, logged=counters.logged)
            if main
            else None
        )
        tensorboard = {"tensorboard": {"purge_step": counters.step + 1}}
        self.accelerator.init_trackers("tensorboard", init_kwargs=tensorboard)
        display = Display(
            self.console,
            limit="" if config.steps is None else f"/{config.steps:,}",
            progress=counters.progress(config),
            peak=self.peak,
            # Among several processes, the others of this run would count as other programs.
            others=OtherPrograms() if self.accelerator.num_processes == 1 else None,
        )
        with display, Interrupt() as ctrl_c:
            while counters.progress(config) < 1:
                figures, count, stop = self._step(ctrl_c)
                samples += count
                self._record(figures, count, file)
                display.update(
                    step=counters.step,
                    progress=counters.progress(config),
                    loss=figures["loss"],
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
            if counters.counts:
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

    def _groups(self) -> Iterator[dict[str, Any]]:
        """Every group of parameters, in the same order at each call."""
        for learner in self.update.learners.values():
            yield from learner.optimizer.param_groups

    def _step(self, ctrl_c: Interrupt) -> tuple[dict[str, float], int, bool]:
        """Take one step; return its figures, its samples, and whether any process wants to stop."""
        config, counters, accelerator = self.config, self.counters, self.accelerator
        # Of the step's middle: at rate 0 the first one would be lost.
        at = counters.step + 0.5 if counters.cycle.unit == "steps" else counters.seconds
        share = counters.cycle.share(at, config)
        for group, peak in zip(self._groups(), self.peaks, strict=True):
            group["lr"] = peak * share
        found: dict[str, list[float]] = {}
        samples = 0
        first = counters.step * config.accumulate
        for index in range(first, first + config.accumulate):
            batch = next(self.batches).to(accelerator.device)
            samples += len(batch)
            seed_step(config.seed, index, accelerator.process_index)
            counter = None if counters.flops_per_sample else FlopCounterMode(display=False)
            with counter or nullcontext():
                values = self.update.step(batch)
            if counter is not None:
                counters.flops_per_sample = counter.get_total_flops() / len(batch)
            for name, value in values.items():
                number = value.item() if isinstance(value, Tensor) else value
                found.setdefault(name, []).append(number)
        figures, seconds, stop = agree(
            accelerator,
            {name: sum(values) / len(values) for name, values in found.items()},
            seconds=perf_counter() - self.clock,
            stop=ctrl_c.pressed,
        )
        self._refuse_not_finite(figures)
        counters.step, counters.seconds = counters.step + 1, seconds
        return figures, samples * accelerator.num_processes, stop

    def _refuse_not_finite(self, figures: Mapping[str, float]) -> None:
        for name in ("loss", "gradient_norm"):
            value = figures.get(name, 0.0)
            if not math.isfinite(value):
                raise self._not_finite(
                    f"the {name.replace('_', ' ')} is {value} at step {self.counters.step + 1} "
                    f"(batch {self.counters.step * self.config.accumulate}, counted from 0)"
                )

    def _not_finite(self, found: str) -> InputError:
        kept = f"{self.checkpoints.folder} keeps the checkpoint of step {self.saved_step}"
        return InputError(
            f"{found}; {kept if self.saved_step else 'there is no checkpoint yet'}. Look at that "
            f"batch, or lower --training.learning-rate ({self.config.learning_rate})."
        )

    def _record(self, figures: dict[str, float], samples: int, file: MetricsFile | None) -> None:
        counters = self.counters
        for name, value in figures.items():
            counters.sums[name] = counters.sums.get(name, 0.0) + value
            counters.counts[name] = counters.counts.get(name, 0) + 1
        self.line_samples += samples
        if counters.step % self.config.log_every == 0:
            self._write_line(file)

    def _write_line(self, file: MetricsFile | None) -> None:
        """Log the means since the latest line."""
        counters = self.counters
        figures = {name: total / counters.counts[name] for name, total in counters.sums.items()}
        passed = counters.seconds - self.line_seconds
        rate = self.line_samples / passed if passed > 0 else 0.0
        line = {
            **figures,
            "seconds": counters.seconds,
            "learning_rate": next(self._groups())["lr"],
            "samples_per_second": rate,
            "model_flops_utilisation": rate * counters.flops_per_sample / self.peak,
            "memory": float(resident_memory()),
        }
        if file is not None:
            file.add(counters.step, line)
            if self.watch is not None:
                self.watch(counters.progress(self.config), figures["loss"])
        self.accelerator.log(line, step=counters.step)
        counters.final_loss, counters.logged = figures["loss"], counters.step
        counters.sums, counters.counts = {}, {}
        self.line_samples, self.line_seconds = 0, counters.seconds

    def _is_due(self) -> bool:
        if self.config.checkpoint_steps is not None:
            return self.counters.step % self.config.checkpoint_steps == 0
        return self.counters.seconds - self.saved_seconds >= 60 * self.config.checkpoint_minutes

    def _save(self) -> None:
        state = self.update.state_dict()  # every process helps to bring the whole together
        if self.accelerator.is_main_process:
            for name, tensor in state.items():  # a step of finite loss can lead out of the numbers
                if not tensor.isfinite().all():
                    raise self._not_finite(f"{name} is not finite after step {self.counters.step}")
            self.checkpoints.save(self.counters, state)
        self.saved_step, self.saved_seconds = self.counters.step, self.counters.seconds
