"""A suite: a benchmark, that is a family of tasks of one robot, as the other rooms see it.

Recording, evaluation, films and the live page read a `Suite`, and no benchmark's own code. A new
benchmark is a file beside this one and a line in ``SUITES``. Any Gymnasium environment, and any
simulator in another process or on another machine, becomes a suite by an adapter: docs/suites.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from eyehand.envs.instructions import Instructions
from eyehand.envs.robot_env import RobotEnv
from eyehand.functional.names import unknown_name
from eyehand.types import InputError

SUITES = {
    "libero": "eyehand.envs.libero:LIBERO",
    "libero-10": "eyehand.envs.libero:LIBERO_10",
    "libero-goal": "eyehand.envs.libero:LIBERO_GOAL",
    "libero-object": "eyehand.envs.libero:LIBERO_OBJECT",
    "libero-pro-language": "eyehand.envs.libero:LIBERO_PRO_LANGUAGE",
    "libero-pro-object": "eyehand.envs.libero:LIBERO_PRO_OBJECT",
    "libero-pro-swap": "eyehand.envs.libero:LIBERO_PRO_SWAP",
    "libero-pro-task": "eyehand.envs.libero:LIBERO_PRO_TASK",
    "libero-spatial": "eyehand.envs.libero:LIBERO_SPATIAL",
    "metaworld": "eyehand.envs.metaworld:METAWORLD",
    "two-ways": "eyehand.envs.two_ways:TWO_WAYS",
}
"""Name of a suite to the object that is imported for it, ``module:object``."""
WHOLE = ("libero", "metaworld", "two-ways")
"""Suites of which none is a part of another one, or a variant of it."""


@dataclass(frozen=True)
class Quantity:
    """One number of a state or an action."""

    name: str
    """Such as ``hand x``."""
    unit: str
    """Such as ``m``; for a number without a unit, the meaning of -1 and 1."""


@dataclass(frozen=True)
class Disturbance:
    """A change of the world, for a control of the evaluation."""

    name: str
    question: str
    """What the success rate under this change shows."""
    arguments: Mapping[str, float]
    """Arguments of ``Suite.make``."""


@dataclass(frozen=True)
class Hand:
    """The robot's hand in states and actions, so that people can see its path and lead it."""

    state: slice
    """Its x, y, z in a state, metres."""
    action: slice
    """Its displacement in an action."""
    gripper: int
    """Place of the gripper's effort in an action; 1 closes."""
    metres: float
    """Motion of the hand's target per unit of an action, metres."""


@dataclass(frozen=True)
class Suite:
    """A family of tasks that share a robot: its cameras, states, actions, time and score."""

    name: str
    """Its name on the command line."""
    protocol: str
    """Name of its evaluation protocol, with a version: any change that can move a figure gets a
    new one."""
    groups: Mapping[str, tuple[str, ...]]
    """Every task once, by group, such as tiers of difficulty."""
    score: str
    """What the published score is called: always the unweighted mean of the groups' success
    rates."""
    sentences: Callable[[str], Instructions]
    """The sentences of a task."""
    cameras: tuple[str, ...]
    """Pictures that a policy can read; the first is the usual one."""
    view: str
    """The picture for people."""
    state: tuple[Quantity, ...]
    """The numbers of a state."""
    action: tuple[Quantity, ...]
    """The numbers of an action, each in [-1, 1]."""
    fps: int
    """Steps in one second."""
    max_steps: int
    """Length of an episode that is not terminated: of the longest, where ``limits`` says more."""
    make: Callable[..., RobotEnv]
    """Makes the environment of a task: ``make(task, cameras={name: pixels},
    render_observations=...)``; a function or class that can be imported by name, because workers
    call it in their own process."""
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other named sets of tasks."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Length of an episode that is not terminated, by group; empty where all have ``max_steps``."""
    last_seed: int | None = None
    """The last seed that has a start state; None where every seed has one."""
    scenes: tuple[tuple[str, ...], ...] = ()
    """Tasks that show the same objects, so that only the sentence tells them apart."""
    chains: tuple[tuple[str, ...], ...] = ()
    """Tasks that can be told one after another without a reset, equally many in every chain;
    environments are then `eyehand.envs.robot_env.Chained`."""
    landmarks: tuple[str, ...] = ()
    """Names of the points whose places in the picture the simulator knows."""
    masks: tuple[str, ...] = ()
    """What a pixel can show; empty where the simulator does not know it."""
    hand: Hand | None = None
    """The hand; None if people cannot lead the robot."""
    disturbances: tuple[Disturbance, ...] = ()
    """Changes of the world that the evaluation can make."""
    packages: tuple[str, ...] = ()
    """Packages whose versions can change results, beside numpy."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task, by group."""
        return tuple(task for group in self.groups.values() for task in group)

    @property
    def camera(self) -> str:
        """The usual camera."""
        return self.cameras[0]

    def group_of(self, task: str) -> str:
        """Return the group that a task is in.

        Raises:
            InputError: If there is no such task.
        """
        self.check_task(task)
        return next(name for name, tasks in self.groups.items() if task in tasks)

    def limit(self, task: str) -> int:
        """Return the length of a task's episode that is not terminated.

        Raises:
            InputError: If there is no such task.
        """
        return self.limits.get(self.group_of(task), self.max_steps)

    def instructions(self, task: str) -> Instructions:
        """Return the sentences of a task.

        Raises:
            InputError: If there is no such task.
        """
        self.check_task(task)
        return self.sentences(task)

    def select_tasks(self, text: str) -> tuple[str, ...]:
        """Return the tasks that a text names: tasks, groups, sets or ``all``, separated by commas.

        Raises:
            InputError: If a name is none of these.

        Example:
            >>> find_suite("metaworld").select_tasks("reach,hard")[:3]
            ('reach', 'assembly', 'hand-insert')
        """
        named = {"all": self.tasks, **self.sets, **self.groups}
        named |= {task: (task,) for task in self.tasks}
        chosen: dict[str, None] = {}
        for name in (part.strip() for part in text.split(",")):
            if name not in named:
                raise InputError(unknown_name(f"task of {self.name}", name, named))
            chosen.update(dict.fromkeys(named[name]))
        return tuple(chosen)

    def check_task(self, name: str) -> None:
        """Raise an `InputError` if there is no such task."""
        if name not in self.tasks:
            raise InputError(unknown_name(f"task of {self.name}", name, self.tasks))

    def check_chains(self, number: int) -> None:
        """Raise an `InputError` if there are not that many chains."""
        if number and not self.chains:
            raise InputError(f"the suite {self.name} has no chains of tasks: leave --chains out.")
        if number > len(self.chains):
            raise InputError(
                f"the suite {self.name} has {len(self.chains):,} chains of tasks. "
                f"Got --chains {number}."
            )

    def check_cameras(self, names: Mapping[str, int] | tuple[str, ...]) -> None:
        """Raise an `InputError` if there is no such camera."""
        for name in names:
            if name not in self.cameras:
                raise InputError(unknown_name(f"camera of {self.name}", name, self.cameras))


def find_suite(name: str) -> Suite:
    """Return the suite of this name.

    Args:
        name: A name of ``SUITES``; the address of a simulator, such as ``ws://127.0.0.1:8001``; or
            ``module:object``, where a module of yours has a suite.

    Raises:
        InputError: If there is none.
    """
    if "://" in name:
        found: Suite = import_module("eyehand.envs.remote_suite").remote_suite(name)
        return found
    if name not in SUITES and ":" not in name:
        raise InputError(
            f"{unknown_name('suite', name, SUITES)} It may also be ws://HOST:PORT or module:object."
        )
    module, attribute = SUITES.get(name, name).split(":", 1)
    try:
        suite = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the suite {name} cannot be imported: {error}.") from error
    if not isinstance(suite, Suite):
        raise InputError(f"{name} must be a Suite. Got {type(suite).__name__}.")
    return suite


def find_task(text: str, suite: str = "") -> tuple[Suite, str]:
    """Return a suite and its task of this name, or of this canonical sentence.

    Args:
        text: Such as ``drawer-open`` or ``Open a drawer``; of a sentence the case does not matter.
        suite: Name of the suite; left out, the first of ``WHOLE`` that has the task.

    Raises:
        InputError: If there is no such suite, or no such task in it.

    Example:
        >>> suite, task = find_task("open a drawer")
        >>> suite.name, task
        ('metaworld', 'drawer-open')
    """
    names: list[str] = []
    for one in [find_suite(name) for name in ([suite] if suite else WHOLE)]:
        told = {one.instructions(task).canonical.lower(): task for task in one.tasks}
        if text in one.tasks:
            return one, text
        if text.lower() in told:
            return one, told[text.lower()]
        names += one.tasks
    raise InputError(unknown_name(f"task of {suite}" if suite else "task", text, names))
