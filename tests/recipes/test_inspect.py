import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyehand.cli import main
from eyehand.recipes import inspect
from eyehand.recipes.inspect import InspectConfig, inspect_model


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_network_is_seen_whole(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny_network.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    ending = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)]\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *ending)\n"
    )
    monkeypatch.chdir(tmp_path)
    config = InspectConfig(image=picture, image_size=24, batch=2, data="digits")
    found = inspect_model("tiny_network:build", config)
    assert found.costs.parameters == 112 + 50
    titles = [figure.title for figure in found.figures]
    assert titles == [
        "The picture", "Filters", "Saliency", "Class activation map", "Activations",
        "What one cell sees", "What excites a unit", "Nearest patches",
    ]  # fmt: skip
    assert found.activations is not None
    assert "not drawn" not in found.facts


def test_a_network_that_does_not_run_is_told_as_far_as_it_ran(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_network.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(5, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    found = inspect_model("broken_network:build", InspectConfig(image=picture, image_size=8))
    assert found.costs.layers[0].calls == 1
    assert found.maps == ()
    assert found.findings[0].layer == "2"
    assert "cannot be multiplied" in found.findings[0].message
    assert [figure.title for figure in found.figures] == ["The picture", "Filters"]


def test_a_policy_is_seen_by_the_names_of_its_own_layers(picture: Path) -> None:
    found = inspect_model("bcz", InspectConfig(image=picture, batch=2, layer="encoder.to_middle"))
    sizes = {seen.layer: seen.height.size for seen in found.maps if seen.height is not None}
    assert (sizes["encoder.stem"], sizes["encoder.to_coarse"]) == (4, 28)
    rows = {layer.name for layer in found.costs.layers}
    assert {"encoder.stem", "film.to_scale_shift"} <= rows
    shown = {figure.title: figure.caption for figure in found.figures}
    assert "12 x 12" in shown["What one cell sees"]
    assert "encoder.to_middle" in shown["What one cell sees"]
    assert "Class activation map" not in shown
    assert "Class activation map" in found.facts["not drawn"]


def test_the_command_prints_a_table_and_writes_one_page(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "page.html"
    arguments = ["inspect", "lenet5", "--image", str(picture), "--batch", "2", "--out", str(page)]
    assert main(arguments) == 0
    assert "60,850" in capsys.readouterr().out
    html = page.read_text()
    assert "60,850" in html
    assert html.count("data:image/png;base64,") >= 5
    assert 'src="http' not in html  # nothing is fetched from anywhere


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lenet5", "--layer", "c9"], "has no layer 'c9'. Did you mean"),
        (["lenet5", "--batch", "0"], "--batch must be at least 1; got 0"),
        (["lenet5", "--image", "nowhere.png"], "nowhere.png cannot be read as a picture"),
        (["lenet5", "--out", "."], "is a folder"),
        (["lenet6"], "Did you mean 'lenet5'?"),
        (["lenet5", "--data", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str],
    sentence: str,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    image = [] if "--image" in arguments else ["--image", str(picture)]
    assert main(["inspect", *arguments, *image]) == 2
    assert sentence in capsys.readouterr().err.replace("\n", " ")


def test_robot_scenes_are_the_pictures_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def scenes(tasks: Sequence[str], **settings: Any) -> Iterator[tuple[np.ndarray, None]]:
        asked.append((tasks, settings))
        for number in range(len(tasks) * len(settings["seeds"])):
            yield np.full((32, 32, 3), 10 * number, np.uint8), None

    monkeypatch.setattr(inspect, "scene_masks", scenes)
    found = inspect_model("lenet5", InspectConfig(batch=6))
    assert found.facts["pictures"] == "robot scenes"
    assert asked[0][1]["seeds"] == range(10_000, 10_002)
    assert found.costs.batch == 6


def test_a_trained_network_is_inspected_with_its_own_weights(tmp_path: Path, picture: Path) -> None:
    out = str(tmp_path / "run")
    assert main(["classify", "lenet5", "--data", "digits", "--steps", "1", "--out", out]) == 0
    found = inspect_model(out, InspectConfig(image=picture, batch=2))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found.costs.parameters == results["parameters"]
