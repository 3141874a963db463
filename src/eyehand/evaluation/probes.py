"""Controls: the same starts again with one thing removed or exchanged.

A success rate alone does not say what a policy used. A policy that ignores the sentence can succeed
where the scene shows the task, and one that repeats an average path needs no picture. Each probe
answers one such question, on the start states of the evaluation itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from eyehand.envs.rollout import Start
from eyehand.envs.suite import Suite
from eyehand.types import Observation


def scene_partner(suite: Suite, task: str, evaluated: Collection[str]) -> str | None:
    """Return the task whose sentence is told at ``task`` when instructions are swapped.

    It is the next evaluated task of the same scene, after the last one the first. Tasks of the
    scene that are not evaluated are left out, because the policy may not know their sentences.

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
    """What its success rate shows."""
    starts: Callable[[Sequence[Start]], list[Start]]
    """Returns the evaluation's starts with this probe's sentences; it may leave some out."""
    transform: Callable[[Observation], Observation] | None = None
    """Returns what the policy sees instead."""
    disturbance: Mapping[str, float] | None = None
    """Changes of the world: arguments of ``Suite.make``."""


def swap_instructions(suite: Suite, starts: Sequence[Start]) -> list[Start]:
    """Tell every robot the sentence of its scene partner; tasks without one are left out.

    A start state may show the task without a sentence (an open drawer can only be closed): the
    probe finds that. Success is still that of the original task.
    """
    evaluated = {start.task for start in starts}
    swapped = []
    for start in starts:
        partner = scene_partner(suite, start.task, evaluated)
        if partner is not None:
            swapped.append(replace(start, instruction=suite.instructions(partner).canonical))
    return swapped


def remove_sentence(starts: Sequence[Start]) -> list[Start]:
    """Tell every robot an empty sentence."""
    return [replace(start, instruction="") for start in starts]


def paraphrase(suite: Suite, number: int, starts: Sequence[Start]) -> list[Start]:
    """Tell every robot its held-out sentence ``number``, from 0; tasks without it are left out."""
    told = []
    for start in starts:
        sentences = suite.instructions(start.task).held_out
        if number < len(sentences):
            told.append(replace(start, instruction=sentences[number]))
    return told


def in_chinese(suite: Suite, starts: Sequence[Start]) -> list[Start]:
    """Tell every robot a held-out sentence in Chinese, by seed; tasks without one are left out."""
    told = []
    for start in starts:
        sentences = suite.instructions(start.task).chinese_held_out
        if sentences:
            told.append(replace(start, instruction=sentences[start.seed % len(sentences)]))
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
    chinese = any(suite.instructions(task).chinese_held_out for task in suite.tasks)
    return (
        Probe(
            SWAPPED,
            "Told to do another task of the same scene: near 0 if it follows the sentence, "
            "unchanged if it ignores it.",
            partial(swap_instructions, suite),
        ),
        Probe(
            "instruction removed",
            "Told nothing: the successes that remain need no language.",
            remove_sentence,
        ),
        *(
            Probe(
                f"held-out paraphrase {number + 1}",
                "Told the same in words it was not trained on: unchanged if it understands them.",
                partial(paraphrase, suite, number),
            )
            for number in range(paraphrases)
        ),
        *(
            [
                Probe(
                    "held-out sentence in Chinese",
                    "Told the same in Chinese: unchanged if it understands the words' glosses.",
                    partial(in_chinese, suite),
                )
            ]
            if chinese
            else []
        ),
        Probe(
            "image blank",
            "Sees a grey picture: the successes that remain need no picture.",
            list,
            blank_image,
        ),
        Probe(
            "state zeroed",
            "Gets zeros as the state: unchanged if the picture is enough.",
            list,
            zero_state,
        ),
        *(
            Probe(change.name, change.question, list, disturbance=change.arguments)
            for change in suite.disturbances
        ),
    )
