"""The page of a data set shows what is in the data set, and opens without server or network."""

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyehand.cli import main
from eyehand.data.lerobot import Dataset
from eyehand.data.video import decode_video
from eyehand.data.writer import DatasetWriter
from eyehand.runs.look import (
    BrowserConfig,
    choose_episodes,
    write_browser,
)
from eyehand.runs.look_figures import group_episodes
from eyehand.types import Episode

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def page(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_browser(BrowserConfig(boxes, out=tmp_path_factory.mktemp("page")))


@pytest.fixture(scope="module")
def found(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((page.parent / "look.json").read_text())
    return found


def test_a_film_shows_every_second_frame_of_its_episode(
    page: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    shown = {episode["index"]: episode for episode in found["shown"]}
    assert list(shown) == [0, 1, 3]  # two of each task
    name = shown[1]["films"]["top"]
    assert (shown[1]["stride"], shown[1]["film_fps"], shown[1]["speed"]) == (2, 30, 1)
    film = [p for _, p in decode_video(page.parent / f"films/{name}.mp4", fps=30)]
    assert film[0].shape == (64, 96, 3)
    assert [p.mean() for p in film] == pytest.approx([8 * k for k in range(15)], abs=3)
    with Image.open(page.parent / f"films/{name}.jpg") as poster:
        assert poster.size == (96, 64)
    assert len(shown[1]["points"]) == 15
    assert len(list((page.parent / "films").iterdir())) == 6


def test_the_page_names_no_other_place_and_escapes_what_it_is_given(page: Path) -> None:
    text = page.read_text()
    assert "<b onclick" not in text
    assert not re.findall(r"""(?:src|href)=["']?(?!films/|look\.json)[^"'\s>]+""", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "never changes" in text  # the third number of the state


def test_each_task_is_shown_before_one_is_shown_twice(boxes: Path) -> None:
    groups = group_episodes(Dataset(boxes))
    assert [row.index for row in choose_episodes(groups, each=3, most=3)] == [0, 1, 3]
    assert [row.index for row in choose_episodes(groups, each=9, most=9)] == [0, 1, 2, 3]


def test_a_page_replaces_an_earlier_page_and_nothing_else(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    assert main(["look", str(boxes), "--out", str(out)]) == 0
    assert f"open {out / 'index.html'} in a browser" in capsys.readouterr().out
    assert main(["look", str(boxes), "--out", str(out), "--most", "1"]) == 0
    assert len(list((out / "films").iterdir())) == 2
    (out / "notes.txt").write_text("mine")
    assert main(["look", str(boxes), "--out", str(out)]) == 2
    assert "holds something else (notes.txt)" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["nothing", "film", "flag"])
def test_what_cannot_be_shown_is_one_sentence_and_exit_code_2(
    broken: str, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    if broken != "nothing":
        shutil.copytree(boxes, folder)
    if broken == "film":
        (film,) = folder.rglob("*.mp4")
        film.write_bytes(film.read_bytes()[:500])
    flags = ["--episodes", "0"] if broken == "flag" else []
    assert main(["look", str(folder), "--out", str(tmp_path / "page"), *flags]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("eyehand: ")]
    (sentence,) = said
    expected = {
        "nothing": "is not a LeRobot data set",
        "film": "file-000.mp4",
        "flag": "--episodes",
    }
    assert expected[broken] in sentence


@pytest.mark.skipif(find_spec("rerun") is None, reason="rerun is not installed: make extras")
def test_a_recording_holds_every_frame_of_what_is_shown(boxes: Path, tmp_path: Path) -> None:
    from rerun.chunk import RrdReader

    file = tmp_path / "new" / "seen.rrd"
    write_browser(BrowserConfig(boxes, out=tmp_path / "page", most=1, rerun=file))
    counts: dict[str, int] = {}
    for chunk in RrdReader(str(file)).stream():
        if chunk.timeline_names:
            counts[chunk.entity_path] = counts.get(chunk.entity_path, 0) + chunk.num_rows
    names = ("sentence", "observation.state", "action", "reward", "top", "top/landmarks")
    assert {p: n for p, n in counts.items() if "episode" in p} == {
        f"/episode_000000/{name}": 9 for name in names
    }


@pytest.mark.skipif(
    BROWSER is None or find_spec("playwright") is None, reason="there is no browser: make extras"
)
def test_landmarks_and_curves_follow_the_film(page: Path) -> None:
    from playwright.sync_api import sync_playwright

    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 400, "height": 800})
        shown.on("pageerror", lambda error: problems.append(str(error)))
        shown.on("requestfailed", lambda request: problems.append(request.url))
        shown.goto(page.as_uri())
        assert shown.evaluate("document.documentElement.scrollWidth") <= 400
        second = shown.locator(".episode").nth(1)
        circles = second.locator("circle")
        assert circles.count() == 1  # the other landmark is above the picture
        assert [circles.get_attribute(name) for name in ("cx", "cy")] == ["-0.5", "0.5"]
        drawn = second.locator(".curve").first
        box = drawn.bounding_box()
        assert box is not None
        drawn.click(position={"x": box["width"] / 2, "y": 5})
        shown.wait_for_function(
            "document.querySelectorAll('.episode')[1].querySelector('video').currentTime > 0.2"
        )
        assert float(second.locator(".now").first.get_attribute("x1") or 0) == pytest.approx(
            150, abs=10
        )
        shown.fill("#filter", "onclick")
        assert shown.locator(".task:visible h3").all_inner_texts() == ["put"]
        browser.close()
    assert problems == []


def test_plain_video_without_words_has_a_page(tmp_path: Path) -> None:
    film = np.zeros((1, 16, 16, 3), np.uint8)
    nothing = np.zeros((1, 0), np.float32)
    with DatasetWriter(
        tmp_path / "video",
        fps=10,
        image_shapes={"left": (16, 16), "right": (16, 16)},
        state_dim=0,
        action_dim=0,
        robot="",
    ) as writer:
        writer.add(Episode({"left": film, "right": film}, nothing, nothing, "", "", -1))
    page = write_browser(BrowserConfig(tmp_path / "video", out=tmp_path / "page"))
    text = page.read_text()
    assert "(no sentence)" in text
    assert "<h2>Numbers</h2>" not in text
    assert text.count("<video") == 2
