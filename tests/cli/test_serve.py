"""The token of a server or page: taken from the environment, and never printed."""

from importlib import import_module
from typing import Any

import pytest

from eyehand.cli import main

STARTERS = {"serve": "serve_checkpoint", "live": "show_live"}
"""What each verb calls with the checkpoint and the config."""


@pytest.mark.parametrize("verb", STARTERS)
def test_no_text_shows_the_token_of_the_environment(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EYEHAND_TOKEN", "hush-hush")
    for mistake in (["--help"], ["--prot", "1"], ["--port", "x"], ["--token"]):
        with pytest.raises(SystemExit):
            main([verb, "mt50", *mistake])
    said = capsys.readouterr()
    assert "--token" in said.out
    assert "hush-hush" not in said.out + said.err


@pytest.mark.parametrize("verb", STARTERS)
def test_the_token_comes_from_the_environment_unless_it_is_given(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(
        import_module(f"eyehand.cli.{verb}"),
        STARTERS[verb],
        lambda _, config: started.append(config),
    )
    monkeypatch.setenv("EYEHAND_TOKEN", "-of the environment")
    assert main([verb, "mt50", "--host", "0.0.0.0"]) == 0
    assert main([verb, "mt50", "--token", "given"]) == 0
    monkeypatch.delenv("EYEHAND_TOKEN")
    assert main([verb, "mt50"]) == 0
    assert [config.token for config in started] == ["-of the environment", "given", None]
