"""The page holds all in one file, well-formed, and nothing in it runs that came from outside."""

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from eyehand.inspection.costs import measure_costs
from eyehand.inspection.findings import Finding, Place
from eyehand.inspection.page import html_page
from eyehand.inspection.tables import Figure, Inspection

EVIL = '<script>alert("1")</script>&'
VOID = {"meta", "img"}


@pytest.fixture(scope="module")
def found() -> Inspection:
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    model = nn.Sequential(nn.Linear(3, 2))
    return Inspection(
        name=EVIL,
        facts={EVIL: EVIL},
        costs=measure_costs(model, (torch.zeros(4, 3),), repeats=1),
        maps=(),
        activations=None,
        findings=(
            Finding(EVIL, EVIL, (Place(EVIL, EVIL),)),
            Finding("Dead units", "Do this.", (Place("", "text"),)),
            Finding("Gridding", "Nothing to do."),
        ),
        figures=(Figure(EVIL, EVIL, picture),),
    )


class Nesting(HTMLParser):
    """Fails where an end tag closes another element than the innermost."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_links_nothing(found: Inspection) -> None:
    page = html_page(found)
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []
    assert all(link.startswith("data:image/png;base64,") for link in parser.links)
    assert "http" not in page
    assert "@import" not in page


def test_all_text_is_escaped(found: Inspection) -> None:
    page = html_page(found)
    assert EVIL not in page
    assert page.count("<script>") == 1
    assert page.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&amp;") >= 9


def test_pictures_are_in_the_page_and_small_ones_are_enlarged(found: Inspection) -> None:
    page = html_page(found)
    (data,) = re.findall(r"base64,([^\"]+)", page)
    shown = np.asarray(Image.open(BytesIO(b64decode(data))))
    assert (shown == found.figures[0].picture).all()
    assert f"width:{320 // 7 * 7}px" in page


def test_a_finding_has_a_verdict_a_name_and_what_to_do(found: Inspection) -> None:
    page = html_page(found)
    assert '<h3><span class="look">look here</span> Dead units</h3>\n<p>Do this.</p>' in page
    assert "<li><code>(network)</code> text</li>" in page
    ok = '<dt><span class="ok">ok</span> Gridding</dt><dd>Nothing to do.</dd>'
    assert ok in page
    assert ok not in html_page(replace(found, findings=found.findings[:2]))


def test_bars_are_the_shares(found: Inspection) -> None:
    page = html_page(found)
    for group in found.costs.groups:
        assert f'<i class="forward" style="width:{100 * group.forward_share:.2f}%">' in page
