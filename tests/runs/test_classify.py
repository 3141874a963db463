import json
from pathlib import Path
from typing import Any

import pytest

from eyehand.runs.classify import ClassifyConfig, classify
from eyehand.training.config import TrainConfig
from eyehand.types import InputError


def learning(steps: int) -> TrainConfig:
    return TrainConfig(steps=steps, precision="fp32", ema_decay=0.8, learning_rate=4e-3)


def test_learns_digits_and_says_how_sure_that_is(tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = ClassifyConfig(data="digits", training=learning(30), batch_size=48, random_shift=0)
    results = classify("lenet5", config, out, resume=False)
    assert results == json.loads((out / "results.json").read_text())
    assert results["network"] == {
        "name": "lenet5", "classes": 10, "channels": 1, "image_size": 32
    }  # fmt: skip
    assert results["accuracy"] > 0.5
    assert results["interval"][0] < results["accuracy"] < results["interval"][1]
    assert sum(map(sum, results["confusion"])) == results["test_pictures"] == 360
    with pytest.raises(InputError, match="holds a run"):
        classify("lenet5", config, out, resume=False)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("lenet6", {}, "no classifier 'lenet6'. Did you mean 'lenet5'?"),
        ("unet", {}, "no classifier 'unet'"),
        ("lenet5", {"batch_size": 0}, "--batch-size must be 1 to"),
        ("lenet5", {"random_shift": -1}, "--random-shift must be 0 to"),
        ("lenet5", {"image_size": 0}, "--image-size must be 1 to 4,096"),
        ("lenet5", {"data": "digit"}, "Did you mean 'digits'"),
        ("lenet5", {"random_shift": 8}, "can be shifted by 7 at most"),
        ("lenet5", {"batch_size": 2000}, "more than the 1437 there are"),
        ("mobilenet", {"batch_size": 1}, "--batch-size must be at least 2"),
        ("alexnet", {"image_size": 32}, r"alexnet.* 67 pixels or more"),
        ("vit-tiny", {"image_size": 24}, r"vit-tiny.* multiple of `patch_size`"),
    ],
)
def test_mistakes_are_found_before_there_is_a_folder(
    name: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    def start(**changes: Any) -> None:
        classify(name, ClassifyConfig(**changes), tmp_path / "run", resume=False)

    with pytest.raises(InputError, match=sentence):
        start(**{"data": "digits", **changes})
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    config = ClassifyConfig(data="digits", training=learning(1))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is no folder"):
        classify("lenet5", config, tmp_path / "file", resume=False)
    (tmp_path / "config.json").write_text("{bad")
    with pytest.raises(InputError, match=r"config\.json is truncated or altered"):
        classify("lenet5", config, tmp_path, resume=True)
