import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyehand.cli import main
from eyehand.envs.metaworld import MASK_CLASSES
from eyehand.runs import segment


def scenes(
    suite: Any, tasks: Sequence[str], *, seeds: range, image_size: int, camera: str
) -> Iterator[Any]:
    """Stripes of the five classes, each of a grey of its own, in the place of robot scenes."""
    for _ in tasks:
        for seed in seeds:
            first = np.random.default_rng(seed).integers(5)
            mask = (np.arange(image_size) * 5 // image_size + first) % 5
            mask = np.repeat(mask.astype(np.uint8)[:, None], image_size, axis=1)
            yield np.repeat(50 * mask[..., None], 3, axis=2), mask


def test_the_command_goes_all_the_way_and_draws_its_pictures_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(segment, "scene_masks", scenes)
    out = tmp_path / "run"
    arguments = ["segment", "unet", "--tasks", "reach,push", "--pictures", "2", "--out", str(out)]
    arguments += ["--test-pictures", "3", "--image-size", "16", "--batch-size", "2"]
    arguments += ["--training.precision", "fp32", "--training.ema-decay", "0"]
    assert main([*arguments, "--steps", "1"]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["test_pictures"] == 6
    assert results["seeds"] == [1_000_000, 1_000_002]
    assert sum(map(sum, results["confusion"])) == 6 * 16 * 16
    assert set(results["iou"]) == set(MASK_CLASSES)
    assert 0 < results["mean_iou"] <= 1
    drawing = Image.open(out / "masks.png")
    assert drawing.size == (2 * 3 * 16, 2 * 6 * 16)
    first = next(scenes(None, ["a"], seeds=range(1_000_000, 1_000_001), image_size=16, camera=""))
    there = segment.COLOURS[first[1][0, 0]]
    np.testing.assert_array_equal(np.asarray(drawing)[0, 2 * 16], there)
    assert "mean iou" in capsys.readouterr().out

    monkeypatch.setattr(segment, "scene_masks", None)  # the pictures are there already
    assert main([*arguments, "--steps", "2", "--resume"]) == 0
    whole = (out / "test.npz").read_bytes()
    np.savez(out / "others.npz", mine=np.arange(3))
    damaged = whole[: len(whole) // 2] + bytes(20) + whole[len(whole) // 2 + 20 :]
    for content in (whole[:200], damaged, b"", (out / "others.npz").read_bytes()):
        (out / "test.npz").write_bytes(content)
        assert main([*arguments, "--steps", "2", "--resume"]) == 2
        assert "test.npz is damaged, or none of ours" in capsys.readouterr().err
        assert (out / "test.npz").read_bytes() == content
    (out / "test.npz").write_bytes(whole)
    arguments[arguments.index("reach,push")] = "reach"
    assert main([*arguments, "--steps", "3", "--resume"]) == 2
    assert "holds pictures of another run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["unett"], "no dense network 'unett'. Did you mean 'unet'?"),
        (["resnet18"], "no dense network 'resnet18'"),
        (["unet", "--image-size", "90"], "unet cannot read pictures of 90 pixels"),
        (["unet", "--pictures", "0"], "--pictures must be at least 1; got 0"),
        (["unet", "--tasks", "reech"], "Did you mean 'reach'?"),
        (["unet", "--out", "file"], "file is no folder"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_drawn(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(segment, "scene_masks", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["segment", "--out", str(tmp_path / "run"), *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_class_that_is_nowhere_has_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores start at zero, so that everything is taken for the first class."""

    def plain(
        suite: Any, tasks: Sequence[str], *, seeds: range, image_size: int, camera: str
    ) -> Iterator[Any]:
        for _ in seeds:
            yield np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)

    monkeypatch.setattr(segment, "scene_masks", plain)
    out = tmp_path / "run"
    arguments = ["segment", "unet", "--tasks", "reach", "--pictures", "2", "--out", str(out)]
    arguments += ["--test-pictures", "2", "--image-size", "32", "--batch-size", "2"]
    arguments += ["--training.precision", "fp32", "--training.learning-rate", "0.01"]
    assert main([*arguments, "--steps", "12"]) == 0
    results = json.loads((out / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["iou"] == {MASK_CLASSES[0]: 1.0} | dict.fromkeys(MASK_CLASSES[1:])
    assert "-" in capsys.readouterr().out
