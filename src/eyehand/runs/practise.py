"""A policy practises: it acts in the simulator, not always alike, and learns from what came of it.

First the policy does one episode from every candidate start as it is. Then it practises: in every
round it draws episodes from some starts, several from each, half of the starts among those from
which it failed at first, and an update learns from their outcomes. Start states are those of
training (0 to 9,999).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count, repeat
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from eyehand.envs.execution import Execution
from eyehand.envs.rollout import Outcome, Start, rollout
from eyehand.envs.suite import Suite, find_suite
from eyehand.files import check_place
from eyehand.models.checkpoint import CONFIG, read_config
from eyehand.policies.frame_policy import FramePolicy
from eyehand.policies.registry import describe_policy, load_policy
from eyehand.rl.chunk_ppo import ChunkPPO, ChunkPPOConfig
from eyehand.rl.chunk_update import ChunkConfig, ChunkUpdate
from eyehand.rl.grpo import GRPO
from eyehand.rl.practice import Practice, PractisingActor
from eyehand.rl.trajectory_dpo import TrajectoryDPO, TrajectoryDPOConfig
from eyehand.training.checkpoint import check_out
from eyehand.training.config import TrainConfig, TrainResult
from eyehand.training.loop import train
from eyehand.types import Actor, InputError, check_ranges

METHODS: dict[str, tuple[type[ChunkUpdate | TrajectoryDPO], type[Any]]] = {
    "grpo": (GRPO, ChunkConfig),
    "ppo": (ChunkPPO, ChunkPPOConfig),
    "dpo": (TrajectoryDPO, TrajectoryDPOConfig),
}
"""Name of a way to practise to its update and the update's config."""
TRAINING_SEEDS = 10_000


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
    """Time of practice, rollouts and learning together; the first try from every start is extra."""
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
    seed: int = 0
    """Decides which starts come, and what is drawn."""

    def __post_init__(self) -> None:
        """Check that numbers are in range and that the tasks exist."""
        check_ranges(
            self,
            candidates=(1, TRAINING_SEEDS),
            starts=(1, 10**6),
            episodes=(2, 10**6),
            workers=(1, 1024),
        )
        find_suite(self.suite).select_tasks(self.tasks)
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
        InputError: If the policy cannot say how probable its actions are, or ``config.out`` holds
            another run.
    """
    check_place(config.out, folder=True)
    check_out(config.out, resume=resume)
    policy = load_policy(checkpoint)
    if not isinstance(policy, FramePolicy):
        raise InputError(f"{checkpoint} has no head that could practise.")
    policy.drawing_head()
    suite = find_suite(config.suite)
    begun = resume and (config.out / CONFIG).exists()
    hard = read_config(config.out)["practise"]["failures"] if begun else None
    if hard is None:
        hard = first_failures(policy, suite, config)
    update = METHODS[method][0](policy, settings)
    rounds = partial(practice_rounds, policy, suite, config, settings.randomness, hard)
    if method == "dpo":  # it learns from what the policy did before it learnt
        once = next(rounds(0))
        batches: Callable[[int], Iterator[Practice]] = lambda start: repeat(once)  # noqa: E731
    else:
        batches = rounds
    description = {
        "policy": describe_policy(policy.config),
        "practise": {
            "method": method,
            "initial": str(checkpoint),
            "settings": asdict(settings),
            "failures": hard,
            **{
                name: value
                for name, value in asdict(config).items()
                if name not in ("out", "minutes", "workers")
            },
        },
    }
    return train(
        update,
        batches,
        config=TrainConfig(
            minutes=config.minutes, precision="fp32", warmup=0.02, log_every=1, seed=config.seed
        ),
        folder=config.out,
        description=description,
        resume=resume,
    )


def first_failures(
    policy: FramePolicy, suite: Suite, config: PractiseConfig
) -> list[list[str | int]]:
    """Return the starts, task and seed, from which the policy fails as it is."""
    starts = [
        Start(task, seed, suite.instructions(task).canonical)
        for task in suite.select_tasks(config.tasks)
        for seed in range(config.candidates)
    ]
    outcomes = _run(policy, policy.cameras, suite, starts, config)
    failed: list[list[str | int]] = [
        [one.start.task, one.start.seed] for one in outcomes if not one.success
    ]
    Console(highlight=False, soft_wrap=True).print(
        f"as it is, the policy fails from {len(failed)} of {len(starts)} start states"
    )
    return failed


def practice_rounds(
    policy: FramePolicy,
    suite: Suite,
    config: PractiseConfig,
    randomness: float,
    hard: Sequence[Sequence[Any]],
    start: int,
) -> Iterator[Practice]:
    """Let the policy, as it is by then, practise round after round; round i begins at ``start``."""
    tasks = suite.select_tasks(config.tasks)
    for number in count(start):
        draw = np.random.default_rng([config.seed, number])
        chosen = [
            hard[int(draw.integers(len(hard)))]
            if hard and place % 2 == 0
            else (tasks[int(draw.integers(len(tasks)))], int(draw.integers(TRAINING_SEEDS)))
            for place in range(config.starts)
        ]
        starts, groups = [], []
        for group, (task, seed) in enumerate(chosen):
            told = suite.instructions(task)
            sentences = (told.canonical, *told.training)
            sentence = sentences[int(draw.integers(len(sentences)))]
            starts += [Start(task, seed, sentence)] * config.episodes
            groups += [group] * config.episodes
        actor = PractisingActor(policy, randomness=randomness, seed=config.seed + 1000 * number)
        outcomes = _run(actor, policy.cameras, suite, starts, config)
        yield actor.practice(
            [one.success for one in outcomes],
            [one.steps for one in outcomes],
            groups,
            executed=config.execution.steps,
        )


def _run(
    actor: Actor,
    cameras: Mapping[str, int],
    suite: Suite,
    starts: Sequence[Start],
    config: PractiseConfig,
) -> list[Outcome]:
    """Run one episode from every start."""
    return rollout(
        actor,
        suite,
        starts,
        execution=config.execution,
        cameras=cameras,
        workers=config.workers,
    )
