"""A small real network is the policy; which processes run it may not change one bit."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eyehand.envs import rollout as rollout_module
from eyehand.envs.execution import Execution
from eyehand.envs.metaworld import CAMERA, MAX_STEPS, METAWORLD, MetaWorldEnv
from eyehand.envs.rollout import (
    POLICY_THREADS,
    ROWS,
    Outcome,
    Start,
    _Queue,
    drive,
    rollout,
    rollout_chains,
)
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.types import InputError, Observation


class Network(nn.Module):
    """Random weights that react to the picture, the state, the sentence and their own memory."""

    def __init__(self, horizon: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.horizon = horizon
        self.see = nn.Sequential(
            nn.Conv2d(3, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.act_on = nn.Linear(32 * 4 * 4 + 4 + 1 + 1, horizon * 4)
        self.memory: dict[int, int] = {}
        self.resets: dict[int, int] = {}
        self.seen: list[Observation] = []

    def reset(self, env_ids: Sequence[int]) -> None:
        for env_id in env_ids:
            self.resets[env_id] = self.resets.get(env_id, 0) + 1
            assert self.resets[env_id] <= 2, "an id is used for more than one episode"
            self.memory[env_id] = 0

    def act(self, observation: Observation, *, generator: object = None) -> Tensor:
        assert len(observation.env_ids) == len(observation.instruction) == ROWS
        assert torch.get_num_threads() == POLICY_THREADS
        calls = []
        for env_id in observation.env_ids:
            if env_id >= 0:
                self.memory[env_id] += 1
            calls.append(float(self.memory.get(env_id, 0) % 3))
        self.seen.append(observation)
        picture = observation.image[CAMERA].permute(0, 3, 1, 2).float() / 255
        words = torch.tensor([float(len(text)) for text in observation.instruction])
        features = torch.cat(
            [self.see(picture), observation.state, words[:, None], torch.tensor(calls)[:, None]], 1
        )
        return 3 * self.act_on(features).unflatten(1, (self.horizon, 4)).tanh()


STARTS = [
    Start(task, seed, f"{task} please")
    for task, seed in [("reach", 1), ("push", 2), ("push", 2), ("reach", 9)]
]
LONG = Execution(steps=50)
"""Few pictures make an episode short: all 500 steps take a third of a second then."""


@pytest.mark.parametrize(
    "divisions",
    [
        [(1, 3), (2, 8)],
        pytest.param([(1, 1), (2, 2), (1, 8), (3, 3)], marks=pytest.mark.slow),
    ],
)
def test_outcomes_depend_on_neither_workers_nor_environments(
    divisions: list[tuple[int, int]], opengl: None
) -> None:
    runs = []
    for workers, environments in divisions:
        policy, order = Network(horizon=60), []
        outcomes = rollout(
            policy, METAWORLD, STARTS, execution=LONG, workers=workers, environments=environments,
            cameras={CAMERA: 32}, on_outcome=order.append,
        )  # fmt: skip
        assert [outcome.start for outcome in outcomes] == STARTS
        assert sorted(map(id, order)) == sorted(map(id, outcomes))
        assert sorted(policy.memory) == list(range(len(STARTS)))
        runs.append(outcomes)
    for one, *others in zip(*runs, strict=True):
        assert one.steps == len(one.actions) == len(one.reward) <= MAX_STEPS
        assert one.terminated == one.success
        assert np.abs(one.actions).max() <= 1
        for other in others:
            assert (one.success, one.steps) == (other.success, other.steps)
            np.testing.assert_array_equal(one.actions, other.actions)
    first, second, twin, _ = runs[0]
    np.testing.assert_array_equal(second.actions, twin.actions)  # the same task and seed
    assert not np.array_equal(first.actions, second.actions)


class Replay:
    """Plans what the expert did in each episode."""

    def __init__(self, plans: Sequence[np.ndarray], steps: int) -> None:
        self.plans, self.steps = plans, steps
        self.at = [0] * len(plans)
        self.seen: list[Observation] = []

    def reset(self, env_ids: Sequence[int]) -> None:
        for env_id in env_ids:
            self.at[env_id] = 0

    def act(self, observation: Observation, *, generator: object = None) -> Tensor:
        self.seen.append(observation)
        chunks = torch.zeros(ROWS, self.steps, 4)
        for row, env_id in enumerate(observation.env_ids):
            if env_id >= 0:
                plan = self.plans[env_id][self.at[env_id] :][: self.steps]
                chunks[row, : len(plan)] = torch.from_numpy(plan)
                self.at[env_id] += self.steps
        return chunks


def test_expert_succeeds_and_episode_ends_there(opengl: None) -> None:
    starts = [Start("drawer-close", 1, "Close it"), Start("button-press", 2, "Press it")]
    plans, states, pictures = [], [], []
    for start in starts:
        env = MetaWorldEnv(start.task, cameras={"corner4": 16}, render_observations=False)
        observation, _ = env.reset(seed=start.seed)
        states.append(observation["state"])
        pictures.append(env.render())
        plan, solved = [], False
        while not solved:
            plan.append(env.expert_action())
            solved = env.step(plan[-1])[2]
        plans.append(np.stack(plan))

    policy = Replay(plans, steps=4)
    bright: list[Observation] = []

    def darken(observation: Observation) -> Observation:
        bright.append(observation)
        dark = {name: torch.zeros_like(image) for name, image in observation.image.items()}
        return replace(observation, image=dark)

    outcomes = rollout(
        policy, METAWORLD, starts, execution=Execution(steps=4), workers=1, cameras={CAMERA: 16},
        transform=darken,
    )  # fmt: skip
    for outcome, plan in zip(outcomes, plans, strict=True):
        assert (outcome.success, outcome.steps) == (True, len(plan))
        np.testing.assert_array_equal(outcome.actions, plan)
    first = policy.seen[0]
    assert all(not image.any() for image in first.image.values())
    assert sorted(set(first.env_ids)) == [-1, 0, 1]
    assert first.env_ids.count(-1) == ROWS - 2
    row = first.env_ids.index(1)
    np.testing.assert_array_equal(bright[0].image[CAMERA][row].numpy(), pictures[1])
    np.testing.assert_array_equal(first.state[row].numpy(), states[1])
    assert first.instruction[row] == "Press it"


def test_another_picture_and_a_disturbed_world(opengl: None) -> None:
    """The policy sees that part of the picture, of that world; the robot is where it always is."""
    start = Start("drawer-close", 1, "Close it")
    disturbance = {"light": 0.6, "camera_offset": 0.02}
    disturbed = MetaWorldEnv("drawer-close", cameras={"work_area": 16}, **disturbance)
    plain = MetaWorldEnv("drawer-close", cameras={"work_area": 16})
    want, other = disturbed.reset(seed=1)[0], plain.reset(seed=1)[0]
    plan, solved = [], False
    while not solved:
        plan.append(plain.expert_action())
        solved = plain.step(plan[-1])[2]
    policy = Replay([np.stack(plan)], steps=4)
    (outcome,) = rollout(
        policy, METAWORLD, [start], execution=Execution(steps=4), workers=1,
        cameras={"work_area": 16}, disturbance=disturbance,
    )  # fmt: skip
    assert (outcome.success, outcome.steps) == (True, len(plan))
    seen = policy.seen[0]
    assert seen.image.keys() == {"work_area"}
    np.testing.assert_array_equal(seen.image["work_area"][0], want["image"]["work_area"])
    assert np.abs(want["image"]["work_area"].astype(int) - other["image"]["work_area"]).mean() > 2
    np.testing.assert_array_equal(seen.state[0], want["state"])
    np.testing.assert_array_equal(want["state"], other["state"])
    disturbed.close()
    plain.close()


def test_an_unknown_camera_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"no camera of metaworld 'work-area'\. Did you mean"):
        rollout(
            Network(), METAWORLD, STARTS[:1], execution=LONG, workers=1, cameras={"work-area": 96}
        )


def test_many_workers_have_an_environment_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def begun(*_: Any, slots: int, **__: Any) -> None:
        asked.append(slots)
        raise KeyboardInterrupt

    monkeypatch.setattr(rollout_module, "VectorEnv", begun)
    starts = [Start("two-ways", seed, "reach") for seed in range(40)]
    for workers, slots in ((2, 16), (20, 20), (100, 40)):
        with pytest.raises(KeyboardInterrupt):
            rollout(
                Straight(), TWO_WAYS, starts, execution=Execution(steps=1),
                cameras={"top": 16}, workers=workers,
            )  # fmt: skip
        assert asked[-1] == slots


def test_no_starts() -> None:
    assert rollout(Network(), TWO_WAYS, [], execution=Execution(), cameras={"top": 8}) == []


class Straight:
    """Drives up, which in `two_ways` ends on the obstacle."""

    def __init__(self, width: int = 2) -> None:
        self.width = width
        self.drawn: list[float] = []

    def reset(self, env_ids: Sequence[int]) -> None:
        pass

    def act(self, observation: Observation, *, generator: torch.Generator | None = None) -> Tensor:
        if generator is not None:
            self.drawn.append(torch.rand(1, generator=generator).item())
        chunk = torch.zeros(len(observation.env_ids), 8, self.width)
        chunk[..., -1] = 1
        return chunk


CRASH = Start("two-ways", 0, "Go to the green disc")


@pytest.fixture(scope="module")
def crash() -> tuple[Straight, Outcome]:
    """A policy that was handed a generator, and its drive onto the obstacle."""
    policy = Straight()
    (outcome,) = rollout(
        policy, TWO_WAYS, [CRASH], execution=Execution(), cameras={"top": 8}, workers=1,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return policy, outcome


def test_a_crash_is_terminated_and_no_success(crash: tuple[Straight, Outcome]) -> None:
    _, outcome = crash
    assert (outcome.terminated, outcome.success) == (True, False)
    assert outcome.reward.tolist() == [0.0] * outcome.steps
    env = TWO_WAYS.make("two-ways", cameras={"top": 8})
    alone = drive(Straight(), env, CRASH, execution=Execution(), most=50)
    np.testing.assert_array_equal(alone.actions, outcome.actions)
    assert (alone.terminated, alone.success) == (True, False)
    assert drive(Straight(), env, CRASH, execution=Execution(), most=3).steps == 4
    assert not drive(Straight(), env, CRASH, execution=Execution(), most=3).terminated


def test_the_generator_reaches_the_policy(crash: tuple[Straight, Outcome]) -> None:
    policy, _ = crash
    assert len(set(policy.drawn)) == len(policy.drawn) > 1


def test_chunks_that_do_not_fit_name_the_episode() -> None:
    with pytest.raises(InputError, match=r"'two-ways' \(seed 5\): .*8 actions of 3 numbers"):
        rollout(
            Straight(3), TWO_WAYS, [Start("two-ways", 5, "")], execution=Execution(),
            cameras={"top": 8}, workers=1,
        )  # fmt: skip


def test_actions_that_are_not_finite_name_episode_and_step() -> None:
    class Diverged(Straight):
        """Its second chunk is not finite."""

        calls = 0

        def act(self, observation: Observation, *, generator: object = None) -> Tensor:
            self.calls += 1
            chunk: Tensor = super().act(observation)
            return chunk / (self.calls < 2)

    env = TWO_WAYS.make("two-ways", cameras={"top": 8}, render_observations=False)
    with pytest.raises(InputError, match=r"'two-ways' \(seed 0\): .*not finite at step 4: its wei"):
        drive(Diverged(), env, CRASH, execution=Execution(), most=50)


@pytest.mark.parametrize("slots", [1, 3, 7])
def test_queue_deals_every_start_once_and_changes_tasks_rarely(slots: int) -> None:
    starts = [Start(task, seed, "") for seed in range(12) for task in "abcde"]
    queue, chance = _Queue(starts), random.Random(0)
    taken: list[int] = []
    tasks: dict[int, list[str]] = {slot: [] for slot in range(slots)}
    while (index := queue.take(slot := chance.randrange(slots))) is not None:
        taken.append(index)
        tasks[slot].append(starts[index].task)
    assert sorted(taken) == list(range(len(starts)))
    changes = sum(a != b for done in tasks.values() for a, b in pairwise(["", *done]))
    assert changes <= 5 + slots


class Hesitates:
    """Does what it is told at its second look at it, unless it cannot."""

    def __init__(self, *, cannot: str) -> None:
        self.cannot = cannot
        self.looks: dict[int, int] = {}
        self.resets: list[int] = []
        self.told: dict[int, list[tuple[str, float, float]]] = {}

    def reset(self, env_ids: Sequence[int]) -> None:
        self.looks |= dict.fromkeys(env_ids, 0)
        self.resets += env_ids

    def act(self, observation: Observation, *, generator: object = None) -> Tensor:
        chunk = torch.zeros(len(observation.env_ids), 4, 2)
        for row, env_id in enumerate(observation.env_ids):
            if env_id >= 0:
                sentence, state = observation.instruction[row], observation.state[row].tolist()
                self.told.setdefault(env_id, []).append((sentence, *state))
                self.looks[env_id] += 1
                chunk[row, :, 0] = float(self.looks[env_id] > 1 and sentence != self.cannot)
        return chunk


def test_a_chain_goes_on_in_the_world_as_it_is(lamps: Any) -> None:
    """Every task costs five actions only if the policy's memory was reset before it."""
    chains = [
        [Start(task, seed, f"{task} please") for task in tasks.split()]
        for seed, tasks in enumerate(
            ["red green blue white", "red black white green", "blue red", "red white black green"]
        )
    ]
    policy, ended = Hesitates(cannot="blue please"), dict[int, Sequence[Outcome]]()

    def on_chain(place: int, outcomes: Sequence[Outcome]) -> None:
        assert place not in ended
        ended[place] = list(outcomes)

    # With two slots one is used again, after a chain that ended with another task.
    outcomes = rollout_chains(
        policy, lamps.LAMPS, chains, execution=Execution(), cameras={"top": 4}, workers=1,
        environments=2, on_chain=on_chain,
    )  # fmt: skip
    assert [[outcome.success for outcome in chain] for chain in outcomes] == [
        [True, True, False],
        [True] * 4,
        [False],
        [True] * 4,
    ]
    assert [[outcome.steps for outcome in chain] for chain in outcomes] == [
        [5, 5, 12],
        [5] * 4,
        [12],
        [5] * 4,
    ]
    assert [[outcome.start for outcome in chain] for chain in outcomes] == [
        chains[0][:3], chains[1], chains[2][:1], chains[3],
    ]  # fmt: skip
    assert [ended[place] for place in range(4)] == outcomes
    assert policy.told[1] == [
        (f"{task} please", 1.0, float(5 * number + look))
        for number, task in enumerate(["red", "black", "white", "green"])
        for look in (0, 4)
    ]
    assert [policy.resets.count(place) for place in range(4)] == [6, 8, 2, 8]


def test_no_chains() -> None:
    assert rollout_chains(
        Network(), TWO_WAYS, [], execution=Execution(), cameras={"top": 8}
    ) == []  # fmt: skip
