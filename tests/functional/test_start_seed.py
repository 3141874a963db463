"""A start state's seed depends on the task and on the seed, and on nothing else."""

from eyehand.functional.start_seed import start_seed


def test_tasks_and_seeds_have_start_states_of_their_own() -> None:
    found = {start_seed(task, seed) for task in ("reach", "push", "hcaer") for seed in range(500)}
    assert len(found) == 1500
    assert all(0 <= one < 2**32 for one in found)


def test_published_start_states_stay_what_they_are() -> None:
    assert [start_seed("reach", 0), start_seed("push", 7)] == [888006104, 360702748]
