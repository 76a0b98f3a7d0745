"""What a screen reader and a weak eye need: names for drawings, scopes, order of headings, contrast."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
import report_pages

from arena_ensemble.pipeline.ensemble import load_folder
from arena_ensemble.report import page

CSS = (files("arena_ensemble.report") / "templates" / "page.css").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Elements with their attributes, and the texts of headings."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [given for name, given in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    built = load_folder(report_pages.external(tmp_path_factory.mktemp("structure")))
    return page.render(built, {"one": report_pages.member()}, {"one": 1.1}, report_pages.hostile_view(built))


def test_every_drawing_and_every_cell_has_a_name(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    drawings = outline.all("svg")
    assert len(drawings) > 150
    assert all(given.get("role") == "img" for given in drawings)
    assert len(re.findall(r"<svg [^>]*><title>[^<]+</title>", html)) == len(drawings)
    assert all(given.get("scope") in ("row", "col") for given in outline.all("th"))
    assert html.count("<caption>") == len(outline.all("table"))
    assert {"lang": "en"} in outline.all("html")
    labels = {given.get("for") for given in outline.all("label")}
    assert all(given.get("id") in labels for given in outline.all("input"))


def test_headings_climb_and_anchors_are_one_each(html: str) -> None:
    outline = Outline()
    outline.feed(html)
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = Counter(given["id"] for _, given in outline.elements if "id" in given)
    assert set(ids.values()) == {1}
    links = [given["href"] for given in outline.all("a")]
    assert links
    assert all(link is not None and link.removeprefix("#") in ids for link in links)


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_their_ground(scheme: int) -> None:
    blocks = re.findall(r":root\{([^}]*--paper[^}]*)\}", CSS)
    colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{6})", blocks[scheme]))
    for text in ("ink", "muted", "accent", "warn"):
        assert contrast(colours[text], colours["paper"]) >= 4.5
        assert contrast(colours[text], colours["soft"]) >= 4.5
    assert contrast(colours["ink"], colours["warn-soft"]) >= 4.5
    for mark in ("plain", "accent", "a", "b"):
        assert contrast(colours[mark], colours["paper"]) >= 3


def test_style_and_script_reach_the_wheel() -> None:
    """Hatchling takes whatever lies in the package but what git ignores."""
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text(encoding="utf-8").split()
    assert not {"*.css", "*.js", "*.j2", "templates/"} & set(ignored)
    names = {one.name for one in (files("arena_ensemble.report") / "templates").iterdir()}
    assert {"page.css", "page.js", "page.html.j2", "macros.html.j2"} <= names
