"""The command line: help, exit codes, nearest names, and each command once on a small real run."""

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from eyehand.cli import VERBS, main
from eyehand.envs.metaworld import METAWORLD
from eyehand.evaluation.film import PlayConfig
from eyehand.recipes.bcz_mt50 import bcz_mt50
from eyehand.recipes.mt50 import mt50, mt50_roboflamingo
from eyehand.recipes.roboflamingo_mt50 import roboflamingo_mt50
from eyehand.runs.demo import SHOWN


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from eyehand.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'mujoco', 'tyro'} & set(sys.modules);"
        "sys.exit(f'imports {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb, sentence in VERBS.items():
        assert verb in done.stdout
        assert sentence in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trian"], "no verb 'trian'. Did you mean 'train'?"),
        (["train", "bcz-metawrld"], "no recipe 'bcz-metawrld'. Did you mean 'bcz-metaworld'?"),
        (
            ["record", "--tasks", "drawer-opn", "--out", "nowhere"],
            "no task of metaworld 'drawer-opn'. Did you mean 'drawer-open'?",
        ),
        (["eval", "no-such-folder", "--out", "nowhere"], "no-such-folder"),
        (
            ["record", "--tasks", "reach", "--policy", "no-such-folder", "--out", "nowhere"],
            "no-such-folder is no folder of a checkpoint, and no released policy",
        ),
        (["reproduce", "mt5"], "no result 'mt5'. Did you mean 'mt50'?"),
        (["compare", "policy.horizon=4", "--recipe", "bcz", "--out", "x"], "no recipe 'bcz'"),
        (
            ["record", "--tasks", "reach", "--cameras", "work-area", "--out", "nowhere"],
            "no camera of metaworld 'work-area'. Did you mean 'work_area'?",
        ),
        (["play", "no-such-folder", "--task", "reach"], "no-such-folder"),
        (["practise"], "say what practises: a checkpoint, or one of a2c"),
        (["practise", "pp", "--tasks", "reach", "--out", "x"], "pp is no folder of a checkpoint"),
        (
            ["practise", "ppo", "--environment", "CartPol-v1", "--out", "nowhere"],
            "'CartPol-v1' cannot be made",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.startswith("eyehand: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):  # tyro leaves by itself
        main([verb, "--help"])
    assert f"eyehand {verb}" in capsys.readouterr().out


def test_an_unknown_flag_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--onyl", "torch"])
    assert stop.value.code == 2
    assert "--only" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one task recorded and a policy trained for three steps."""
    folder = tmp_path_factory.mktemp("commands")
    record = f"record --tasks faucet-close --episodes 2 --workers 1 --out {folder}/data"
    assert main(record.split()) == 0
    train = (
        f"train bcz-metaworld --data {folder}/data --out {folder}/policy --steps 3 --batch-size 8"
    )
    assert main(train.split()) == 0
    return folder


def test_record_is_done_when_it_is_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "data").rglob("*.mp4")}
    again = f"record --tasks faucet-close --episodes 2 --workers 1 --out {folder}/data"
    assert main(again.split()) == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "data").rglob("*.mp4")} == before
    assert "faucet-close: 2 episodes; 0 attempts left out" in capsys.readouterr().out


def test_train_refuses_to_overwrite_and_resumes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        f"train bcz-metaworld --data {folder}/data --out {folder}/policy --steps 5 --batch-size 8"
    )
    assert main(command.split()) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command.split(), "--resume"]) == 0
    steps = [
        json.loads(line)["step"]
        for line in (folder / "policy" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps[-1] == 5
    assert steps == sorted(set(steps))


def test_train_takes_several_data_sets_and_initial_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        f"train bcz-metaworld --data {folder}/data {folder}/data --initial {folder}/policy "
        f"--steps 1 --batch-size 8 --out {folder}/further"
    )
    assert main(command.split()) == 0
    config = json.loads((folder / "further" / "config.json").read_text())
    assert config["initial"] == f"{folder}/policy"
    other = command.replace("further", "other")
    assert main([*other.split(), "--policy.keypoints", "8"]) == 2
    error = capsys.readouterr().err
    assert "policy is a policy with" in error
    unknown = other.replace(f"--initial {folder}/policy", "--initial mt-50")
    assert main(unknown.split()) == 2
    assert "mt-50 is no folder of a checkpoint" in capsys.readouterr().err
    assert not (folder / "other").exists()


def test_train_takes_another_head_by_one_word(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        f"train bcz-metaworld --policy.head lstm --policy.head.dim 16 --data {folder}/data "
        f"--steps 1 --out {folder}/lstm --batch-size 2"
    )
    assert main(command.split()) == 0
    policy = json.loads((folder / "lstm" / "config.json").read_text())["policy"]
    assert (policy["head"]["name"], policy["head"]["dim"], policy["history"]) == ("lstm", 16, 12)
    assert main(command.replace("lstm", "lsmt").split()) == 2
    assert "no head 'lsmt'. Did you mean 'lstm'?" in capsys.readouterr().err
    assert main([*command.replace("/lstm", "/other").split(), "--policy.history", "1"]) == 2
    assert "'lstm' reads a history of frames" in capsys.readouterr().err


def test_practise_learns_and_says_what_it_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        f"practise reinforce --environment CartPole-v1 --steps 1024 --environments 2 --episodes 3 "
        f"--algorithm.steps 512 --out {tmp_path / 'run'}"
    )
    assert main(command.split()) == 0
    assert "reinforce in CartPole-v1: a mean return of" in capsys.readouterr().out
    assert (tmp_path / "run" / "results.json").is_file()


def test_reproduce_passes_on_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr("eyehand.cli.reproduce.reproduce", lambda *given: told.append(given))
    assert main(["reproduce", "mt50"]) == 0
    words = (
        "reproduce mt50-roboflamingo --tasks reach,hard --demonstrations 2 --corrections 1 "
        "--minutes 1 2 --episodes 3 --workers 1 --out somewhere"
    )
    assert main(words.split()) == 0
    stages = replace(
        mt50_roboflamingo().stages,
        out=Path("somewhere"),
        tasks="reach,hard",
        demonstrations=2,
        corrections=1,
        minutes=(1.0, 2.0),
        episodes=3,
        workers=1,
    )
    assert told == [(mt50().stages, bcz_mt50()), (stages, roboflamingo_mt50())]


def test_train_refuses_a_folder_without_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"train bcz-metaworld --data {tmp_path}/nowhere --out {tmp_path}/out --steps 1"
    assert main(command.split()) == 2
    assert "nowhere" in capsys.readouterr().err


def test_eval_writes_results_and_a_report(folder: Path) -> None:
    command = (
        f"eval {folder}/policy --tasks faucet-close --episodes 1 --workers 1 --films 1 "
        f"--out {folder}/evaluation"
    )
    assert main(command.split()) == 0
    results = json.loads((folder / "evaluation" / "results.json").read_text())
    assert results["protocol"] == "metaworld-v2"
    assert results["tasks"]["faucet-close"]["episodes"] == 1
    page = (folder / "evaluation" / "report.html").read_text()
    assert "faucet-close" in page
    assert "data:video/mp4;base64," in page


def test_eval_refuses_seeds_of_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"eval {folder}/policy --tasks reach --seed 5 --out {folder}/refused"
    assert main(command.split()) == 2
    assert "--seed 5" in capsys.readouterr().err


def test_play_films_the_released_policy_that_pulls_the_drawer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start and a sentence that it was not trained on."""
    command = ["play", "mt50", "--task", "drawer-open", "--seed", "10000", "--size", "160"]
    told, film = "pull the drawer towards you", tmp_path / "film.mp4"
    assert main([*command, "--instruction", told, "--out", str(film)]) == 0
    assert ": success after" in " ".join(capsys.readouterr().out.split())
    assert film.stat().st_size > 1000


def test_demo_goes_all_the_way_and_is_done_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task, _ in SHOWN:
        METAWORLD.check_task(task)
    monkeypatch.setattr("eyehand.runs.demo.SHOWN", SHOWN[:1])  # `play` films a released policy too
    monkeypatch.setattr("eyehand.runs.demo.PlayConfig", partial(PlayConfig, size=160))
    monkeypatch.setattr("eyehand.evaluation.protocol.make_films", lambda *_: [])
    command = (
        f"demo --tasks faucet-close --demonstrations 1 --minutes 0.02 --episodes 1 --workers 1 "
        f"--out {tmp_path}/demo"
    )
    assert main(command.split()) == 0
    report = tmp_path / "demo" / "evaluation" / "report.html"
    weights = (tmp_path / "demo" / "policy" / "model.safetensors").read_bytes()
    assert report.exists()
    shown = sorted(film.name for film in (tmp_path / "demo" / "released").iterdir())
    assert shown == ["1-drawer-open.mp4"]
    assert main(command.split()) == 0
    assert (tmp_path / "demo" / "policy" / "model.safetensors").read_bytes() == weights


def test_doctor_passes_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--only", "python"]) == 0
    assert "Python" in capsys.readouterr().out
