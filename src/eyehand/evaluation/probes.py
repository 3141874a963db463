"""Controls: the same starts again with one thing taken away or exchanged.

A success rate does not say what earned it. A policy that ignores the sentence can score well where
the scene alone betrays the task, and one that replays an average path needs no picture. Each probe
answers one such question, on the same start states as the evaluation itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from eyehand.envs.instructions import instructions
from eyehand.envs.rollout import Start
from eyehand.types import Observation

SCENES: tuple[tuple[str, ...], ...] = (
    ("assembly", "disassemble"),
    ("coffee-button", "coffee-push", "coffee-pull"),
    ("door-open", "door-close"),
    ("door-lock", "door-unlock"),
    ("drawer-open", "drawer-close"),
    ("faucet-open", "faucet-close"),
    ("hand-insert", "sweep-into"),
    ("handle-press", "handle-pull"),
    ("handle-press-side", "handle-pull-side"),
    ("plate-slide", "plate-slide-back"),
    ("plate-slide-side", "plate-slide-back-side"),
    ("stick-push", "stick-pull"),
    ("window-open", "window-close"),
    # Files of their own in Meta-World, which differ in the goal and the size of the block alone.
    ("pick-place", "reach", "push", "push-back"),
    ("pick-place-wall", "reach-wall", "push-wall"),
)
"""Tasks that show the same objects. In the first groups they are the same MuJoCo model."""


def scene_partner(task: str, evaluated: Collection[str]) -> str | None:
    """Return the task whose sentence ``task`` is told when instructions are swapped.

    It is the next of the evaluated tasks in the scene, in a circle. A task of the scene that is not
    evaluated does not count: the policy may never have been told its sentence.

    Example:
        >>> scene_partner("faucet-open", ["faucet-open", "faucet-close"])
        'faucet-close'
        >>> scene_partner("coffee-pull", ["coffee-pull", "coffee-push"])
        'coffee-push'
        >>> scene_partner("coffee-pull", ["coffee-pull", "hammer"]) is None
        True
    """
    for scene in SCENES:
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
    """What is changed in the world: arguments of `eyehand.envs.metaworld.MetaWorldEnv`."""


def swap_instructions(starts: Sequence[Start]) -> list[Start]:
    """Tell every robot the sentence of its scene partner; tasks without one are left out.

    A start state can betray the task all the same (an open drawer wants closing): that is what the
    probe is to reveal. Success is still that of the original task.
    """
    evaluated = {start.task for start in starts}
    swapped = []
    for start in starts:
        partner = scene_partner(start.task, evaluated)
        if partner is not None:
            swapped.append(replace(start, instruction=instructions(partner).canonical))
    return swapped


def remove_sentence(starts: Sequence[Start]) -> list[Start]:
    """Tell every robot nothing."""
    return [replace(start, instruction="") for start in starts]


def paraphrase(number: int) -> Callable[[Sequence[Start]], list[Start]]:
    """Return the function that tells every robot held-out sentence ``number`` (0, 1 or 2)."""

    def starts_told(starts: Sequence[Start]) -> list[Start]:
        return [
            replace(start, instruction=instructions(start.task).held_out[number])
            for start in starts
        ]

    return starts_told


def blank_image(observation: Observation) -> Observation:
    """Return the observation with every pixel of every camera at the middle grey, 127."""
    grey = {name: torch.full_like(image, 127) for name, image in observation.image.items()}
    return replace(observation, image=grey)


def zero_state(observation: Observation) -> Observation:
    """Return the observation with proprioception at 0."""
    return replace(observation, state=torch.zeros_like(observation.state))


SWAPPED = "instruction swapped"
"""Name of the probe that needs two tasks in one scene."""
PROBES: tuple[Probe, ...] = (
    Probe(
        SWAPPED,
        "Told to do another task of the same scene: near 0 if it obeys, unchanged if it is deaf.",
        swap_instructions,
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
            paraphrase(number),
        )
        for number in range(3)
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
    Probe(
        "camera moved by 2 cm",
        "Its camera stands 2 cm to the side: near the unprobed rate if it is robust.",
        list,
        disturbance={"camera_offset": 0.02},
    ),
    Probe(
        "light at 60 %",
        "Its lamps are dimmed: near the unprobed rate if it is robust.",
        list,
        disturbance={"light": 0.6},
    ),
)
"""The controls of ``--probe``, in the order they run."""
