"""The benchmark of the tabular methods, a little of each part: tables, curves and pictures."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import grid_world
from benchmarks.svg_charts import grid_panels, line_chart


def texts(picture: str) -> list[str]:
    return [
        one.text or "" for one in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_a_method_is_measured_against_its_own_answer() -> None:
    method = grid_world.METHODS["TD(0)"]
    short = replace(method, config=replace(method.config, episodes=20))
    measured = grid_world.measure(short, seeds=(0, 1))
    assert measured.steps == 2000
    assert len(set(measured.errors)) == 2
    steps, errors = measured.curve
    assert list(steps) == sorted(set(steps))
    assert errors[-1] < errors[0]
    assert abs(measured.table - grid_world.PREDICTED).max() == measured.errors[0]
    row = grid_world.learnt({"TD(0)": measured}).splitlines()[-1]
    assert row.startswith("| TD(0) | uniform | 1 / n^0.6 | ")
    assert " 2,000 |" in row


def test_the_page_says_what_the_book_prints() -> None:
    page = grid_world.page({}, ["| a |"], "and so on.")
    assert "5.8 5.6 6.2 6.5 5.8, target 10.0" in page
    assert "3.5 3.9 4.3 4.8 5.3, target 10.0" in page
    assert "| policy iteration, exact |" in page


@pytest.mark.parametrize("log", [(False, False), (True, True)])
def test_lines_are_drawn_inside_their_axes(log: tuple[bool, bool]) -> None:
    lines = {"a < b": ([1, 10, 100], [0.5, 5.0, 50.0]), "c": ([1, 100], [50.0, 0.5])}
    picture = line_chart(lines, title="T", labels=("x", "y"), log=log)
    assert {"a < b", "c", "T", "x", "y"} <= set(texts(picture))
    drawn = ET.fromstring(picture).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(drawn) == 2
    points = drawn[0].attrib["points"].replace(",", " ").split()
    places = np.array([float(number) for number in points]).reshape(-1, 2)
    assert (np.diff(places[:, 0]) > 0).all()
    assert (np.diff(places[:, 1]) < 0).all()  # up is up
    assert (abs(np.diff(places[:, 0], n=2)) < 0.2).all() == log[0]  # decades lie as far apart


def test_panels_show_every_cell() -> None:
    values, actions = np.arange(6.0).reshape(2, 3), np.array([[0, 1, 2], [3, 4, 4]])
    picture = grid_panels(
        {"one": (values, actions), "two": (-values, actions)}, forbidden=[(0, 0)], target=(1, 2)
    )
    assert set(texts(picture)) >= {"one", "two", "5.0", "-5.0"}
    assert picture.count('class="cell forbidden"') == picture.count('class="cell target"') == 2
    assert picture.count("<circle") == 4


def test_step_sizes_are_told_apart() -> None:
    lines = grid_world.step_size_lines(1000, 100)
    last = {name: errors[-1] for name, (_, errors) in lines.items()}
    assert last["1/k"] < last["1/k^0.7"] < last["constant, 0.1"] < last["1/k^2, half of it"]
