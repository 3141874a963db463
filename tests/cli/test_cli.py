"""The command line: help, exit codes, nearest names."""

import subprocess
import sys
from contextlib import suppress

import pytest

from eyehand.cli import VERBS, main


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
            "no task 'drawer-opn'. Did you mean 'drawer-open'?",
        ),
        (["eval", "no-such-folder", "--out", "nowhere"], "no-such-folder"),
        (["play", "no-such-folder", "--task", "reach"], "no-such-folder"),
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
