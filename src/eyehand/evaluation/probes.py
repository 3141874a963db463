"""Controls: the same starts again with one thing taken away or exchanged.

A success rate does not say what earned it. A policy that ignores the sentence can score well where
the scene alone betrays the task, and one that replays an average path needs no picture. Each probe
answers one such question, on the same start states as the evaluation itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from eyehand.envs.rollout import Start
from eyehand.envs.suite import Suite
from eyehand.types import Observation


def scene_partner(suite: Suite, task: str, evaluated: Collection[str]) -> str | None:
    """Return the task whose sentence ``task`` is told when instructions are swapped.

    It is the next of the evaluated tasks in the scene, in a circle. A task of the scene that is not
    evaluated does not count: the policy may never have been told its sentence.

    Example:
        >>> from eyehand.envs.suite import find_suite
        >>> suite = find_suite("metaworld")
        >>> scene_partner(suite, "faucet-open", ["faucet-open", "faucet-close"])
        'faucet-close'
        >>> scene_partner(suite, "coffee-pull", ["coffee-pull", "coffee-push"])
        'coffee-push'
        >>> scene_partner(suite, "coffee-pull", ["coffee-pull", "hammer"]) is None
        True
    """
    for scene in suite.scenes:
        circle = [name for name in scene if name in evaluated]
        if task in circle and len(circle) > 1:
            return circle[(circle.index(task) + 1) % len(circle)]
    return None


@dataclass(frozen=True)
class Probe:
    """One control."""

    name: str
    question: str
    """What its success rate tells."""
    starts: Callable[[Sequence[Start]], list[Start]]
    """The starts of the evaluation, as this probe tells them; some may be left out."""
    transform: Callable[[Observation], Observation] | None = None
    """What the policy sees instead."""
    disturbance: Mapping[str, float] | None = None
    """What is changed in the world: arguments of ``Suite.make``."""


def swap_instructions(suite: Suite, starts: Sequence[Start]) -> list[Start]:
    """Tell every robot the sentence of its scene partner; tasks without one are left out.

    A start state can betray the task all the same (an open drawer wants closing): that is what the
    probe is to reveal. Success is still that of the original task.
    """
    evaluated = {start.task for start in starts}
    swapped = []
    for start in starts:
        partner = scene_partner(suite, start.task, evaluated)
        if partner is not None:
            swapped.append(replace(start, instruction=suite.instructions(partner).canonical))
    return swapped


def remove_sentence(starts: Sequence[Start]) -> list[Start]:
    """Tell every robot nothing."""
    return [replace(start, instruction="") for start in starts]


def paraphrase(suite: Suite, number: int, starts: Sequence[Start]) -> list[Start]:
    """Tell every robot held-out sentence ``number``, counted from 0; tasks without are left out."""
    told = []
    for start in starts:
        sentences = suite.instructions(start.task).held_out
        if number < len(sentences):
            told.append(replace(start, instruction=sentences[number]))
    return told


def blank_image(observation: Observation) -> Observation:
    """Return the observation with every pixel of every camera at the middle grey, 127."""
    grey = {name: torch.full_like(image, 127) for name, image in observation.image.items()}
    return replace(observation, image=grey)


def zero_state(observation: Observation) -> Observation:
    """Return the observation with proprioception at 0."""
    return replace(observation, state=torch.zeros_like(observation.state))


SWAPPED = "instruction swapped"
"""Name of the probe that needs two tasks in one scene."""


def probes_of(suite: Suite) -> tuple[Probe, ...]:
    """Return the controls of ``--probe`` for a suite, in the order they run."""
    paraphrases = max(len(suite.instructions(task).held_out) for task in suite.tasks)
    return (
        Probe(
            SWAPPED,
            "Told to do another task of the same scene: near 0 if it obeys, unchanged if it is "
            "deaf.",
            partial(swap_instructions, suite),
        ),
        Probe(
            "instruction removed",
            "Told nothing: what is left is earned without language.",
            remove_sentence,
        ),
        *(
            Probe(
                f"held-out paraphrase {number + 1}",
                "Told the same in words it never saw: unchanged if it understands.",
                partial(paraphrase, suite, number),
            )
            for number in range(paraphrases)
        ),
        Probe(
            "image blank",
            "Sees grey: what is left is earned with closed eyes.",
            list,
            blank_image,
        ),
        Probe(
            "state zeroed",
            "Does not feel its own hand: unchanged if the picture is enough.",
            list,
            zero_state,
        ),
        *(
            Probe(change.name, change.question, list, disturbance=change.arguments)
            for change in suite.disturbances
        ),
    )
