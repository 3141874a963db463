"""One demonstration: the scripted expert does a task, alone or after a policy's actions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from eyehand.collection.episodes import replay_episode
from eyehand.envs.execution import Execution
from eyehand.envs.robot_env import Expert, RobotEnv
from eyehand.envs.rollout import Start, drive
from eyehand.envs.suite import Suite
from eyehand.types import Actor, Episode, InputError

PUSH_STEPS = 10
"""Length of a push."""
PUSH_PROBABILITY = 1 / 30
"""Probability that a push begins at a step outside a push."""
LONGEST_LEAD = 0.6
"""Largest share of an episode in which the policy acts; the expert needs the rest to recover."""
KEPT_SUCCESSES = 1 / 3
"""Share of the episodes in which the policy succeeds that are corrected nevertheless."""
OPEN = -1.0
"""Effort that opens the fingers."""


def demonstrate(
    suite: Suite,
    env: RobotEnv,
    *,
    seed: int,
    perturbation: float,
    lead: Sequence[Float32[np.ndarray, " action"]] = (),
) -> Episode | None:
    """Let the expert try one start state; return the episode, or None where it failed.

    The episode is simulated twice: first without pictures, which is twenty times faster, to see
    whether it succeeds; then the same actions with pictures. A failure takes all of an episode's
    time.

    Where an expert leaves the fingers as they are (effort 0; Meta-World's does), it opens them
    here. It does so before it grasps, when they are open; but a hand that has closed on nothing
    would stay closed, and so would that of a policy that errs about the 0: an effort of 0.1 closes
    it in 2 s.

    Args:
        suite: The family of tasks.
        env: The task; its observations need no pictures.
        seed: The start state.
        perturbation: Strength of the pushes, standard deviation per axis in action units.
        lead: Actions that are executed before the expert takes over. They are recorded as the past
            that a policy with memory sees, and masked, because nobody should learn them.

    Raises:
        InputError: If the suite has no expert.

    Example:
        >>> from eyehand.envs.suite import find_suite
        >>> suite = find_suite("metaworld")
        >>> env = suite.make("reach", cameras={"corner4": 16}, render_observations=False)
        >>> episode = demonstrate(suite, env, seed=0, perturbation=0.0)
        >>> episode.state.shape[1], episode.image["corner4"].shape[1:]
        (4, (16, 16, 3))
        >>> env.close()
    """
    tried = expert_episode(suite, env, seed=seed, perturbation=perturbation, lead=lead)
    if not tried.success:
        return None
    return replay_episode(
        env,
        Start(env.task, seed, env.instruction),
        tried.executed,
        action_mask=[step >= len(lead) for step in range(len(tried.executed))] if lead else None,
        labels=[*lead, *tried.labels],
    )


@dataclass(frozen=True)
class ExpertEpisode:
    """What an expert did from one start state."""

    executed: list[Float32[np.ndarray, " action"]]
    """Every action, pushes and a policy's lead included."""
    labels: list[Float32[np.ndarray, " action"]]
    """What the expert wanted to do, without pushes, since it acted."""
    success: bool


def expert_episode(
    suite: Suite,
    env: RobotEnv,
    *,
    seed: int,
    perturbation: float,
    lead: Sequence[Float32[np.ndarray, " action"]] = (),
) -> ExpertEpisode:
    """Let the expert try one start state, without pictures; the arguments are `demonstrate`'s.

    Raises:
        InputError: If the suite has no expert.
    """
    if not isinstance(env, Expert):
        raise InputError(f"the suite {suite.name} has no expert to record.")
    pushes = _pushes(suite, env.task, seed, perturbation)
    env.reset(seed=seed)
    for action in lead:
        env.step(action)
    labels, executed = list[np.ndarray](), list(lead)
    success = terminated = truncated = False
    while not (terminated or truncated):
        label = env.expert_action()
        if suite.hand is not None and label[suite.hand.gripper] == 0:
            label[suite.hand.gripper] = OPEN
        action = np.clip(label + next(pushes), -1, 1).astype(np.float32)
        labels.append(label)
        executed.append(action)
        _, _, terminated, truncated, info = env.step(action)
        success = success or bool(info["success"])
    return ExpertEpisode(executed, labels, success)


def lead_of(
    suite: Suite, policy: Actor, env: RobotEnv, *, seed: int, instruction: str
) -> list[Float32[np.ndarray, " action"]] | None:
    """Return the actions of a policy from a start state up to a moment that the seed decides, too.

    Where the policy succeeds before the longest lead is over, two of three episodes are left out,
    and None is returned: corrections of tasks that still fail teach more.

    The moment is uniform over the policy's own episode before it succeeds (Ross et al., 2011,
    https://arxiv.org/abs/1011.0686, in episodes): a policy that is stuck for
    long is mostly corrected there.
    """
    most = round(LONGEST_LEAD * suite.limit(env.task))
    start = Start(env.task, seed, instruction)
    outcome = drive(policy, env, start, execution=Execution(), most=most)
    actions = list(outcome.actions)
    random = np.random.default_rng([seed, *env.task.encode(), most])
    if outcome.success and random.random() >= KEPT_SUCCESSES:
        return None
    if outcome.terminated:
        actions.pop()  # the task is over then: there is nothing to correct
    return actions[: random.integers(len(actions) + 1)]


def _pushes(
    suite: Suite, task: str, seed: int, strength: float
) -> Iterator[Float32[np.ndarray, " action"]]:
    """Yield what is added to each executed action: now and then a push of ten steps.

    A push has one direction, so it takes the hand off its path; noise that is drawn anew at every
    step would average out. Between pushes the expert brings the hand back undisturbed, which is
    what a policy should learn. The gripper is not pushed, because a dropped object teaches nothing.
    """
    random = np.random.default_rng([seed, *task.encode()])
    moved = slice(None) if suite.hand is None else suite.hand.action
    while True:
        push = np.zeros(len(suite.action), np.float32)
        if strength > 0 and random.random() < PUSH_PROBABILITY:
            push[moved] = random.normal(0, strength, len(push[moved]))
            for _ in range(PUSH_STEPS):
                yield push
        else:
            yield push
