"""A recipe with some fields changed by their names, trained, timed and measured."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from eyehand.checksums import write_json
from eyehand.data.store import FrameStore, open_store
from eyehand.envs.execution import Execution
from eyehand.evaluation.chain import read_chains
from eyehand.evaluation.comparison import ComparedRun
from eyehand.evaluation.latency import measure_latency, passes_per_call
from eyehand.evaluation.protocol import EvalConfig
from eyehand.files import replacing
from eyehand.models.checkpoint import CONFIG, WEIGHTS, read_config
from eyehand.policies.registry import describe_policy, load_policy, policy_configs, restore_config
from eyehand.runs.measure import measure
from eyehand.runs.train import TrainingRun, check_batches, run_training
from eyehand.types import InputError, Observation

PARTS = {f"policy.{name}": parts for kind in policy_configs() for name, parts in kind.parts.items()}
"""Fields whose value is the name of a part, such as ``policy.head``, and the names. Other fields
are numbers, texts or None."""
ACTING = ("execution.", *{f"policy.{name}" for kind in policy_configs() for name in kind.acting})
"""Beginnings of the names of fields that training does not depend on."""
OBSERVATIONS = 60
"""Frames that latency is measured on."""


@dataclass(frozen=True)
class Trial:
    """A training run, and how its policy's chunks are executed."""

    run: Annotated[tyro.conf.AvoidSubcommands[TrainingRun], tyro.conf.arg(name="")]
    """The training run."""
    execution: Execution = field(default_factory=Execution)
    """How chunks are executed."""


def training_part(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the changes that need a training of their own.

    Example:
        >>> training_part({"policy.head": "flow", "policy.head.steps": "5", "execution.steps": "1"})
        {'policy.head': 'flow'}
    """
    return {name: value for name, value in changes.items() if not name.startswith(ACTING)}


def acting_part(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the changes that need no training."""
    return {name: value for name, value in changes.items() if name.startswith(ACTING)}


def choose_parts(run: TrainingRun, chosen: Mapping[str, str]) -> TrainingRun:
    """Return ``run`` with other parts of the policy (`PARTS`) at their default sizes.

    A batch keeps its number of frames; see `_with_batch`.

    Raises:
        InputError: If there is no such part.

    Example:
        >>> from eyehand.recipes import find_recipe
        >>> run = choose_parts(find_recipe("bcz-metaworld"), {"policy.head": "lstm"})
        >>> run.policy.head.name, run.policy.history, run.batch_size
        ('lstm', 12, 10)
    """
    policy = run.policy
    for name, value in chosen.items():
        policy = policy.choose(name.removeprefix("policy."), value)
    return _with_batch(replace(run, policy=policy), run)


def _with_batch(run: TrainingRun, before: TrainingRun) -> TrainingRun:
    """Return ``run`` with as many frames in a batch as before, where its windows are longer."""
    frames = before.batch_size * before.policy.history
    return replace(run, batch_size=max(1, frames // run.policy.history))


def override(trial: Trial, changes: Mapping[str, str]) -> Trial:
    """Return ``trial`` with fields changed: parts first, the rest as `eyehand train` reads it.

    Args:
        trial: What is changed.
        changes: Values by dotted field, such as ``policy.horizon``, ``training.learning-rate``,
            ``batch-size`` or ``execution.steps``.

    Raises:
        InputError: If a value is out of its range.
        SystemExit: With code 2 and a sentence, if there is no such field or it takes no such value.

    Example:
        >>> from eyehand.recipes import find_recipe
        >>> trial = Trial(find_recipe("bcz-metaworld"))
        >>> changed = override(trial, {"policy.head.steps": "5", "policy.head": "flow"})
        >>> changed.run.policy.head.steps, trial.run.policy.head.name
        (5, 'mlp')
    """
    chosen = {name: value for name, value in changes.items() if name in PARTS}
    before, trial = trial.run, replace(trial, run=choose_parts(trial.run, chosen))
    words = [
        word
        for name, value in changes.items()
        if name not in PARTS
        for word in (f"--{name}", value)
    ]
    # Flags are written like other fields here: `--x True`, not `--x`.
    changed = tyro.cli(
        Trial,
        default=trial,
        args=words,
        prog="eyehand train RECIPE",
        config=(tyro.conf.FlagConversionOff,),
    )
    if changed.run.policy.history == trial.run.policy.history or "batch-size" in changes:
        return changed
    return replace(changed, run=_with_batch(changed.run, before))


def check_trial(trial: Trial, changes: Mapping[str, str]) -> Trial:
    """Return ``trial`` changed as by `override`.

    Raises:
        InputError: If no run can be made of it.
    """
    trial = override(trial, changes)
    check_batches(trial.run)
    policy = trial.run.policy
    if trial.execution.steps > policy.horizon:
        raise InputError(
            f"execution.steps={trial.execution.steps} is more than the {policy.horizon} actions of "
            "a chunk (policy.horizon)."
        )
    if policy.history > 1 and trial.execution.steps != policy.history_stride:
        raise InputError(
            f"frames of the history lie policy.history-stride={policy.history_stride} steps apart, "
            f"and execution.steps={trial.execution.steps} does not match: make them equal."
        )
    return trial


def run_trial(
    trial: Trial,
    training: Mapping[str, str],
    executions: Sequence[Mapping[str, str]],
    data: Path,
    evaluation: EvalConfig,
    *,
    watch: Callable[[float, float], None] | None = None,
) -> list[ComparedRun]:
    """Train once, time the policy, and measure every way of execution; finished work is kept.

    ``training`` are the changes that need the training, ``executions`` those that need none
    (`ACTING`), one measurement each. The folder ``evaluation.out`` holds the training and all else.
    """
    folder = evaluation.out
    run = override(trial, training).run
    trained = run_training(run, [data], folder, resume=True, watch=watch)
    costs: dict[Path, dict[str, Any]] = {}
    found = []
    for changes in executions:
        changed = check_trial(trial, {**training, **changes})
        checkpoint = folder if changed.run == run else _acting_as(folder, changed.run)
        if checkpoint not in costs:
            costs[checkpoint] = _costs(checkpoint, data)
        out = folder / slug("evaluation", changes)
        results = measure(checkpoint, replace(evaluation, out=out, execution=changed.execution))
        chains = read_chains(out)
        episodes = results.episodes if chains is None else chains.as_episodes()
        found.append(
            ComparedRun(
                changes={**training, **changes},
                episodes=sorted(episodes),
                chain_length=0 if chains is None else len(chains.in_a_row),
                loss=trained.final_loss,
                samples_per_second=trained.steps * run.batch_size / trained.seconds,
                training_steps=trained.steps,
                **costs[checkpoint],
            )
        )
    return found


def slug(name: str, changes: Mapping[str, object]) -> str:
    """Return the name of a folder for what was changed.

    Example:
        >>> slug("run", {"policy.head": "flow"})
        'run,policy.head=flow'
    """
    return ",".join([name, *(f"{field}={value}" for field, value in changes.items())])


def _acting_as(folder: Path, run: TrainingRun) -> Path:
    """Write a checkpoint with the weights of ``folder`` that acts as the policy of ``run``."""
    description = read_config(folder)
    values = {name: attrgetter(name)(run.policy) for name in run.policy.acting}
    policy = restore_config(description["policy"])
    for name, value in values.items():
        policy = _with_field(policy, name, value)
    description["policy"] = describe_policy(policy)
    checkpoint = folder / slug("policy", values)
    checkpoint.mkdir(exist_ok=True)
    write_json(checkpoint / CONFIG, description)
    with replacing(checkpoint / WEIGHTS) as beside:
        shutil.copyfile(folder / WEIGHTS, beside)
    return checkpoint


def _with_field(config: Any, name: str, value: object) -> Any:
    """Return a dataclass with a field changed, or with that of a part, by its dotted name."""
    first, _, rest = name.partition(".")
    return replace(
        config, **{first: _with_field(getattr(config, first), rest, value) if rest else value}
    )


def _costs(checkpoint: Path, data: Path) -> dict[str, Any]:
    """Return the size and the latency of a policy, as fields of a `ComparedRun`."""
    policy = load_policy(checkpoint)
    observations = _observations(open_store(data, image_size=policy.config.image_size))
    policy.reset([0])
    latency = measure_latency(policy, observations)
    return {
        "parameters": sum(p.numel() for p in policy.parameters() if p.requires_grad),
        "median_ms": latency.median_ms,
        "p99_ms": latency.p99_ms,
        "passes": passes_per_call(policy, policy.stages().act, observations),
    }


def _observations(store: FrameStore) -> list[Observation]:
    """Return the first frames of a data set as one robot sees them, one after the other."""
    return [
        Observation(
            image={
                camera: torch.from_numpy(pictures[frame].copy())[None]
                for camera, pictures in store.image.items()
            },
            state=torch.from_numpy(store.state[frame : frame + 1].copy()),
            instruction=[store.sentences[store.sentence[frame]]],
            env_ids=[0],
        )
        for frame in range(min(OBSERVATIONS, len(store)))
    ]
