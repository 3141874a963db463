"""Run a policy over many start states, and get the same outcomes however the work is divided.

The policy is always called with ``ROWS`` robots, the last of them padding if fewer wait: matrix
products round differently when the batch has another size, but not when its rows change places.
While it thinks about some robots, the workers simulate the others.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from eyehand.envs.metaworld import ACTION_DIM, CAMERA, STATE_DIM, MetaWorldEnv
from eyehand.envs.vector import VectorEnv
from eyehand.functional.ensembling import temporal_ensemble
from eyehand.types import Actor, InputError, Observation

ROWS = 8
"""Robots in one call of the policy. Another number is another protocol: it changes the rounding."""


@dataclass(frozen=True)
class Start:
    """Where an episode starts, and what the robot is told."""

    task: str
    """Name of the task."""
    seed: int
    """The seed that decides the start state."""
    instruction: str
    """The sentence."""


@dataclass(frozen=True)
class Outcome:
    """How an episode went."""

    start: Start
    """Where it started."""
    success: bool
    """Whether the task was solved."""
    steps: int
    """How many actions were executed."""
    actions: Float32[np.ndarray, "time action"]
    """Those actions, in [-1, 1]: replayed from the start they give the same episode."""


@dataclass(frozen=True)
class Execution:
    """How a chunk of actions is executed."""

    steps: int = 4
    """Actions executed before the policy plans anew."""
    temporal_ensembling: float | None = None
    """Average each action with what earlier chunks planned for the same moment, with this decay of
    the weights from the oldest to the newest (ACT: 0.01, with ``steps`` 1); ``None`` does not."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.steps < 1:
            raise InputError(f"`steps` of Execution must be at least 1. Got {self.steps}.")
        decay = self.temporal_ensembling
        if decay is not None and not (math.isfinite(decay) and decay >= 0):
            raise InputError(
                f"`temporal_ensembling` of Execution is a decay of at least 0. Got {decay}."
            )


@dataclass
class _Episode:
    """An episode in flight."""

    index: int
    """Its place among the starts, which is also its ``env_id``."""
    start: Start
    executed: list[np.ndarray] = field(default_factory=list)
    sent: np.ndarray | None = None
    plans: deque[tuple[int, Tensor]] = field(default_factory=deque)
    """Past chunks with the step each began at, oldest first."""

    @property
    def steps(self) -> int:
        return sum(len(actions) for actions in self.executed)


def rollout(
    policy: Actor,
    starts: Sequence[Start],
    *,
    execution: Execution,
    workers: int = 2,
    environments: int = 16,
    camera: str = CAMERA,
    image_size: int = 96,
    disturbance: Mapping[str, Any] | None = None,
    transform: Callable[[Observation], Observation] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run one episode from every start.

    Args:
        policy: Anything with ``act`` and ``reset``. Robots are told apart by ``env_ids``, the place
            of their start among ``starts``.
        starts: Where to start, in any order and with repetitions.
        execution: How chunks are executed.
        workers: Processes that simulate.
        environments: Episodes in flight at a time.
        camera: The picture that the policy reads, a name of `eyehand.envs.metaworld.CAMERAS`.
        image_size: Height and width of the pictures, pixels.
        disturbance: Arguments of `MetaWorldEnv` that change the world, for probes.
        transform: Changes what the policy sees, for probes.
        on_outcome: Called after each episode, in the order in which they end.

    Returns:
        Outcomes in the order of ``starts``, the same for any ``workers`` and ``environments``.

    Raises:
        InputError: If a count is below 1, or the policy's chunks are shorter than
            ``execution.steps`` or not of four finite numbers an action.
        WorkerError: If a simulator fails.
    """
    if not starts:
        return []
    outcomes: list[Outcome | None] = [None] * len(starts)
    queue = _Queue(starts)
    slots = min(environments, len(starts))
    episodes: dict[int, _Episode] = {}
    waiting: deque[int] = deque()
    make = partial(MetaWorldEnv, camera=camera, **(disturbance or {}))
    with VectorEnv(
        make, slots=slots, workers=workers, image_size=image_size, state_dim=STATE_DIM
    ) as vector:

        def begin(slot: int) -> None:
            index = queue.take(slot)
            if index is None:
                return
            start = starts[index]
            episodes[slot] = _Episode(index, start)
            policy.reset([index])
            vector.reset(slot, start.task, start.seed)

        for slot in range(slots):
            begin(slot)
        while episodes:
            # Think as soon as a call can be filled; half empty only if nobody else is on the way.
            idle = len(waiting) < min(ROWS, len(episodes))
            for reply in vector.receive(None if idle else 0.0):
                episode = episodes[reply.slot]
                if episode.sent is not None:
                    episode.executed.append(episode.sent[: reply.steps])
                if not reply.ended:
                    waiting.append(reply.slot)
                    continue
                outcome = _outcome(episode, success=reply.success)
                outcomes[episode.index] = outcome
                policy.reset([episode.index])  # nobody asks for what it remembers any more
                del episodes[reply.slot]
                begin(reply.slot)
                if on_outcome is not None:
                    on_outcome(outcome)
            if waiting and len(waiting) >= min(ROWS, len(episodes)):
                group = [waiting.popleft() for _ in range(min(ROWS, len(waiting)))]
                chunks = _think(policy, vector, group, episodes, camera, transform)
                for slot, chunk in zip(group, chunks, strict=True):
                    actions = _plan(episodes[slot], chunk, execution)
                    episodes[slot].sent = actions
                    vector.step(slot, actions)
    return [outcome for outcome in outcomes if outcome is not None]


def _think(
    policy: Actor,
    vector: VectorEnv,
    group: Sequence[int],
    episodes: dict[int, _Episode],
    camera: str,
    transform: Callable[[Observation], Observation] | None,
) -> Float[Tensor, "group horizon action"]:
    """Return the policy's chunks for the robots in ``group``."""
    padding = ROWS - len(group)
    rows = [*group, *[group[-1]] * padding]
    observation = Observation(
        image={camera: torch.from_numpy(vector.image[rows])},  # indexing by a list copies
        state=torch.from_numpy(vector.state[rows]),
        instruction=[episodes[slot].start.instruction for slot in rows],
        env_ids=[*(episodes[slot].index for slot in group), *[-1] * padding],
    )
    if transform is not None:
        observation = transform(observation)
    with torch.inference_mode():
        chunks = policy.act(observation)
    return chunks[: len(group)].detach().to("cpu", torch.float32)


def _plan(
    episode: _Episode, chunk: Float[Tensor, "horizon action"], execution: Execution
) -> Float32[np.ndarray, "time action"]:
    """Return the actions to execute next."""
    horizon, action_dim = chunk.shape
    if action_dim != ACTION_DIM or horizon < execution.steps:
        raise InputError(
            f"the policy plans {horizon} actions of {action_dim} numbers; at least "
            f"{execution.steps} (`steps` of Execution) of {ACTION_DIM} are needed."
        )
    if not torch.isfinite(chunk).all():
        raise InputError(
            f"the policy's actions for {episode.start.task!r} (seed {episode.start.seed}) "
            f"are not finite at step {episode.steps}."
        )
    if execution.temporal_ensembling is None:
        planned = chunk[: execution.steps]
    else:
        now = episode.steps
        episode.plans.append((now, chunk))
        while episode.plans[0][0] + horizon <= now:
            episode.plans.popleft()
        planned = torch.stack([
            temporal_ensemble(
                torch.stack([
                    plan[step - begun] for begun, plan in episode.plans if step - begun < horizon
                ]),
                decay=execution.temporal_ensembling,
            )
            for step in range(now, now + execution.steps)
        ])  # fmt: skip
    return np.clip(planned.numpy(), -1, 1)


def _outcome(episode: _Episode, *, success: bool) -> Outcome:
    actions = np.concatenate(episode.executed)
    return Outcome(episode.start, success=success, steps=len(actions), actions=actions)


class _Queue:
    """Deals the starts to the slots so that few slots change their task, which takes time."""

    def __init__(self, starts: Sequence[Start]) -> None:
        self._left: dict[str, deque[int]] = {}
        for index, start in enumerate(starts):
            self._left.setdefault(start.task, deque()).append(index)
        self._task: dict[int, str] = {}

    def take(self, slot: int) -> int | None:
        """Return the index of the slot's next start; ``None`` if there is none left."""
        task = self._task.pop(slot, None)
        if task not in self._left:
            if not self._left:
                return None
            busy = list(self._task.values())
            # The task with the most episodes for each slot that is at it already.
            task = max(self._left, key=lambda name: len(self._left[name]) / (1 + busy.count(name)))
        self._task[slot] = task
        index = self._left[task].popleft()
        if not self._left[task]:
            del self._left[task]
        return index
