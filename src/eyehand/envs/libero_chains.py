"""Chains of LIBERO-Goal: five of its ten tasks that can be told one after another without a reset.

CALVIN (Mees et al., 2022, https://arxiv.org/abs/2112.03227) measures a policy so: 1,000 chains of
five instructions, the scene is reset only before a chain, and the first failure ends it. Which
tasks go together is known there from the state that each needs and leaves. Here a small world says
it, of things that lie on places, and of two drawers:

- two tasks that move the same thing undo each other, so that a chain has at most one of them. Of
  252 sets of five tasks 38 are left, and all five goals of each can hold at once;
- a thing on which something lies is not moved any more: the bowl is put where it goes before the
  cheese goes in, the plate is pushed before the bowl is put on it. So no task has to touch what an
  earlier one brought to its place;
- what is below an open drawer is out of reach of the hand: the plate where it begins, with what
  stands on it, and the handle of the drawer below.

The third rule is read off the sizes of drawers and things. These rules leave 1,360 orders of the
38 sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import combinations, permutations, zip_longest

LENGTH, MOST = 5, 1000
"""Tasks of a chain, and chains that are told, as CALVIN has them."""


@dataclass(frozen=True)
class Goal:
    """What a task does to the scene."""

    moves: str
    """The thing, drawer or knob that it moves."""
    to: str
    """Where that is afterwards."""
    opens: str = ""
    """The drawer that is open afterwards."""


GOALS = {
    "open_the_middle_drawer_of_the_cabinet": Goal("middle drawer", "out", opens="middle drawer"),
    "put_the_bowl_on_the_stove": Goal("bowl", "stove"),
    "put_the_wine_bottle_on_top_of_the_cabinet": Goal("bottle", "cabinet"),
    "open_the_top_drawer_and_put_the_bowl_inside": Goal("bowl", "top drawer", opens="top drawer"),
    "put_the_bowl_on_top_of_the_cabinet": Goal("bowl", "cabinet"),
    "push_the_plate_to_the_front_of_the_stove": Goal("plate", "front of the stove"),
    "put_the_cream_cheese_in_the_bowl": Goal("cheese", "bowl"),
    "turn_on_the_stove": Goal("knob", "on"),
    "put_the_bowl_on_the_plate": Goal("bowl", "plate"),
    "put_the_wine_bottle_on_the_rack": Goal("bottle", "rack"),
}
"""What every task of LIBERO-Goal does; the names are LIBERO's."""
BEGINNING = {"plate": "front of the cabinet"}
"""Where things begin that are in a drawer's way; all others begin elsewhere on the table."""
COVERS = {
    "middle drawer": {"front of the cabinet"},
    "top drawer": {"front of the cabinet", "middle drawer"},
}
"""What is out of reach below a drawer that is open."""


def compatible(tasks: Sequence[str]) -> bool:
    """Return whether no two tasks undo each other: whether each moves another thing.

    Example:
        >>> compatible(["put_the_bowl_on_the_stove", "put_the_bowl_on_the_plate"])
        False
    """
    return len({GOALS[task].moves for task in tasks}) == len(tasks)


def possible(chain: Sequence[str]) -> bool:
    """Return whether each task of a chain finds what it needs after those before it.

    Example:
        >>> push, put = "push_the_plate_to_the_front_of_the_stove", "put_the_bowl_on_the_plate"
        >>> possible([push, put]), possible([put, push])
        (True, False)
    """
    place, covered = dict(BEGINNING), set[str]()
    for task in chain:
        goal = GOALS[task]
        if goal.moves in place.values():
            return False
        for name in (goal.moves, goal.to):
            if covered.intersection(_below(name, place)):
                return False
        place[goal.moves] = goal.to
        covered |= COVERS.get(goal.opens, set())
    return True


def _below(name: str, place: dict[str, str]) -> list[str]:
    """Return a thing or place, what it lies on, what that lies on, and so on."""
    names = [name]
    while names[-1] in place:
        names.append(place[names[-1]])
    return names


@cache
def chains() -> tuple[tuple[str, ...], ...]:
    """Return the chains that are told, in an order without meaning that is always the same.

    The sets take turns, so that any number of chains from the first on has them in equal parts, as
    long as a set has orders left. The order of sets and chains is that of their SHA-256.
    """
    by_set = [
        sorted(filter(possible, permutations(tasks)), key=_shuffled)
        for tasks in combinations(GOALS, LENGTH)
        if compatible(tasks)
    ]
    turns = (sorted(filter(None, turn), key=_shuffled) for turn in zip_longest(*by_set))
    return tuple(chain for turn in turns for chain in turn)[:MOST]


def _shuffled(chain: Sequence[str]) -> bytes:
    return sha256(" ".join(chain).encode()).digest()
