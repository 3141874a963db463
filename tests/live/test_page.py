"""The live page in a real browser, with the released policy: everything that a visitor can do."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from eyehand.data.lerobot import Dataset
from eyehand.data.store import open_store

pytest.importorskip("playwright", reason="playwright is not installed: make extras")
from playwright.sync_api import Browser, Page, expect, sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
SLOW = 60_000
"""Longest wait for what a simulator and a policy do on a busy machine, milliseconds."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium: make extras")


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[str, int]]:
    """Run `eyehand live` as a user does; return its address and its process."""
    command = [sys.executable, "-c", "from eyehand.cli import main; main()", "live", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert found, said
        yield found[0], process.pid
        process.terminate()


@pytest.fixture(scope="module")
def address(live: tuple[str, int]) -> str:
    return live[0]


@pytest.fixture(scope="module")
def server(live: tuple[str, int]) -> int:
    return live[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A visitor's page; whatever goes wrong in it fails the test."""
    context = browser.new_context(viewport={"width": 1366, "height": 900}, accept_downloads=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    expect(page.locator("#steps")).to_contain_text("of 500", timeout=SLOW)
    yield page
    context.close()
    assert errors == []


def picture(page: Page, canvas: str) -> Any:
    return page.evaluate(f"document.getElementById('{canvas}').toDataURL()")


def start(page: Page, task: str, seed: int) -> None:
    page.locator("#task").select_option(task)
    page.locator("#seed").fill(str(seed))
    page.locator("#start button").click()
    expect(page.locator("#steps")).to_contain_text("step 0", timeout=SLOW)


def test_a_visitor_tells_the_robot_and_it_succeeds(page: Page) -> None:
    expect(page.locator("#driver")).to_have_text("you drive")
    start(page, "drawer-open", 1_000_003)
    before = picture(page, "view"), picture(page, "eye")
    page.keyboard.press("/")
    page.keyboard.type("pull the drawer towards you")
    page.keyboard.press("Enter")
    expect(page.locator("#coming")).to_contain_text("From the next plan on")
    page.locator("#speeds button[value='4']").click()
    page.locator("#run").click()
    expect(page.locator("#outcome")).to_contain_text(re.compile("success", re.I), timeout=SLOW)
    expect(page.locator("#successes")).to_have_text("1 of 1")
    expect(page.locator("#words")).to_contain_text("towards")
    assert picture(page, "view") != before[0]
    assert picture(page, "eye") != before[1]
    assert all(
        "ms" in page.locator(f"#{part}").inner_text() for part in ("perceive", "fuse", "act")
    )


def test_a_word_shows_where_it_looks(page: Page) -> None:
    start(page, "drawer-open", 1_000_000)
    page.keyboard.press("n")
    expect(page.locator("#steps")).not_to_contain_text("step 0", timeout=SLOW)
    empty = picture(page, "heat")
    page.keyboard.press("l")
    expect(page.locator("#look")).to_have_attribute("aria-pressed", "true")
    page.wait_for_function(
        "old => document.getElementById('heat').toDataURL() != old", arg=empty, timeout=SLOW
    )
    whole = picture(page, "heat")
    page.locator("#words button").nth(2).hover()
    page.wait_for_function(
        "old => document.getElementById('heat').toDataURL() != old", arg=whole, timeout=SLOW
    )


def test_pausing_stops_the_clock_and_a_person_can_take_over(page: Page, tmp_path: Path) -> None:
    start(page, "reach", 1_000_001)
    page.locator("#speeds button[value='1']").click()
    page.keyboard.press("p")
    page.wait_for_function(
        "() => parseInt(document.getElementById('steps').textContent.match(/\\d+/)[0]) > 8",
        timeout=SLOW,
    )
    page.keyboard.press("p")
    expect(page.locator("#run-label")).to_have_text("Run", timeout=SLOW)
    page.wait_for_timeout(500)
    stopped = page.locator("#steps").inner_text()
    page.wait_for_timeout(500)
    assert page.locator("#steps").inner_text() == stopped
    page.keyboard.press("t")
    expect(page.locator("#human")).to_have_attribute("aria-pressed", "true", timeout=SLOW)
    page.keyboard.down("ArrowLeft")
    page.keyboard.press("p")
    page.wait_for_timeout(1500)
    page.keyboard.up("ArrowLeft")
    page.keyboard.press("p")
    expect(page.locator("#run-label")).to_have_text("Run", timeout=SLOW)
    expect(page.locator("#correction")).to_have_attribute("href", "/correction.zip", timeout=SLOW)
    steps = int(re.findall(r"\d+", page.locator("#steps").inner_text())[0])
    for name, corrects in (("episode", False), ("correction", True)):
        with page.expect_download(timeout=SLOW) as download:
            page.locator(f"#{name}").click()
        file = tmp_path / f"{name}.zip"
        download.value.save_as(file)
        folder = tmp_path / name
        zipfile.ZipFile(file).extractall(folder)
        store = open_store(folder, image_size=96)
        assert len(store) == steps
        learnt = store.columns["action_mask"].sum() if corrects else steps
        assert (learnt < steps) == corrects
        assert len(Dataset(folder).episodes) == 1
    with page.expect_download(timeout=SLOW) as download:
        page.locator("#film").click()
    assert Path(download.value.path()).stat().st_size > 1000


def test_a_second_visitor_watches_and_a_dead_robot_is_begun_again(
    page: Page, browser: Browser, address: str, server: int
) -> None:
    second = browser.new_page()
    second.goto(address)
    expect(second.locator("#driver")).to_contain_text("drives: watching", timeout=SLOW)
    expect(second.locator("#run")).to_be_disabled()
    second.close()
    expect(page.locator("#visitors")).to_contain_text("1", timeout=SLOW)
    start(page, "reach", 1_000_001)
    page.keyboard.press("n")
    expect(page.locator("#steps")).not_to_contain_text("step 0", timeout=SLOW)
    page.evaluate("window.stillHere = true")
    robots = [
        child for child in psutil.Process(server).children() if "spawn_main" in str(child.cmdline())
    ]
    assert robots
    for robot in robots:
        robot.kill()
    expect(page.locator("#notes")).to_contain_text("died", timeout=SLOW)
    expect(page.locator("#steps")).to_contain_text("step 0", timeout=SLOW)
    page.keyboard.press("n")
    expect(page.locator("#steps")).not_to_contain_text("step 0", timeout=SLOW)
    assert page.evaluate("window.stillHere")
