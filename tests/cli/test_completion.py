"""The completion script completes, in bash itself."""

import shutil
import subprocess

import pytest

from eyehand.cli import COMPLETION, main
from eyehand.cli.completion import completion

ASK = """
source /dev/stdin
COMP_WORDS=(%s ""); COMP_WORDS[-1]=%r; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_tyro_eyehand; printf '%%s\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_verbs_recipes_flags_and_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyehand.cli.completion.RECIPES", ["bcz-metaworld"])
    script = completion("bash", ["doctor", "train", "serve"])
    assert "complete -F _tyro_eyehand eyehand" in script
    for words, last, expected in (
        ("eyehand", "d", {"doctor"}),
        ("eyehand doctor", "--on", {"--only"}),
        ("eyehand doctor --only", "gr", {"graphics"}),
        ("eyehand train", "bcz-me", {"bcz-metaworld"}),
        ("eyehand train bcz-metaworld", "--mi", {"--minutes"}),
    ):
        command = ["bash", "-c", ASK % (words, last)]
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == expected, (words, last, done.stderr)


def test_the_flag_stands_where_a_verb_would_and_never_prints_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EYEHAND_TOKEN", "hush-hush")
    monkeypatch.setattr("eyehand.cli.completion.VERBS", ["serve"])
    assert main([COMPLETION, "zsh"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("#compdef eyehand")
    assert "--most-clients" in said
    assert "hush-hush" not in said
    assert main([COMPLETION, "csh"]) == 2
    assert "takes bash or zsh. Got 'csh'" in capsys.readouterr().err
