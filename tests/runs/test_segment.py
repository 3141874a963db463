import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyehand.envs.metaworld import MASK_CLASSES, METAWORLD
from eyehand.envs.suite import Suite
from eyehand.models.vision import unet
from eyehand.runs import segment as module
from eyehand.runs.segment import SegmentConfig, segment
from eyehand.training.config import TrainConfig
from eyehand.types import InputError


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A U-Net of 0.1 instead of 31 million parameters."""
    monkeypatch.setattr(unet, "unet", partial(unet.UNet, dim=4))


def config(steps: int, **changes: Any) -> SegmentConfig:
    training = TrainConfig(steps=steps, precision="fp32", ema_decay=0.0, learning_rate=0.1)
    small = {"tasks": "reach,push", "image_size": 16, "pictures": 2, "test_pictures": 3}
    return SegmentConfig(**{"training": training, "batch_size": 2, **small, **changes})


def scenes(
    suite: Suite, tasks: Sequence[str], *, seeds: range, image_size: int, camera: str
) -> Iterator[Any]:
    """Stripes of the five classes, each of a grey of its own, in the place of robot scenes."""
    for _ in tasks:
        for seed in seeds:
            first = np.random.default_rng(seed).integers(5)
            mask = (np.arange(image_size) * 5 // image_size + first) % 5
            mask = np.repeat(mask.astype(np.uint8)[:, None], image_size, axis=1)
            yield np.repeat(50 * mask[..., None], 3, axis=2), mask


def test_a_run_measures_what_it_never_saw_and_draws_its_pictures_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "scene_masks", scenes)
    out = tmp_path / "run"
    results = segment("unet", config(1), out, resume=False)
    assert results == json.loads((out / "results.json").read_text())
    assert results["test_pictures"] == 6
    assert results["seeds"] == [1_000_000, 1_000_002]
    assert sum(map(sum, results["confusion"])) == 6 * 16 * 16
    assert set(results["iou"]) == set(MASK_CLASSES)
    assert 0 < results["mean_iou"] <= 1
    drawing = Image.open(out / "masks.png")
    assert drawing.size == (2 * 3 * 16, 2 * 6 * 16)
    first = next(
        scenes(METAWORLD, ["a"], seeds=range(1_000_000, 1_000_001), image_size=16, camera="")
    )
    there = module.COLOURS[first[1][0, 0]]
    np.testing.assert_array_equal(np.asarray(drawing)[0, 2 * 16], there)

    monkeypatch.setattr(module, "scene_masks", None)  # the pictures are there already
    assert segment("unet", config(2), out, resume=True)["steps"] == 2
    whole = (out / "test.npz").read_bytes()
    np.savez(out / "others.npz", mine=np.arange(3))
    damaged = whole[: len(whole) // 2] + bytes(20) + whole[len(whole) // 2 + 20 :]
    for content in (whole[:200], damaged, b"", (out / "others.npz").read_bytes()):
        (out / "test.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"test\.npz is damaged, or not eyehand"):
            segment("unet", config(2), out, resume=True)
        assert (out / "test.npz").read_bytes() == content
    (out / "test.npz").write_bytes(whole)
    with pytest.raises(InputError, match="has pictures of another run"):
        segment("unet", config(2, tasks="reach"), out, resume=True)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("unett", {}, r"no dense network 'unett'\. Did you mean 'unet'"),
        ("resnet18", {}, "no dense network 'resnet18'"),
        ("unet", {"image_size": 90}, "unet cannot read pictures of 90 pixels"),
        ("unet", {"pictures": 0}, "--pictures must be 1 to 1,000,000; got 0"),
        ("unet", {"tasks": "reech"}, "Did you mean 'reach'"),
    ],
)
def test_mistakes_are_found_before_anything_is_drawn(
    name: str,
    changes: dict[str, Any],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "scene_masks", None)
    with pytest.raises(InputError, match=sentence):
        segment(name, config(1, **changes), tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is no folder"):
        segment("unet", config(1), tmp_path / "file", resume=False)


def test_a_folder_of_something_else_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "scene_masks", None)
    (tmp_path / "meta").mkdir()
    with pytest.raises(InputError, match="holds meta and no run"):
        segment("unet", config(1), tmp_path, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["meta"]


def test_a_class_that_is_nowhere_has_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is of the first class, and is taken for it."""

    def plain(suite: Suite, tasks: Sequence[str], *, seeds: range, **_: Any) -> Iterator[Any]:
        for _ in seeds:
            yield np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)

    monkeypatch.setattr(module, "scene_masks", plain)
    segment("unet", config(30, tasks="reach"), tmp_path, resume=False)
    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["iou"] == {MASK_CLASSES[0]: 1.0} | dict.fromkeys(MASK_CLASSES[1:])
