import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyehand.cli import main
from eyehand.runs import inspect
from eyehand.runs.inspect import InspectConfig, inspect_model


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not measure this machine for every inspection."""
    monkeypatch.setattr(inspect, "matrix_multiply_peak", lambda precision: 1e11)
    monkeypatch.setattr(inspect, "memory_bandwidth", lambda: 1e10)


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
        "The picture", "Filters", "Input gradient", "Activations", "What one cell sees",
        "Nearest patches",
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
    ((layer, text),) = found.findings[0].places  # told once
    assert (layer, found.findings[0].verdict) == ("2", "look here")
    assert "the forward pass stopped" in text
    assert "cannot be multiplied" in text
    assert [figure.title for figure in found.figures] == ["The picture", "Filters"]


BLOCKS = """
from torch import nn
class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3, padding=1)
    def forward(self, x):
        x = self.convolution(x)
        return nn.functional.max_pool2d(x, 2), x
class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).mean(dim=(1, 2))
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.pooled, self.last = nn.Conv2d(3, 4, 3), Pooled(), ChannelsLast()
        self.unused = nn.Conv2d(4, 4, 3)
    def forward(self, x):
        x = self.stem(self.stem(x)[:, :3])
        return self.last(self.pooled(x)[0])
"""


def test_the_map_that_is_drawn_is_the_one_that_is_framed(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first output of the first call; channels in the last place make no map."""
    (tmp_path / "blocks.py").write_text(BLOCKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = InspectConfig(image=picture, image_size=24, batch=2)

    def cell(layer: str | None) -> str:
        found = inspect_model("blocks:Network", replace(config, layer=layer))
        shown = {figure.title: figure.caption for figure in found.figures}
        return shown.get("What one cell sees", found.facts.get("not drawn", ""))

    assert "middle cell of pooled. Frame: the pixels that it can see, 8 x 8" in cell(None)
    assert "middle cell of stem. Frame: the pixels that it can see, 3 x 3" in cell("stem")
    assert "last.norm returns no map (batch, channel, height, width)" in cell("last.norm")
    assert "What unused returned on this picture is not known" in cell("unused")


def test_a_policy_is_seen_by_the_names_of_its_own_layers(picture: Path) -> None:
    found = inspect_model("bcz", InspectConfig(image=picture, batch=2, layer="encoder.to_middle"))
    sizes = {seen.layer: seen.height.size for seen in found.maps if seen.height is not None}
    assert (sizes["encoder.stem"], sizes["encoder.to_coarse"]) == (4, 28)
    rows = {layer.name for layer in found.costs.layers}
    assert {"encoder.stem", "film.to_scale_shift"} <= rows
    shown = {figure.title: figure.caption for figure in found.figures}
    assert "12 x 12" in shown["What one cell sees"]
    assert "encoder.to_middle" in shown["What one cell sees"]
    assert list(shown) == [
        "The picture", "Filters", "Input gradient", "Activations", "What one cell sees",
    ]  # fmt: skip


def test_the_command_prints_a_table_and_writes_one_page(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "page.html"
    arguments = ["inspect", "lenet5", "--image", str(picture), "--batch", "2", "--out", str(page)]
    assert main(arguments) == 0
    assert "60,850" in capsys.readouterr().out
    html = page.read_text()
    assert "60,850" in html
    assert html.count("data:image/png;base64,") == 5
    assert 'src="http' not in html  # nothing is fetched from anywhere


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lenet5", "--layer", "c9"], "has no layer 'c9'. There are: "),
        (["lenet5", "--batch", "0"], "--batch must be 1 to 100,000; got 0"),
        (["lenet5", "--image", "nowhere.png"], "nowhere.png cannot be read as a picture"),
        (["lenet5", "--out", "."], "is a folder"),
        (
            ["lenet5", "--out", "picture.png/page.html"],
            "a part of this path is a file and not a folder",
        ),
        (["no[/b]:build"], "no[/b]:build cannot be made"),
        (["lenet5", "--image", "words.png"], "words.png cannot be read as a picture"),
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
    (tmp_path / "words.png").write_text("no picture")
    image = [] if "--image" in arguments else ["--image", str(picture)]
    assert main(["inspect", *arguments, *image]) == 2
    assert sentence in capsys.readouterr().err.replace("\n", " ")


def test_robot_scenes_are_the_pictures_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def scenes(
        suite: object, tasks: Sequence[str], **settings: Any
    ) -> Iterator[tuple[np.ndarray, None]]:
        asked.append((tasks, settings))
        for number in range(len(tasks) * len(settings["seeds"])):
            yield np.full((32, 32, 3), 10 * number, np.uint8), None

    monkeypatch.setattr(inspect, "scene_masks", scenes)
    found = inspect_model("lenet5", InspectConfig(batch=6))
    assert found.facts["pictures"] == "robot scenes"
    assert asked[0][1]["seeds"] == range(10_000, 10_002)
    assert found.costs.batch == 6


@pytest.mark.slow
def test_a_trained_network_is_inspected_with_its_own_weights(tmp_path: Path, picture: Path) -> None:
    out = str(tmp_path / "run")
    assert main(["classify", "lenet5", "--data", "digits", "--steps", "1", "--out", out]) == 0
    found = inspect_model(out, InspectConfig(image=picture, batch=2))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found.costs.parameters == results["parameters"]
