import json
from pathlib import Path

import pytest

from eyehand.cli import main


def test_the_command_goes_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["classify", "lenet5", "--data", "digits", "--out", str(tmp_path / "run")]
    flags = ["--training.precision", "fp32", "--training.ema-decay", "0.9", "--random-shift", "0"]
    flags += ["--training.learning-rate", "0.004", "--batch-size", "48"]
    assert main([*arguments, "--steps", "60", *flags]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["accuracy"] > 0.8
    assert results["interval"][0] < results["accuracy"] < results["interval"][1]
    assert sum(map(sum, results["confusion"])) == results["test_pictures"] == 360
    shown = capsys.readouterr().out
    assert f"{results['accuracy']:.2%} right of 360 pictures" in shown
    assert main([*arguments, "--steps", "60"]) == 2
    assert "holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lenet6", "--data", "digits"], "no network 'lenet6'. Did you mean 'lenet5'?"),
        (["unet", "--data", "digits"], "no network 'unet'"),
        (["lenet5", "--data", "digits", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["lenet5", "--data", "digits", "--random-shift", "-1"], "--random-shift must be at least"),
        (["lenet5", "--data", "digits", "--image-size", "0"], "--image-size must be at least 1"),
        (["lenet5", "--data", "digit"], "Did you mean 'digits'?"),
        (["lenet5", "--data", "digits", "--random-shift", "8"], "can be shifted by 7 at most"),
        (["lenet5", "--data", "digits", "--batch-size", "2000"], "more than the 1437 there are"),
        (["resnet18", "--data", "digits", "--batch-size", "1"], "--batch-size must be at least 2"),
        (["vgg11", "--data", "digits", "--image-size", "16"], "vgg11 cannot read pictures of 16"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", *arguments, "--out", str(tmp_path / "run")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_none_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["classify", "lenet5", "--data", "digits", "--steps", "1"]
    (tmp_path / "file").touch()
    assert main([*arguments, "--out", str(tmp_path / "file")]) == 2
    assert "file is no folder" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{bad")
    assert main([*arguments, "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert "config.json cannot be read" in capsys.readouterr().err
