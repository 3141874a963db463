import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.peers import compare
from benchmarks.peers.adapter import LeRobotPolicy
from benchmarks.peers.eyehand_train import choose_episodes
from eyehand.data.columns import landmark_columns
from eyehand.data.store import open_store
from eyehand.data.windows import WindowConfig, WindowLoader
from eyehand.data.writer import DatasetWriter
from eyehand.envs.metaworld import METAWORLD
from eyehand.types import Episode, InputError, Observation

TASKS = ("reach", "push", "reach", "door-open")
LENGTHS = (5, 3, 5, 5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four short episodes of three tasks, with landmarks; every number tells its episode."""
    folder = tmp_path / "data"
    with DatasetWriter(
        folder, fps=80, image_shapes={"top": (16, 16)}, state_dim=4, action_dim=4, robot="blocks",
        columns=landmark_columns(("hand", "goal")),
    ) as writer:  # fmt: skip
        for number, (task, length) in enumerate(zip(TASKS, LENGTHS, strict=True)):
            film = np.full((length, 16, 16, 3), 50 * number, np.uint8)
            values = (number + np.arange(length)[:, None] / 10 + np.zeros(4)).astype(np.float32)
            points = np.full((length, 2, 3), number, np.float32)
            sentence = METAWORLD.instructions(task).canonical
            writer.add(
                Episode({"top": film}, values, values, sentence, task, number, landmarks=points)
            )
    return folder


def options(out: Path, *words: str) -> list[str]:
    return ["--out", str(out), "--minutes", "1", *words]


@pytest.mark.parametrize("landmarks", [True, False])
def test_the_chosen_episodes_are_whole_and_in_order(data: Path, landmarks: bool) -> None:
    store = choose_episodes(open_store(data), ["door-open", "reach"], landmarks=landmarks)
    assert store.episode_task == ("reach", "reach", "door-open")
    assert store.episode_length.tolist() == [5, 5, 5]
    assert store.episode_start.tolist() == [0, 5, 10]
    number = np.repeat([0, 2, 3], 5)
    np.testing.assert_array_equal(np.floor(store.state[:, 0] + 1e-4), number)
    np.testing.assert_array_equal(store.action, store.state)
    assert [int(store.image["top"][frame].max()) // 50 for frame in range(15)] == number.tolist()
    assert [store.sentences[place] for place in store.sentence] == [
        METAWORLD.instructions(TASKS[place]).canonical for place in number
    ]
    np.testing.assert_allclose(store.statistics["state"].mean, store.state.mean(axis=0), rtol=1e-6)
    assert store.statistics["action"].maximum[0] == pytest.approx(3.4)
    if landmarks:
        assert "landmarks" in store.columns
        np.testing.assert_array_equal(store.columns["landmarks"][:, 0, 0], number)
    else:
        assert store.columns == {}
    batch = WindowLoader(store, WindowConfig(batch_size=15, random_shift=0)).batch(0)
    assert (batch.landmarks is not None) == landmarks


def test_the_data_must_hold_the_tasks(data: Path, tmp_path: Path) -> None:
    wanted = compare.parse(options(tmp_path / "out", "--data", str(data), "--sets", "reach,push"))
    assert compare.check_data(wanted) == {
        "data": str(data), "frames": 18, "camera": "top", "picture": 16,
    }  # fmt: skip
    wanted = compare.parse(
        options(tmp_path / "out", "--data", str(data), "--sets", "reach", "mt10")
    )
    with pytest.raises(InputError, match=r"no episode of \['pick-place', .*it has \['door-open'"):
        compare.check_data(wanted)


def test_the_command_in_the_table_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    wanted = compare.parse(options(tmp_path / "out", "--data", str(tmp_path / "data")))
    assert str(tmp_path) not in wanted.command
    assert "--data data" in wanted.command


def test_a_folder_holds_one_comparison(tmp_path: Path) -> None:
    out = tmp_path / "out"
    held = {"data": "data", "frames": 18}
    first = compare.keep_settings(compare.parse(options(out)), held)
    assert compare.keep_settings(compare.parse(options(out, "--sets", "push")), held) == first
    with pytest.raises(InputError, match=r"'episodes': 20.*'episodes': 7.*another folder"):
        compare.keep_settings(compare.parse(options(out, "--episodes", "7")), held)
    with pytest.raises(InputError, match=r"'frames': 18.*'frames': 19"):
        compare.keep_settings(compare.parse(options(out)), held | {"frames": 19})


def test_start_states_of_training_are_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)  # it would outlive the test
    monkeypatch.setattr(torch, "set_num_threads", lambda *_: None)
    with pytest.raises(InputError, match="--seed 5 is in 0-9999"):
        compare.main(options(tmp_path / "out", "--seed", "5"))
    assert not (tmp_path / "out").exists()


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    wanted = compare.parse(options(tmp_path, "--lerobot-python", str(tmp_path / "python")))
    with pytest.raises(InputError, match="no Python at"):
        compare.find_lerobot(wanted)


def test_the_memory_of_children_counts(tmp_path: Path) -> None:
    hold = "import time; content = bytearray(b'x' * 80_000_000); time.sleep(2)"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}], check=True)"
    peak = compare.run([sys.executable, "-c", start], log=tmp_path / "log")
    assert 80e6 < peak < 160e6


def test_a_stage_that_fails_says_why(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "raise SystemExit('no room left')"]
    with pytest.raises(RuntimeError, match="failed: no room left"):
        compare.run(words, log=tmp_path / "log")


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "run", lambda *words, log: pytest.fail("a stage was run again"))
    wanted = compare.parse(options(tmp_path, "--policies", "bcz", "--sets", "reach"))
    folder = tmp_path / "reach/bcz"
    (folder / "evaluation-4").mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps({"tasks": ["reach"]}))
    (folder / "evaluation-4/results.json").touch()
    (tmp_path / "speed.json").write_text(json.dumps({"bcz": []}))
    compare.train(folder, "bcz", ("reach",), wanted)
    compare.measure(folder, "bcz", wanted, camera="top", picture=16)
    compare.measure_speeds(wanted)


def observe(brightness: int, env_ids: list[int]) -> Observation:
    """What robots see depends on who they are, so that mixing them up shows."""
    rows = np.array(env_ids)
    random = np.random.default_rng(brightness)
    picture = random.integers(0, 256, (10, 96, 96, 3), dtype=np.uint8)
    state = random.normal(size=(10, 4)).astype(np.float32)
    sentences = [
        METAWORLD.instructions(("reach", "push")[number % 2]).canonical for number in env_ids
    ]
    return Observation(
        {"work_area": torch.from_numpy(picture[rows])},
        torch.from_numpy(state[rows]),
        sentences,
        env_ids,
    )


@pytest.mark.slow
def test_the_whole_comparison_in_seconds_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "EYEHAND_LEROBOT_PYTHON" not in os.environ:
        pytest.skip("EYEHAND_LEROBOT_PYTHON does not name a Python with lerobot")
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)  # it would outlive the test
    out = tmp_path / "out"
    words = ["--minutes", "0.1", "--sets", "reach,push", "--episodes", "1"]
    words += ["--demonstrations", "2", "--cores", "1", "--denoising-steps", "2"]
    words += ["--speed-rounds", "1", "--speed-seconds", "0.1"]
    compare.main(["--out", str(out), *words])
    found = json.loads((out / "comparison.json").read_text())
    assert [(row["policy"], row["executed"], row["episodes"]) for row in found["rows"]] == [
        ("bcz", 4, 2), ("act", 100, 2), ("act", 4, 2), ("diffusion", 8, 2),
    ]  # fmt: skip
    for row in found["rows"]:
        training = row["training"]
        assert training["steps"] >= 1
        assert training["peak_memory"] > 3e8
        assert 6 <= training["seconds"] < 60
        if row["policy"] != "bcz":
            assert training["inputs"] == ["observation.images.work_area", "observation.state"]
    assert set(found["ratios"]) == {"act", "diffusion"}
    assert (out / "comparison.md").read_text() in capsys.readouterr().out
    before = (out / "speed.json").stat().st_mtime_ns
    compare.main(["--out", str(out), *words])  # everything is done: the table alone
    assert (out / "speed.json").stat().st_mtime_ns == before

    # What a served robot does depends neither on the other robots nor on its place among them.
    wanted = compare.parse(["--out", str(out), *words])
    for policy, executed in (("act", 2), ("diffusion", 8)):
        folder = out / "reach,push" / policy

        def opened(
            policy: str = policy, executed: int = executed, folder: Path = folder
        ) -> LeRobotPolicy:
            served = compare.open_policy(folder, policy, ("reach", "push"), executed, wanted)
            assert isinstance(served, LeRobotPolicy)
            return served

        with opened() as alone:
            want = [alone.act(observe(step, [3]))[0] for step in range(3)]
            alone.reset([3])
            again = [alone.act(observe(step, [3]))[0] for step in range(3)]
        with opened() as together:
            first = together.act(observe(0, [3, 4, -1]))[0]
            second = together.act(observe(1, [5, 4, 3]))[2]
            third = together.act(observe(2, [3]))[0]
        for got in (again, [first, second, third]):
            torch.testing.assert_close(torch.stack(got), torch.stack(want))
        assert not torch.equal(want[0], want[1])
