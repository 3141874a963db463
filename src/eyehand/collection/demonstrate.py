"""One demonstration: the scripted expert does a task, alone or after a policy went before it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from eyehand.envs.metaworld import ACTION_DIM, MetaWorldEnv
from eyehand.types import Actor, Episode, Observation

PUSH_STEPS = 10
"""Length of a push, an eighth of a second."""
PUSH_PROBABILITY = 1 / 30
"""That a push begins at a step without one."""
LONGEST_LEAD = 300
"""Steps that a policy may drive; the expert needs some of an episode's 500 to put things right."""
OPEN = -1.0
"""Effort that opens the fingers."""
STEPS_PER_PLAN = 4
"""Actions that a policy executes before it plans anew."""


def demonstrate(
    environment: MetaWorldEnv,
    *,
    seed: int,
    perturbation: float,
    lead: Sequence[Float32[np.ndarray, "4"]] = (),
) -> Episode | None:
    """Let the expert try one start state; return the episode, or None where it failed.

    The episode is simulated twice: first without pictures, which is twenty times faster, to see
    whether it succeeds; then the same actions with pictures. A failure is 500 steps long.

    Where Meta-World's expert leaves the fingers as they are (effort 0), it opens them here. It does
    so before it grasps, when they are open; but a hand that has closed on nothing would stay
    closed, and so would that of a policy that errs about the 0: an effort of 0.1 closes it in 2 s.

    Args:
        environment: The task; its observations need no pictures.
        seed: The start state.
        perturbation: Strength of the pushes, standard deviation per axis in action units.
        lead: Actions that are executed before the expert takes over; they are not recorded.

    Example:
        >>> environment = MetaWorldEnv("reach", image_size=16, render_observations=False)
        >>> episode = demonstrate(environment, seed=0, perturbation=0.0)
        >>> episode.state.shape[1], episode.image["corner4"].shape[1:]
        (4, (16, 16, 3))
        >>> environment.close()
    """
    pushes = _pushes(environment.task, seed, perturbation)
    observation = _begin(environment, seed, lead)
    states, labels, executed, landmarks = [], [], [], []
    success = truncated = False
    while not (success or truncated):
        label = environment.expert_action()
        if label[-1] == 0:
            label[-1] = OPEN
        action = np.clip(label + next(pushes), -1, 1).astype(np.float32)
        states.append(observation["state"])
        landmarks.append(environment.landmarks())
        labels.append(label)
        executed.append(action)
        observation, _, success, truncated, _ = environment.step(action)
    if not success:
        return None
    _begin(environment, seed, lead)
    pictures = []
    for action in executed:
        pictures.append(environment.render())
        environment.step(action)
    return Episode(
        image={environment.camera: np.stack(pictures)},
        state=np.stack(states),
        action=np.stack(labels),
        instruction=environment.instruction,
        task=environment.task,
        seed=seed,
        landmarks=np.stack(landmarks),
    )


def _begin(environment: MetaWorldEnv, seed: int, lead: Sequence[np.ndarray]) -> dict[str, Any]:
    observation, _ = environment.reset(seed=seed)
    for action in lead:
        observation, *_ = environment.step(action)
    return observation


@torch.inference_mode()
def lead_of(
    policy: Actor, environment: MetaWorldEnv, *, seed: int, instruction: str
) -> list[Float32[np.ndarray, "4"]]:
    """Return the actions of a policy from a start state up to a random moment.

    The moment is uniform over the policy's own episode before it succeeds (Ross et al., 2011,
    https://arxiv.org/abs/1011.0686, in episodes): where it is stuck, it is mostly stuck there too.

    Args:
        policy: Who drives.
        environment: The task; its observations need no pictures.
        seed: The start state; it decides the moment, too.
        instruction: What the policy is told.
    """
    policy.reset([0])
    observation, _ = environment.reset(seed=seed)
    actions: list[np.ndarray] = []
    while len(actions) < LONGEST_LEAD:
        picture = torch.from_numpy(environment.render()[None])
        state = torch.from_numpy(observation["state"][None])
        chunk = policy.act(Observation({environment.camera: picture}, state, [instruction], [0]))
        for action in np.clip(chunk[0, :STEPS_PER_PLAN].numpy(), -1, 1):
            observation, _, success, _, _ = environment.step(action)
            if success:
                break
            actions.append(action)
        if success:
            break
    random = np.random.default_rng([seed, *environment.task.encode(), LONGEST_LEAD])
    return actions[: random.integers(len(actions) + 1)]


def _pushes(task: str, seed: int, strength: float) -> Iterator[Float32[np.ndarray, "4"]]:
    """Yield what is added to each executed action: now and then a push of ten steps.

    A push has one direction, so it takes the hand off its way where noise of every step on its own
    would average out; between pushes the expert brings it back undisturbed, which is what a policy
    should learn. The gripper's effort is left alone: a dropped object shows no recovery.
    """
    random = np.random.default_rng([seed, *task.encode()])
    while True:
        push = np.zeros(ACTION_DIM, np.float32)
        if strength > 0 and random.random() < PUSH_PROBABILITY:
            push[:3] = random.normal(0, strength, 3)
            for _ in range(PUSH_STEPS):
                yield push
        else:
            yield push
