import hashlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyehand.checksums import read_json, write_json
from eyehand.collection import record as record_module
from eyehand.collection.demonstrate import demonstrate, lead_of
from eyehand.collection.record import RecordConfig, record
from eyehand.data.check import check_dataset
from eyehand.data.encoding import EncodedEpisode, encode_episode
from eyehand.data.lerobot import Dataset
from eyehand.envs.metaworld import MAX_STEPS, METAWORLD, MetaWorldEnv
from eyehand.types import Actor, Episode, InputError

Attempt = Callable[[str, int, RecordConfig], EncodedEpisode | None]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fake_attempt(task: str, seed: int, config: RecordConfig) -> EncodedEpisode | None:
    """An expert that fails at every third seed, and takes a while that nobody foresees."""
    time.sleep(random.random() / 200)
    if seed % 3 == 0:
        return None
    number = np.random.default_rng(seed)
    length, size = 3 + seed % 5, config.image_size
    episode = Episode(
        image={
            next(iter(config.pictures)): number.integers(
                0, 256, (length, size, size, 3), dtype=np.uint8
            )
        },
        state=number.normal(size=(length, 4)).astype(np.float32),
        action=number.normal(size=(length, 4)).astype(np.float32),
        instruction=task,
        task=task,
        seed=seed,
        landmarks=number.normal(size=(length, len(METAWORLD.landmarks), 3)).astype(np.float32),
    )
    return encode_episode(episode, fps=80)


class Threads(ThreadPoolExecutor):
    """Stands for the processes where what they do does not matter."""

    def __init__(self, workers: int, context: object, **initializer: object) -> None:
        super().__init__(workers)


@pytest.fixture
def use_attempt(monkeypatch: pytest.MonkeyPatch) -> Callable[[Attempt], None]:
    def use(attempt: Attempt) -> None:
        monkeypatch.setattr(record_module, "ProcessPoolExecutor", Threads)
        monkeypatch.setattr(record_module, "_attempt", attempt)

    return use


def config(out: Path, **changes: Any) -> RecordConfig:
    settings = {"tasks": "reach,push", "episodes": 12, "image_size": 16} | changes
    return RecordConfig(out=out, **settings)


def test_order_sentences_and_what_is_left_out(tmp_path: Path, use_attempt: Any) -> None:
    use_attempt(fake_attempt)
    result = record(config(tmp_path))
    want = [seed for seed in range(100) if seed % 3][:12]
    rows = Dataset(tmp_path).episodes
    assert [(row.task, row.seed) for row in rows] == [
        (task, seed) for task in ("reach", "push") for seed in want
    ]
    assert result.successes == {"reach": 12, "push": 12}
    assert result.left_out == {"reach": 6, "push": 6}  # seeds 0, 3, ... 15
    assert result.frames == len(Dataset(tmp_path))
    told = [Dataset(tmp_path).episode(number).instruction for number in range(12)]
    sentences = METAWORLD.instructions("reach")
    known = [sentences.canonical, *sentences.training, *sentences.chinese]
    assert told == known[:12]


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_do_not_change_a_bit(tmp_path: Path, use_attempt: Any, workers: int) -> None:
    use_attempt(fake_attempt)
    record(config(tmp_path / "one", workers=1, episodes=5))
    record(config(tmp_path / "many", workers=workers, episodes=5))
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


@pytest.mark.parametrize("interrupted_at", [1, 9])
def test_interrupted_and_begun_again(
    tmp_path: Path, use_attempt: Any, monkeypatch: pytest.MonkeyPatch, interrupted_at: int
) -> None:
    use_attempt(fake_attempt)
    record(config(tmp_path / "whole", episodes=7))
    added = 0
    real = record_module.DatasetWriter.add_encoded

    def interrupted(self: Any, episode: EncodedEpisode) -> None:
        nonlocal added
        added += 1
        if added == interrupted_at:
            raise KeyboardInterrupt
        real(self, episode)

    with monkeypatch.context() as patch:
        patch.setattr(record_module.DatasetWriter, "add_encoded", interrupted)
        with pytest.raises(KeyboardInterrupt):
            record(config(tmp_path / "parts", episodes=7))
    result = record(config(tmp_path / "parts", episodes=7))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert result.left_out == {"reach": 4, "push": 4}
    before = contents(tmp_path / "parts")
    assert record(config(tmp_path / "parts", episodes=7)).left_out == result.left_out
    assert contents(tmp_path / "parts") == before


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damaged_pending_episodes_are_recorded_anew(
    tmp_path: Path, use_attempt: Any, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, damage: str,
) -> None:  # fmt: skip
    """The recording goes on from the last good episode, to the same files."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    use_attempt(fake_attempt)
    record(config(tmp_path / "whole", episodes=2))
    for number, file in enumerate(("episode.json", "action.npy", "corner4.mp4")):
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            patch.setattr(record_module.DatasetWriter, "close", lambda self: self._lock.close())
            record(config(folder, episodes=2))  # ends as if killed: all four are pending
        path = folder / ".pending/000001" / file
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content if damage == "flipped" else content[:40])
        if damage == "gone":
            path.unlink()
        caplog.clear()
        result = record(config(folder, episodes=2))
        assert result.successes == {"reach": 2, "push": 2}
        assert contents(folder) == contents(tmp_path / "whole")
        assert [f"{file}" in line and "3 in all" in line for line in caplog.messages] == [True]


def test_killed_before_the_description_is_there(
    tmp_path: Path, use_attempt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    use_attempt(fake_attempt)
    record(config(tmp_path / "whole", episodes=1))
    for name in ("meta", "meta/recording.json.partial"):
        folder = tmp_path / Path(name).name
        (folder / ".pending").mkdir(parents=True)
        (folder / "meta").mkdir()
        if name != "meta":
            (folder / name).write_text('{"sui')
        record(config(folder, episodes=1))
        assert contents(folder) == contents(tmp_path / "whole")
    for name in ("meta/info.json", "meta/other", "file"):
        folder = tmp_path / f"not {Path(name).name}"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("{}")
        with pytest.raises(InputError, match="exists and is not a recording"):
            record(config(folder, episodes=1))
    with pytest.raises(FileExistsError):
        record(config(tmp_path / "not file/file", episodes=1))


@pytest.mark.parametrize("content", [b"", b'{"suite": "metawor', b"\xff", b"[" * 100_000, b"[1]"])
def test_a_damaged_description_is_one_sentence(
    tmp_path: Path, use_attempt: Any, content: bytes
) -> None:
    use_attempt(fake_attempt)
    record(config(tmp_path, episodes=1))
    file = tmp_path / "meta/recording.json"
    whole = file.read_text()
    for damaged in (content, whole.replace('"seed": 0', '"seed": 1').encode()):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"^[^\n]*recording\.json [^\n]*$"):
            record(config(tmp_path, episodes=1))


def test_an_expert_that_fails_too_often_is_named(tmp_path: Path, use_attempt: Any) -> None:
    use_attempt(lambda task, *rest: None if task == "push" else fake_attempt(task, *rest))
    with pytest.raises(InputError, match=r"'push' succeeded in 0 of 20 attempts; 2 episodes"):
        record(config(tmp_path, episodes=2))


def test_a_failing_worker_is_reported_with_task_and_traceback(
    tmp_path: Path, use_attempt: Any
) -> None:
    def broken(task: str, seed: int, config: RecordConfig) -> EncodedEpisode | None:
        if (task, seed) == ("push", 2):
            raise ArithmeticError("the arm fell off")
        return fake_attempt(task, seed, config)

    use_attempt(broken)
    with pytest.raises(RuntimeError, match=r"(?s)'push' with seed 2 failed:.*in broken.*fell off"):
        record(config(tmp_path, episodes=3))

    def deaf(*_: object) -> None:
        raise InputError("the policy reads another camera.")

    use_attempt(deaf)
    with pytest.raises(InputError, match=r"^the policy reads another camera\.$"):
        record(config(tmp_path, episodes=3))

    def dead(*_: object) -> None:
        raise BrokenProcessPool("gone")

    use_attempt(dead)
    with pytest.raises(RuntimeError, match="a worker process died while task 'push' with seed 2"):
        record(config(tmp_path, episodes=3))


def test_another_recording_in_the_folder_is_refused(tmp_path: Path, use_attempt: Any) -> None:
    use_attempt(fake_attempt)
    record(config(tmp_path / "set", episodes=1))
    with pytest.raises(InputError, match=r"'perturbation': 0\.0.*this one has.*0\.5"):
        record(config(tmp_path / "set", episodes=1, perturbation=0.5))
    with pytest.raises(InputError, match=r"'cameras': \['corner4'\].*this one has.*'work_area'"):
        record(config(tmp_path / "set", episodes=1, cameras=("work_area",)))
    file = tmp_path / "set/meta/recording.json"
    told = read_json(file)
    del told["protocol"]  # the version before, whose start states were others
    write_json(file, told)
    with pytest.raises(InputError, match=r"this one has .*'protocol': 'metaworld-v2'"):
        record(config(tmp_path / "set", episodes=2))
    write_json(file, told | {"protocol": "metaworld-v2"})
    record(config(tmp_path / "set", episodes=2))
    with pytest.raises(InputError, match=r"'policy': None.*this one has.*'policy': 'some'"):
        record(config(tmp_path / "set", episodes=1, policy=Path("some")), object)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("Dear")
    with pytest.raises(InputError, match="other exists and is not a recording"):
        record(config(tmp_path / "other"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": 0}, "--episodes must be 1 to 2,500; got 0"),
        ({"workers": 0}, "--workers must be at least 1; got 0"),
        ({"image_size": -4}, "--image-size must be 1 to 4,096; got -4"),
        ({"perturbation": -0.1}, "--perturbation must be 0 to 10.0; got -0.1"),
        ({"perturbation": math.nan}, "--perturbation must be 0 to 10.0; got nan"),
        ({"seed": 9_990}, "--seed 9990 with up to 48 attempts a task reaches seed 10037"),
        ({"seed": -1}, "--seed must be 0 to 9,999; got -1"),
        ({"tasks": "drawer-opn"}, "Did you mean 'drawer-open'"),
        (
            {"cameras": ("work-area",)},
            "no camera of metaworld 'work-area'. Did you mean 'work_area'",
        ),
        (
            {"seed": 9_990, "policy": Path("some")},
            "--seed 9990 with up to 12 attempts a task reaches seed 10001",
        ),
    ],
)
def test_refused_configs(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(tmp_path, **change)


def test_corrections_that_fail_are_not_kept_and_not_made_up_for(
    tmp_path: Path, use_attempt: Any
) -> None:
    attempts = []

    def attempt(task: str, seed: int, config: RecordConfig) -> EncodedEpisode | None:
        attempts.append((task, seed))
        return None if task == "push" else fake_attempt(task, seed, config)

    use_attempt(attempt)
    corrections = config(tmp_path, policy=Path("some"), seed=20, cameras=("work_area",))
    result = record(corrections, object)
    assert result.successes == {"reach": 8, "push": 0}
    assert result.left_out == {"reach": 4, "push": 12}
    assert sorted(attempts) == [(t, seed) for t in ("push", "reach") for seed in range(20, 32)]
    dataset = Dataset(tmp_path)
    want = [seed for seed in range(20, 32) if seed % 3]
    assert [(row.task, row.seed) for row in dataset.episodes] == [("reach", seed) for seed in want]
    assert list(dataset.cameras) == ["work_area"]
    stored = read_json(tmp_path / "meta/recording.json")
    assert (stored["policy"], stored["cameras"], stored["seed"]) == ("some", ["work_area"], 20)


@pytest.mark.parametrize(("interrupted_at", "workers"), [(1, 3), (5, 1), (8, 3)])
def test_interrupted_corrections_go_on_to_the_same_files(
    tmp_path: Path,
    use_attempt: Any,
    monkeypatch: pytest.MonkeyPatch,
    interrupted_at: int,
    workers: int,
) -> None:
    use_attempt(fake_attempt)
    settings = {"policy": Path("some"), "episodes": 7, "workers": workers}
    record(config(tmp_path / "whole", **settings), object)
    added = 0
    real = record_module.DatasetWriter.add_encoded

    def interrupted(self: Any, episode: EncodedEpisode) -> None:
        nonlocal added
        added += 1
        if added == interrupted_at:
            raise KeyboardInterrupt
        real(self, episode)

    with monkeypatch.context() as patch:
        patch.setattr(record_module.DatasetWriter, "add_encoded", interrupted)
        with pytest.raises(KeyboardInterrupt):
            record(config(tmp_path / "parts", **settings), object)
    for _ in range(2):  # the second time nothing is missing but what failed
        result = record(config(tmp_path / "parts", **settings), object)
        assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
        assert result.successes == {"reach": 4, "push": 4}
        assert result.left_out == {"reach": 3, "push": 3}


def test_corrections_of_another_policy_are_refused(tmp_path: Path, use_attempt: Any) -> None:
    use_attempt(fake_attempt)
    record(config(tmp_path, policy=Path("one")), object)
    for policy in (Path("two"), None):
        with pytest.raises(
            InputError, match=rf"'policy': 'one'.*; this one has.*'policy': .?{policy}"
        ):
            record(config(tmp_path, policy=policy), object if policy else None)


def test_nothing_put_right_is_said_in_one_sentence(tmp_path: Path, use_attempt: Any) -> None:
    use_attempt(lambda *_: None)
    with pytest.raises(
        InputError, match=r"none of 12 attempts per task gave a correction of the policy some"
    ):
        record(config(tmp_path, policy=Path("some")), object)


def test_a_policy_is_named_and_loaded_or_neither(tmp_path: Path) -> None:
    for policy, make_policy in ((Path("some"), None), (None, object)):
        with pytest.raises(ValueError, match="make_policy"):
            record(config(tmp_path, policy=policy), make_policy)
    assert list(tmp_path.iterdir()) == []


def test_an_attempt_leads_with_the_policy_and_keeps_the_rest(
    monkeypatch: pytest.MonkeyPatch, still_policy: Actor
) -> None:
    """Told the seed's own sentence of ten, it drives; what the expert does then is the episode."""
    told: list[str] = []

    def counted(
        suite: object, policy: object, environment: object, *, seed: int, instruction: str
    ) -> Any:
        told.append(instruction)
        return lead_of(suite, policy, environment, seed=seed, instruction=instruction)

    monkeypatch.setattr(record_module, "lead_of", counted)
    monkeypatch.setattr(record_module, "_policy", still_policy)
    monkeypatch.setattr(record_module, "_environments", {})
    monkeypatch.setattr("eyehand.collection.demonstrate.LONGEST_LEAD", 40 / MAX_STEPS)
    settings = config(Path("out"), policy=Path("some"), image_size=16, perturbation=0.3)
    got = record_module._attempt("drawer-close", 12, settings)
    sentences = METAWORLD.instructions("drawer-close")
    assert told == [[*sentences.training, *sentences.chinese][12 - 1]]
    (environment,) = record_module._environments.values()
    lead = lead_of(METAWORLD, still_policy, environment, seed=12, instruction=told[0])
    assert lead is not None
    want = demonstrate(METAWORLD, environment, seed=12, perturbation=0.3, lead=lead)
    assert got is not None
    assert want is not None
    np.testing.assert_array_equal(got.state, want.state)
    np.testing.assert_array_equal(got.action, want.action)
    np.testing.assert_array_equal(got.columns["landmarks"], want.landmarks)
    np.testing.assert_array_equal(got.columns["action_mask"], want.action_mask)
    assert want.action_mask.sum() == len(got.action) - len(lead)
    assert got.film == encode_episode(want, fps=80).film
    environment.close()


def test_a_real_recording(tmp_path: Path) -> None:
    result = record(config(tmp_path, tasks="drawer-open", episodes=2, workers=1, image_size=24))
    assert result.successes == {"drawer-open": 2}
    check_dataset(tmp_path)
    environment = MetaWorldEnv("drawer-open", cameras={"corner4": 24}, render_observations=False)
    for number in range(2):
        got, want = Dataset(tmp_path).episode(number), demonstrate(
            METAWORLD, environment, seed=number, perturbation=0.0
        )  # fmt: skip
        assert want is not None
        np.testing.assert_array_equal(got.state, want.state)
        np.testing.assert_array_equal(got.action, want.action)
        np.testing.assert_array_equal(got.image["corner4"], want.image["corner4"])
        np.testing.assert_array_equal(got.landmarks, want.landmarks)
    environment.close()
    stored = read_json(tmp_path / "meta/recording.json")
    assert stored == {
        "suite": "metaworld",
        "seed": 0,
        "perturbation": 0.0,
        "cameras": ["corner4"],
        "image_size": 24,
        "policy": None,
        "protocol": "metaworld-v2",
    }


SCRIPT = """
import sys
from pathlib import Path
from eyehand.collection.record import RecordConfig, record

if __name__ == "__main__":
    record(RecordConfig(
        out=Path(sys.argv[1]), tasks="reach,button-press", episodes=6, image_size=24,
        workers=int(sys.argv[2]), perturbation=0.5,
    ))
"""


@pytest.mark.slow
def test_killed_and_begun_again_and_any_number_of_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def start(name: str, workers: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, script, tmp_path / name, str(workers)])

    def pending(name: str) -> int:
        return len(list((tmp_path / name / ".pending").glob("[0-9]*")))

    assert start("one", 1).wait() == 0
    assert start("two", 2).wait() == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    for wanted in (1, 5, 8):
        process = start("killed", 2)
        while process.poll() is None and pending("killed") < wanted:
            time.sleep(0.02)
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
        ).stdout.split()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert pending("killed") >= wanted
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < deadline, "a worker outlives the recording"
            time.sleep(0.1)
    assert start("killed", 2).wait() == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "one")
