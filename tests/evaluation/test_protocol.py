"""The evaluation: against a rollout with a known pattern of successes, and once for real."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro

from eyehand.checksums import read_line
from eyehand.cli.eval import EvalArguments
from eyehand.envs.execution import Execution
from eyehand.envs.instructions import Instructions
from eyehand.envs.metaworld import CAMERA, METAWORLD, TASKS, TIERS
from eyehand.envs.rollout import Outcome, Start
from eyehand.envs.slots import WorkerDeathError
from eyehand.envs.two_ways import TWO_WAYS
from eyehand.evaluation import protocol
from eyehand.evaluation.protocol import (
    EvalConfig,
    EvaluatedPolicy,
    evaluate,
    evaluation_starts,
    reproducing_command,
)
from eyehand.evaluation.results import Results, read_results
from eyehand.types import Actor, InputError


class FakeRollout:
    """Succeeds where ``succeeds`` says so; may be killed after some episodes."""

    def __init__(
        self,
        succeeds: Callable[[Start], bool],
        *,
        killed_after: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.succeeds, self.killed_after = succeeds, killed_after
        self.error = error or KeyboardInterrupt()
        self.ran: list[Start] = []
        self.arguments: list[dict[str, object]] = []

    def __call__(
        self,
        policy: object,
        suite: object,
        starts: Sequence[Start],
        *,
        on_outcome: Callable[[Outcome], None],
        **arguments: object,
    ) -> list[Outcome]:
        self.arguments.append(arguments)
        outcomes = []
        for start in reversed(starts):  # outcomes arrive in any order
            if self.killed_after == len(self.ran):
                raise self.error
            self.ran.append(start)
            success = self.succeeds(start)
            actions = np.full((3, 4), start.seed % 7, dtype=np.float32)
            outcomes.append(Outcome(start, success, actions))
            on_outcome(outcomes[-1])
        return outcomes[::-1]


Run = Callable[..., Results]


def even_seeds(start: Start) -> bool:
    return start.seed % 2 == 0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, still_policy: Actor) -> Run:
    """Evaluate with a fake rollout, without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)

    def run_with(fake: FakeRollout, config: EvalConfig, camera: str = CAMERA) -> Results:
        monkeypatch.setattr(protocol, "rollout", fake)
        evaluated = EvaluatedPolicy.checkpoint(checkpoint, cameras={camera: 32})
        return evaluate(still_policy, config, evaluated)

    return run_with


def test_figures_are_those_of_the_pattern(run: Run, tmp_path: Path) -> None:
    fake = FakeRollout(lambda start: start.task == "reach" or even_seeds(start))
    config = EvalConfig(tmp_path / "out", tasks="reach,hammer,push", episodes=4, films=0)
    results = run(fake, config)
    rates = {name: task.success_rate for name, task in results.tasks.items()}
    assert rates == {"reach": 1.0, "hammer": 0.5, "push": 0.5}
    assert results.tasks["hammer"].interval == pytest.approx((0.1500, 0.8500), abs=1e-4)
    assert {tier: group.success_rate for tier, group in results.groups.items()} == {
        "easy": 1.0,
        "medium": 0.5,
        "hard": 0.5,
    }
    assert results.groups["easy"].tasks == 1
    assert results.groups["easy"].tasks_in_group == 28
    assert results.task_mean.value == pytest.approx(2 / 3)
    assert results.score is None
    assert (results.suite, results.score_name) == ("metaworld", "tier mean")
    assert results.policy_threads == 1
    assert results.seeds == (1_000_000, 1_000_003)
    assert results.seed_range == "evaluation"
    assert results.observation["privileged"] == "none"
    assert results.steps == 3 * 12
    assert fake.arguments[0]["cameras"] == {CAMERA: 32}
    assert fake.arguments[0]["disturbance"] is None
    assert fake.arguments[0]["execution"] == Execution()
    assert [episode[:2] for episode in results.episodes] == [
        (start.task, start.seed) for start in evaluation_starts(config)
    ]


def test_score_is_the_mean_of_the_tiers_not_of_the_tasks(run: Run, tmp_path: Path) -> None:
    fake = FakeRollout(lambda start: start.task in TIERS["easy"])
    results = run(fake, EvalConfig(tmp_path, episodes=1, films=0))
    assert results.score is not None
    assert results.score.value == pytest.approx(0.25)
    assert results.task_mean.value == pytest.approx(28 / 50)
    assert results.task_mean.tasks == len(TASKS)


def test_file_holds_what_was_returned(run: Run, tmp_path: Path) -> None:
    config = EvalConfig(
        tmp_path, tasks="reach,faucet-open,faucet-close", episodes=3, films=0, probe=True
    )
    results = run(FakeRollout(even_seeds), config)
    assert read_results(tmp_path) == results
    assert read_results(tmp_path / "results.json") == results
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("cut", [b"", b'{"probe": "", "ta'])
def test_killed_evaluation_goes_on_without_repeating(run: Run, tmp_path: Path, cut: bytes) -> None:
    config = EvalConfig(tmp_path / "out", tasks="reach,push", episodes=5, films=0, probe=True)
    killed = FakeRollout(even_seeds, killed_after=27)
    with pytest.raises(KeyboardInterrupt):
        run(killed, config)
    with pytest.raises(InputError, match="not finished: run it again"):
        read_results(config.out)
    with (config.out / "episodes.jsonl").open("ab") as stream:
        stream.write(cut)
    resumed = FakeRollout(even_seeds)
    results = run(resumed, config)
    once = FakeRollout(even_seeds)
    whole = run(once, replace(config, out=tmp_path / "whole"))
    assert len(killed.ran) == 27
    assert len(killed.ran) + len(resumed.ran) == len(once.ran) == 110
    assert results.tasks == whole.tasks
    assert results.probes == whole.probes
    assert results.episodes == whole.episodes
    lines = (config.out / "episodes.jsonl").read_text().splitlines()
    assert len(lines) == 111
    assert all(read_line(line)[1] for line in lines)


def test_a_dead_worker_is_one_sentence_and_costs_no_finished_episode(
    run: Run, tmp_path: Path
) -> None:
    config = EvalConfig(tmp_path / "out", tasks="reach", episodes=5, films=0)
    killed = FakeRollout(even_seeds, killed_after=3, error=WorkerDeathError("worker 0 was killed"))
    with pytest.raises(InputError, match="worker 0 was killed"):
        run(killed, config)
    resumed = FakeRollout(even_seeds)
    assert run(resumed, config).tasks["reach"].episodes == 5
    assert len(resumed.ran) == 2


def test_two_evaluations_in_one_folder_are_refused(run: Run, tmp_path: Path) -> None:
    config = EvalConfig(tmp_path / "out", tasks="reach", episodes=1, films=0)
    refused = FakeRollout(even_seeds)

    def while_another_runs(start: Start) -> bool:
        with pytest.raises(InputError, match=r"another process \(\d+\) evaluates in .*out: wait"):
            run(refused, config)
        return True

    run(FakeRollout(while_another_runs), config)
    assert refused.ran == []
    assert run(refused, replace(config, episodes=2)).tasks["reach"].episodes == 2


def test_a_suite_with_a_sentence_of_no_words_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wordless = replace(METAWORLD, sentences=lambda task: Instructions(canonical=" "))
    monkeypatch.setattr(protocol, "find_suite", lambda name: wordless)
    config = EvalConfig(tmp_path / "out", tasks="reach", episodes=1, films=0)
    with pytest.raises(InputError, match=r"the sentence of 'reach' must have at least one word"):
        run(FakeRollout(even_seeds), config)
    assert not config.out.exists()


def test_more_episodes_and_probes_are_added_to_what_is_there(run: Run, tmp_path: Path) -> None:
    config = EvalConfig(tmp_path / "out", tasks="hammer", episodes=2, films=0)
    run(FakeRollout(even_seeds), config)
    more = FakeRollout(even_seeds)
    results = run(more, replace(config, episodes=4, tasks="hammer,reach"))
    assert len(more.ran) == 6
    assert results.tasks["hammer"].episodes == 4
    nothing = FakeRollout(even_seeds)
    again = run(nothing, replace(config, episodes=4, tasks="hammer"))
    assert nothing.ran == []
    assert again.tasks == {"hammer": results.tasks["hammer"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"execution": Execution(steps=8)}, r"execution .*'steps': 4.*, now .*'steps': 8"),
        ({"weights": b"other"}, r"checkpoint_sha256 '[0-9a-f]{64}', now '[0-9a-f]{64}'"),
    ],
)
def test_episodes_of_something_else_are_refused(
    run: Run,
    tmp_path: Path,
    checkpoint: Path,
    change: dict[str, object],
    said: str,
) -> None:
    config = EvalConfig(tmp_path / "out", tasks="reach", episodes=2, films=0)
    run(FakeRollout(even_seeds), config)
    if "weights" in change:
        (checkpoint / "model.safetensors").write_bytes(b"other")
    else:
        config = replace(config, execution=Execution(steps=8))
    with pytest.raises(InputError, match=said):
        run(FakeRollout(even_seeds), config)


def test_probes_stand_beside_the_same_starts(run: Run, tmp_path: Path) -> None:
    """An obedient robot fails when told something else; a hammer has no partner to swap with."""
    sentences = {start.task: start.instruction for start in evaluation_starts(EvalConfig(tmp_path))}
    fake = FakeRollout(
        lambda start: start.task == "hammer" or start.instruction == sentences[start.task]
    )
    config = EvalConfig(
        tmp_path, tasks="hammer,faucet-open,faucet-close", episodes=2, films=0, probe=True
    )
    results = run(fake, config)
    swapped = results.probes["instruction swapped"]
    assert swapped.tasks == ["faucet-open", "faucet-close"]
    assert (swapped.successes, swapped.episodes) == (0, 4)
    assert (swapped.unprobed.successes, swapped.unprobed.episodes) == (4, 4)
    removed = results.probes["instruction removed"]
    assert (removed.successes, removed.episodes) == (2, 6)
    assert (results.probes["image blank"].successes, len(results.probes)) == (6, 10)
    for name in ("transform", "disturbance"):
        given = [arguments[name] for arguments in fake.arguments]
        assert given[0] is None
        assert sum(one is not None for one in given) == 2
    assert [arguments["disturbance"] for arguments in fake.arguments[-2:]] == [
        {"camera_offset": 0.02},
        {"light": 0.6},
    ]
    assert swapped.score is None


def test_swapped_probe_is_left_out_where_no_task_has_a_partner(run: Run, tmp_path: Path) -> None:
    config = EvalConfig(tmp_path, tasks="hammer", episodes=1, films=0, probe=True)
    results = run(FakeRollout(even_seeds), config)
    assert "instruction swapped" not in results.probes
    assert len(results.probes) == 9


@pytest.mark.parametrize(("asked", "given"), [(2, 2), (7, 4), (None, 4)])
def test_probes_with_fewer_episodes_compare_with_the_same_starts(
    run: Run, tmp_path: Path, asked: int | None, given: int
) -> None:
    """Unprobed it succeeds from the first two seeds alone: 4 of 8, 4 of 4 where two are probed."""
    fake = FakeRollout(lambda start: start.seed < 1_000_002 and start.instruction != "")
    config = EvalConfig(
        tmp_path,
        tasks="hammer,faucet-open",
        episodes=4,
        films=0,
        probe=True,
        probe_episodes=asked,
    )
    results = run(fake, config)
    assert len(fake.ran) == 8 + 9 * 2 * given
    assert results.tasks["hammer"].episodes == 4
    for name, probe in results.probes.items():
        assert probe.episodes == probe.unprobed.episodes == 2 * given
        assert probe.unprobed.successes == 4
        assert probe.successes == (0 if name == "instruction removed" else 4)
    probed = {start.seed for start in fake.ran if start.instruction == ""}
    assert probed == set(range(1_000_000, 1_000_000 + given))


def test_tier_means_of_probes_stand_beside_those_of_the_same_starts(
    run: Run, tmp_path: Path
) -> None:
    """Told nothing it can do the easy tasks; told its sentence, the medium ones as well."""
    able = {*TIERS["easy"], *TIERS["medium"]}

    def succeeds(start: Start) -> bool:
        if start.instruction == "":
            return start.task in TIERS["easy"]
        return start.task in able and start.seed == 1_000_000

    config = EvalConfig(tmp_path, episodes=2, films=0, probe=True, probe_episodes=1)
    results = run(FakeRollout(succeeds), config)
    removed = results.probes["instruction removed"]
    assert removed.score is not None
    assert removed.unprobed_score is not None
    assert results.score is not None
    assert removed.score.value == pytest.approx(1 / 4)
    assert removed.unprobed_score.value == pytest.approx(2 / 4)
    assert results.score.value == pytest.approx(1 / 4)
    assert removed.tasks == list(TASKS)
    swapped = results.probes["instruction swapped"]
    assert swapped.score is swapped.unprobed_score is None
    assert read_results(tmp_path) == results


def test_the_part_of_the_picture_is_part_of_the_result(run: Run, tmp_path: Path) -> None:
    config = EvalConfig(tmp_path / "out", tasks="reach", episodes=2, films=0)
    fake = FakeRollout(even_seeds)
    results = run(fake, config, camera="work_area")
    assert fake.arguments[0]["cameras"] == {"work_area": 32}
    assert results.observation["camera"] == "work_area"
    with pytest.raises(InputError, match=r"cameras \{'work_area': 32\}, now \{'corner4': 32\}"):
        run(FakeRollout(even_seeds), config)
    whole = run(FakeRollout(even_seeds), replace(config, out=tmp_path / "whole"))
    assert whole.observation["camera"] == "corner4"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seed": 0}, "--seed 0 is in 0-9999, the start states of training"),
        ({"seed": 9_990}, "--seed 9990 with --episodes 20 leaves the training range"),
        ({"seed": 19_990}, "--seed 19990 with --episodes 20 leaves the validation range"),
        ({"seed": -1}, "Got -1"),
        ({"episodes": 0}, "--episodes must be 1 to 1,000,000; got 0"),
        ({"workers": 0}, "--workers must be at least 1; got 0"),
        ({"probe_episodes": 0}, "--probe-episodes must be 1 to 1,000,000; got 0"),
        ({"films": -1}, "--films must be 0 to 1,000,000; got -1"),
        ({"chains": -1}, "--chains must be 0 to 1,000,000; got -1"),
        ({"chains": 5}, "the suite metaworld has no chains of tasks: leave --chains out"),
        (
            {"suite": "libero-goal", "chains": 1001},
            r"the suite libero-goal has 1,000 chains of tasks\. Got --chains 1001",
        ),
        (
            {"suite": "libero-goal", "chains": 60, "seed": 19_960},
            "--seed 19960 with --episodes 20 and --chains 60 leaves the validation range",
        ),
        ({"suite": "metawrld"}, "no suite 'metawrld'. Did you mean 'metaworld'"),
        ({"tasks": "drawer-opn"}, "'drawer-opn'. Did you mean 'drawer-open'"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        EvalConfig(Path("out"), **wrong)  # type: ignore[arg-type]


def test_seed_ranges_have_names() -> None:
    assert EvalConfig(Path("out"), seed=10_000).seed_range == "validation"
    assert EvalConfig(Path("out"), seed=500_000).seed_range == "unassigned"
    assert EvalConfig(Path("out")).seed_range == "evaluation"


def test_a_folder_without_weights_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is no checkpoint: it has no config\.json"):
        EvaluatedPolicy.checkpoint(tmp_path / "nowhere", cameras={CAMERA: 32})


def test_command_says_the_same_config_again() -> None:
    config = EvalConfig(
        Path("a folder"),
        tasks="easy,push",
        episodes=7,
        seed=10_000,
        workers=1,
        execution=Execution(steps=1, temporal_ensembling=0.01),
        probe=True,
        probe_episodes=2,
        films=3,
    )
    chained = replace(config, suite="libero-goal", tasks="all", chains=200)
    served = ("--server", "ws://there:1", "--camera", "work_area", "--image-size", "64")
    for named, wanted in [
        (("policy",), EvalArguments(config, Path("policy"))),
        (("policy",), EvalArguments(chained, Path("policy"))),
        (served, EvalArguments(config, None, "ws://there:1", "work_area", 64)),
    ]:
        evaluated = EvaluatedPolicy("name", "", {CAMERA: 64}, words=named)
        words = shlex.split(reproducing_command(wanted.config, evaluated))
        assert words[:2] == ["eyehand", "eval"]
        assert tyro.cli(EvalArguments, args=words[2:]) == wanted


def test_real_simulator_films_a_failure(
    tmp_path: Path, checkpoint: Path, still_policy: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A robot that keeps still reaches nothing; the film's replay agrees, or it would raise."""
    monkeypatch.setattr(still_policy, "action_dim", 2)
    config = EvalConfig(tmp_path, suite="two-ways", tasks="all", episodes=1, films=1, workers=1)
    evaluated = EvaluatedPolicy.checkpoint(checkpoint, cameras={"top": 32})
    results = evaluate(still_policy, config, evaluated)
    assert [episode[2:] for episode in results.episodes] == [(False, TWO_WAYS.max_steps)]
    assert [film.file for film in results.films] == ["films/two-ways-1000000-failure.mp4"]
    assert (config.out / results.films[0].file).stat().st_size > 1000
