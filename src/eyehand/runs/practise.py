"""A policy practises: it acts in the simulator, not always alike, and learns from what came of it.

First the policy does one episode from every candidate start as it is. Then it practises: in every
round it draws episodes from some starts, several from each, half of the starts among those from
which it failed at first, and an update learns from their outcomes. Start states are those of
training (0 to 9,999).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from eyehand.available_memory import check_workers
from eyehand.collection.record import TRAINING_SEEDS
from eyehand.envs.execution import Execution
from eyehand.envs.rollout import Outcome, Start, rollout
from eyehand.envs.suite import Suite, find_suite
from eyehand.evaluation.protocol import progress_bar
from eyehand.files import check_place, locked
from eyehand.functional.start_seed import start_seed
from eyehand.models.checkpoint import CONFIG, WEIGHTS
from eyehand.policies.contract import DrawingPolicy
from eyehand.policies.frame_policy import FramePolicy
from eyehand.policies.registry import describe_policy, load_policy
from eyehand.rl.chunk_ppo import ChunkPPO, ChunkPPOConfig
from eyehand.rl.chunk_update import ChunkConfig
from eyehand.rl.experience import Turn
from eyehand.rl.grpo import GRPO
from eyehand.rl.practice import Practice, PractisingActor
from eyehand.rl.practising import Practising, PractisingConfig
from eyehand.rl.residual_sac import ResidualSAC, ResidualSACConfig
from eyehand.rl.trajectory_dpo import TrajectoryDPO, TrajectoryDPOConfig
from eyehand.training.checkpoint import check_out, run_config
from eyehand.training.config import TrainConfig, TrainResult
from eyehand.training.loop import train
from eyehand.types import LARGEST_SEED, Actor, InputError, check_ranges

METHODS: dict[str, tuple[type[Practising], type[PractisingConfig]]] = {
    "grpo": (GRPO, ChunkConfig),
    "ppo": (ChunkPPO, ChunkPPOConfig),
    "dpo": (TrajectoryDPO, TrajectoryDPOConfig),
    "residual_sac": (ResidualSAC, ResidualSACConfig),
}
"""Name of a way to practise to its update and the update's config."""


@dataclass(frozen=True, kw_only=True)
class PractiseConfig:
    """What is practised, and how long."""

    out: Path
    """Folder of the practised policy."""
    tasks: str
    """Separated by commas: task names, groups or sets of tasks, or all."""
    suite: str = "metaworld"
    """The benchmark."""
    minutes: float = 60.0
    """Time of practice, acting and learning together; the first try from every start is extra."""
    candidates: int = 40
    """Start states of every task that the policy tries first, once each."""
    starts: int = 12
    """Start states in a round, over all tasks together."""
    episodes: int = 8
    """Episodes from each of them."""
    execution: Execution = field(default_factory=Execution)
    """How chunks of actions are executed."""
    workers: int = 2
    """Simulator processes."""
    ray: str | None = None
    """Run the simulators in a Ray cluster: auto takes that of RAY_ADDRESS or starts one on this
    machine, HOST:PORT names one. Results are the same (docs/ray.md)."""
    seed: int = 0
    """Decides which starts come, and what is drawn."""

    def __post_init__(self) -> None:
        """Check that numbers are in range and that the tasks exist."""
        check_ranges(
            self,
            candidates=(1, TRAINING_SEEDS),
            starts=(1, 10**6),
            episodes=(2, 10**6),
            seed=(0, LARGEST_SEED),
        )
        check_workers(self.workers, elsewhere=self.ray is not None)
        TrainConfig(minutes=self.minutes)
        suite = find_suite(self.suite)
        suite.select_tasks(self.tasks)
        if suite.last_seed is not None and self.candidates > suite.last_seed + 1:
            raise InputError(
                f"--candidates must be at most {suite.last_seed + 1}, the start states of "
                f"{self.suite}; got {self.candidates}."
            )
        if self.execution.temporal_ensembling is not None:
            raise InputError(
                "--execution.temporal-ensembling mixes chunks, so that what was executed has no "
                "probability of its own; leave it out."
            )


def practise(
    checkpoint: Path, config: PractiseConfig, settings: Any, *, method: str, resume: bool
) -> TrainResult:
    """Practise, and keep checkpoints of the practised policy in ``config.out``.

    Args:
        checkpoint: The policy to begin with.
        config: What is practised, and how long.
        settings: The config of the method.
        method: A name of `METHODS`.
        resume: Go on from the latest checkpoint in ``config.out``.

    Raises:
        InputError: If the policy cannot practise in this way, or ``config.out`` holds another run.
    """
    check_place(config.out, folder=True)
    check_out(config.out, resume=resume)
    loaded = load_policy(checkpoint)
    if not isinstance(loaded, FramePolicy):
        raise InputError(f"{checkpoint} has no head that could practise.")
    algorithm = METHODS[method][0]
    torch.manual_seed(config.seed)  # decides how values and corrections begin
    policy = algorithm.policy_of(loaded, settings, executed=config.execution.steps)
    suite = find_suite(config.suite)
    weights = checkpoint_weights(checkpoint)
    hard = kept_failures(config.out) if resume and (config.out / CONFIG).exists() else None
    config.out.mkdir(parents=True, exist_ok=True)  # what cannot be made is known before the work
    if hard is None:
        with locked(config.out, "practises"):
            hard = first_failures(policy, suite, config)
    update = algorithm(policy, settings, partial(practise_round, suite, config, hard))

    def turns(start: int) -> Iterator[Turn]:
        return repeat(Turn(config.starts * config.episodes))

    description = {
        "policy": describe_policy(policy.config),
        "practise": {
            "method": method,
            "initial": str(checkpoint),
            "initial_sha256": weights,
            "settings": asdict(settings),
            "failures": hard,
            **{
                name: value
                for name, value in asdict(config).items()
                if name not in ("out", "minutes", "workers", "ray")
            },
        },
    }
    return train(
        update,
        turns,
        config=TrainConfig(
            minutes=config.minutes,
            learning_rate=settings.learning_rate,
            gradient_clip=settings.gradient_clip,
            precision="fp32",
            warmup=0.0,
            log_every=1,
            seed=config.seed,
        ),
        folder=config.out,
        description=description,
        resume=resume,
    )


def checkpoint_weights(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights: what practice began with."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def kept_failures(out: Path) -> list[list[str | int]]:
    """Return what `first_failures` found when the run in a folder began.

    Raises:
        InputError: If it is no run of practice.
    """
    found = run_config(out).get("practise", {})
    if "failures" not in found:
        raise InputError(f"{out} holds a run that is no practice; name another folder.")
    return list(found["failures"])


def first_failures(
    policy: DrawingPolicy, suite: Suite, config: PractiseConfig
) -> list[list[str | int]]:
    """Return the starts, task and seed, from which the policy fails as it is."""
    starts = [
        Start(task, seed, suite.instructions(task).canonical)
        for task in suite.select_tasks(config.tasks)
        for seed in range(config.candidates)
    ]
    with progress_bar() as progress:
        bar, won = progress.add_task("first try", total=len(starts), rate=""), 0

        def on_outcome(outcome: Outcome) -> None:
            nonlocal won
            won += outcome.success
            progress.update(bar, advance=1, rate=f"{won} succeeded")

        outcomes = _run(policy, policy.cameras, suite, starts, config, on_outcome)
    failed: list[list[str | int]] = [
        [one.start.task, one.start.seed] for one in outcomes if not one.success
    ]
    Console(highlight=False, soft_wrap=True).print(
        f"as it is, the policy fails from {len(failed)} of {len(starts)} start states"
    )
    return failed


def practise_round(
    suite: Suite,
    config: PractiseConfig,
    hard: Sequence[Sequence[Any]],
    policy: DrawingPolicy,
    number: int,
    randomness: float,
) -> Practice:
    """Let a policy do a round of episodes; its number decides the starts and what is drawn.

    Args:
        suite: The family of tasks.
        config: What is practised.
        hard: Starts, task and seed, of which every other start of the round is; with none, none is.
        policy: The policy as it is.
        number: Of the round.
        randomness: How random chunks are drawn, as of `DrawingPolicy.draw`.
    """
    tasks = suite.select_tasks(config.tasks)
    seeds = TRAINING_SEEDS if suite.last_seed is None else min(TRAINING_SEEDS, suite.last_seed + 1)
    draw = np.random.default_rng([config.seed, number])
    starts, groups = [], []
    for group in range(config.starts):
        if hard and group % 2 == 0:
            task, seed = hard[int(draw.integers(len(hard)))]
        else:
            task = tasks[int(draw.integers(len(tasks)))]
            seed = int(draw.integers(seeds))
        told = suite.instructions(task)
        sentences = (told.canonical, *told.training)
        sentence = sentences[int(draw.integers(len(sentences)))]
        starts += [Start(task, seed, sentence)] * config.episodes
        groups += [group] * config.episodes
    noise = start_seed(f"round {number}", config.seed)
    actor = PractisingActor(policy, randomness=randomness, seed=noise)
    outcomes = _run(actor, policy.cameras, suite, starts, config)
    return actor.practice(
        [one.success for one in outcomes],
        [one.steps for one in outcomes],
        groups,
        terminated=[one.terminated for one in outcomes],
        executed=config.execution.steps,
    )


def _run(
    actor: Actor,
    cameras: Mapping[str, int],
    suite: Suite,
    starts: Sequence[Start],
    config: PractiseConfig,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run one episode from every start."""
    return rollout(
        actor,
        suite,
        starts,
        execution=config.execution,
        cameras=cameras,
        workers=config.workers,
        on_outcome=on_outcome,
        ray=config.ray,
    )
