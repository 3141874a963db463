"""Rollouts: a policy on many start states, with the same outcomes for any number of workers.

The policy is always called with ``ROWS`` robots, filled up with padding rows, because the rounding
of matrix products depends on the size of the batch (but not on the order of its rows). It is
called on one thread, because the rounding depends on the number of threads too, and because more
threads compete with the simulators for the cores. While the policy computes for some robots, the
workers simulate the others.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from eyehand.envs.execution import Execution, Plan
from eyehand.envs.ray_workers import RayVectorEnv
from eyehand.envs.robot_env import RobotEnv
from eyehand.envs.slots import SlotVector
from eyehand.envs.suite import Suite
from eyehand.envs.vector import VectorEnv
from eyehand.types import Actor, InputError, Observation

ROWS = 8
"""Robots in one call of the policy: part of the protocol, because it changes the rounding."""
POLICY_THREADS = 1
"""Threads of the policy on a CPU: part of the protocol for the same reason. Measured on two cores
beside two simulators: 627 steps/s on one thread, 218 to 513 on two."""


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
    """The result of an episode."""

    start: Start
    """Where it started."""
    success: bool
    """Whether the task was solved."""
    actions: Float32[np.ndarray, "time action"]
    """The executed actions, in [-1, 1]; a replay from the start gives the same episode."""
    reward: Float32[np.ndarray, " time"] = field(default_factory=lambda: np.zeros(0, np.float32))
    """The reward of every action; empty where it is unknown."""
    terminated: bool = False
    """True if the task was over, solved or failed; False if the time was over."""

    @property
    def steps(self) -> int:
        """How many actions were executed."""
        return len(self.actions)


@dataclass
class _Episode:
    """An episode under way."""

    index: int
    """The place of its chain among the chains, which is also its ``env_id``."""
    start: Start
    plan: Plan
    executed: list[np.ndarray] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    sent: np.ndarray | None = None
    success: bool = False


@contextmanager
def policy_threads() -> Iterator[None]:
    """Run torch on `POLICY_THREADS` threads in this block, afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(POLICY_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rollout(
    policy: Actor,
    suite: Suite,
    starts: Sequence[Start],
    *,
    execution: Execution,
    cameras: Mapping[str, int],
    workers: int = 2,
    environments: int = 16,
    disturbance: Mapping[str, Any] | None = None,
    transform: Callable[[Observation], Observation] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    generator: torch.Generator | None = None,
    ray: str | None = None,
) -> list[Outcome]:
    """Run one episode from every start.

    Args:
        policy: Anything with ``act`` and ``reset``. Robots are told apart by ``env_ids``, the place
            of their start among ``starts``.
        suite: The family of tasks.
        starts: Where to start, in any order and with repetitions.
        execution: How chunks are executed.
        cameras: Height and width of the pictures that the policy reads, pixels, by camera.
        workers: Processes that simulate.
        environments: Episodes under way at the same time.
        disturbance: Arguments of ``suite.make`` that change the world, for controls.
        transform: Changes what the policy sees, for controls.
        on_outcome: Called after each episode, in the order in which they end.
        generator: Where the policy takes its noise from, so that episodes from one start differ;
            the outcomes then depend on ``workers`` and ``environments``.
        ray: A Ray cluster for the simulators, as of `eyehand.envs.ray_workers.connect`; None runs
            them in processes of this machine. The outcomes are the same.

    Returns:
        Outcomes in the order of ``starts``, without ``generator`` the same for any ``workers`` and
        ``environments``.

    Raises:
        InputError: If a count is below 1, there is no such camera, or the policy's chunks are
            shorter than ``execution.steps``, do not fit the robot or are not finite: the sentence
            names task, seed and step.
        WorkerError: If a simulator fails; a `WorkerDeathError` if it was killed.
    """

    def on_chain(index: int, outcomes: Sequence[Outcome]) -> None:
        if on_outcome is not None:
            on_outcome(*outcomes)

    outcomes = rollout_chains(
        policy,
        suite,
        [(start,) for start in starts],
        execution=execution,
        cameras=cameras,
        workers=workers,
        environments=environments,
        disturbance=disturbance,
        transform=transform,
        on_chain=on_chain,
        generator=generator,
        ray=ray,
    )
    return [outcome for (outcome,) in outcomes]


@policy_threads()
def rollout_chains(
    policy: Actor,
    suite: Suite,
    chains: Sequence[Sequence[Start]],
    *,
    execution: Execution,
    cameras: Mapping[str, int],
    workers: int = 2,
    environments: int = 16,
    disturbance: Mapping[str, Any] | None = None,
    transform: Callable[[Observation], Observation] | None = None,
    on_chain: Callable[[int, Sequence[Outcome]], None] | None = None,
    generator: torch.Generator | None = None,
    ray: str | None = None,
) -> list[list[Outcome]]:
    """Run chains of episodes: what comes next begins where the one before succeeded.

    Only the first start of a chain is a start state. After a success the robot is told the next
    task in the world as it is, with its time and the policy's memory anew; the first failure ends
    the chain. An episode alone is a chain of one.

    Args:
        policy: As of `rollout`; ``env_ids`` are the places of chains among ``chains``.
        suite: As of `rollout`. For chains of several tasks its environments are `Chained`.
        chains: What to start with, and what to tell next, each at least one start.
        execution: As of `rollout`, as are all others.
        cameras: As of `rollout`.
        workers: As of `rollout`.
        environments: Chains under way at the same time.
        disturbance: As of `rollout`.
        transform: As of `rollout`.
        on_chain: Called after each chain with its place and outcomes, in the order in which chains
            end.
        generator: As of `rollout`.
        ray: As of `rollout`.

    Returns:
        The outcomes of every chain, up to its first failure, in the order of ``chains``.

    Raises:
        InputError: As in `rollout`; or if an environment cannot be told another task.
        WorkerError: As in `rollout`.
    """
    suite.check_cameras(cameras)
    if not chains:
        return []
    outcomes: list[list[Outcome]] = [[] for _ in chains]
    queue = _Queue([chain[0] for chain in chains])
    slots = min(max(environments, workers), len(chains))
    episodes: dict[int, _Episode] = {}
    waiting: deque[int] = deque()
    make = partial(suite.make, **(disturbance or {}))
    start: Callable[..., SlotVector]
    start = VectorEnv if ray is None else partial(RayVectorEnv, address=ray)
    with start(
        make, slots=slots, workers=workers, cameras=cameras, state_dim=len(suite.state)
    ) as vector:

        def begin(slot: int, index: int | None) -> None:
            """Begin what is next in a chain: its start state, then tasks in the same world."""
            if index is None:
                return  # no chain is left
            number = len(outcomes[index])
            start = chains[index][number]
            episodes[slot] = _Episode(index, start, Plan(execution, action_dim=len(suite.action)))
            policy.reset([index])
            if number == 0:
                vector.reset(slot, start.task, start.seed)
            else:
                vector.begin_task(slot, start.task)

        for slot in range(slots):
            begin(slot, queue.take(slot))
        while episodes:
            # Call the policy when all rows are filled, or when no other robot will come.
            idle = len(waiting) < min(ROWS, len(episodes))
            for reply in vector.receive(None if idle else 0.0):
                episode = episodes[reply.slot]
                if episode.sent is not None:
                    episode.executed.append(episode.sent[: reply.steps])
                episode.reward += reply.reward
                episode.success = episode.success or reply.success
                if not reply.ended:
                    waiting.append(reply.slot)
                    continue
                done = outcomes[episode.index]
                done.append(_outcome(episode, terminated=reply.terminated))
                policy.reset([episode.index])  # its memory is not needed any more
                del episodes[reply.slot]
                goes_on = episode.success and len(done) < len(chains[episode.index])
                begin(reply.slot, episode.index if goes_on else queue.take(reply.slot))
                if on_chain is not None and not goes_on:
                    on_chain(episode.index, done)
            if waiting and len(waiting) >= min(ROWS, len(episodes)):
                group = [waiting.popleft() for _ in range(min(ROWS, len(waiting)))]
                observation = (transform or _as_it_is)(_observe(vector, group, episodes))
                with torch.inference_mode():
                    chunks = policy.act(observation, generator=generator)[: len(group)]
                _send(vector, group, episodes, chunks.to("cpu", torch.float32))
    return outcomes


def _as_it_is(observation: Observation) -> Observation:
    return observation


def _observe(
    vector: SlotVector, group: Sequence[int], episodes: Mapping[int, _Episode]
) -> Observation:
    """Return what the robots in ``group`` see, with padding rows up to ``ROWS``."""
    padding = ROWS - len(group)
    rows = [*group, *[group[-1]] * padding]
    return Observation(
        image={  # indexing by a list copies
            camera: torch.from_numpy(shown[rows]) for camera, shown in vector.image.items()
        },
        state=torch.from_numpy(vector.state[rows]),
        instruction=[episodes[slot].start.instruction for slot in rows],
        env_ids=[*(episodes[slot].index for slot in group), *[-1] * padding],
    )


def _send(
    vector: SlotVector,
    group: Sequence[int],
    episodes: Mapping[int, _Episode],
    chunks: Float[Tensor, "robot horizon action"],
) -> None:
    """Send the robots in ``group`` what the policy planned."""
    for slot, chunk in zip(group, chunks, strict=True):
        episode = episodes[slot]
        episode.sent = _next_actions(episode.plan, episode.start, chunk, step=len(episode.reward))
        vector.step(slot, episode.sent)


def _next_actions(
    plan: Plan, start: Start, chunk: Float[Tensor, "horizon action"], *, step: int
) -> np.ndarray:
    try:
        return plan.next_actions(chunk, step=step)
    except InputError as error:
        raise InputError(f"{start.task!r} (seed {start.seed}): {error}") from error


def _outcome(episode: _Episode, *, terminated: bool) -> Outcome:
    return Outcome(
        episode.start,
        success=episode.success,
        actions=np.concatenate(episode.executed),
        reward=np.array(episode.reward, np.float32),
        terminated=terminated,
    )


def observe(observation: Mapping[str, Any], *, instruction: str, env_id: int = 0) -> Observation:
    """Return what one robot sees as a batch of one.

    Args:
        observation: As an environment returns it, with pictures.
        instruction: What the robot is told, in place of the task's own sentence.
        env_id: Which robot it is.
    """
    return Observation(
        image={
            camera: torch.from_numpy(picture.copy())[None]
            for camera, picture in observation["image"].items()
        },
        state=torch.from_numpy(observation["state"].copy())[None],
        instruction=[instruction],
        env_ids=[env_id],
    )


def drive(
    policy: Actor, env: RobotEnv, start: Start, *, execution: Execution, most: int
) -> Outcome:
    """Run one episode in this process, in an environment that is there already.

    It is the environment of ``start.task``, whose observations need no pictures. The run stops
    after ``most`` steps, even if the episode is not over.

    Raises:
        InputError: As in `rollout`, if the policy's chunks cannot be executed.
    """
    policy.reset([0])
    observation, _ = env.reset(seed=start.seed)
    plan = Plan(execution, action_dim=env.action_dim)
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    success = terminated = truncated = False
    with policy_threads(), torch.inference_mode():
        while len(actions) < most and not (terminated or truncated):
            seen = observe(observation | {"image": env.pictures()}, instruction=start.instruction)
            chunk = policy.act(seen)[0].detach().to("cpu", torch.float32)
            for action in _next_actions(plan, start, chunk, step=len(actions)):
                observation, reward, terminated, truncated, info = env.step(action)
                actions.append(action)
                rewards.append(float(reward))
                success = success or bool(info["success"])
                if terminated or truncated:
                    break
    return Outcome(
        start,
        success=success,
        actions=np.stack(actions),
        reward=np.array(rewards, np.float32),
        terminated=terminated,
    )


class _Queue:
    """Gives the starts to the slots so that slots rarely change their task, which takes time."""

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
            # Take the task with the most episodes left for each slot that has it already.
            task = max(self._left, key=lambda name: len(self._left[name]) / (1 + busy.count(name)))
        self._task[slot] = task
        index = self._left[task].popleft()
        if not self._left[task]:
            del self._left[task]
        return index
