"""The page in headless Chromium: quiet, complete, narrow and wide, light and dark, on paper, by keyboard."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import report_pages
from browser import Browser, browser, needs_axe, needs_chromium

from arena_ensemble.pipeline.ensemble import load_folder
from arena_ensemble.report import page
from arena_ensemble.report.comparison import Made, compare

pytestmark = needs_chromium

COUNT = 100
WITHOUT_MARKS = """
return [...document.querySelectorAll('svg:not(.axis)')].filter(svg => {
  const closed = [...document.querySelectorAll('details')].filter(d => !d.open && d.contains(svg));
  closed.forEach(d => d.open = true);
  const sizes = [...svg.querySelectorAll('.mark, .curve')].map(m => m.getBoundingClientRect());
  return !sizes.some(s => s.width > 0 || s.height > 0) || !svg.querySelector('title').textContent;
}).map(svg => svg.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every section, of hostile battles, compared with another ensemble."""
    folder = tmp_path_factory.mktemp("page")
    here = report_pages.external(folder / "here")
    there = report_pages.external(folder / "there", seed=5, noise=(1.5, 2.5))
    built = load_folder(here)
    view = report_pages.hostile_view(built)
    versus = compare(Made(built, here, None), view, Made(load_folder(there), there, None))
    path = folder / "page.html"
    members = {"one": report_pages.member()}
    path.write_bytes(page.render(built, members, {"one": 1.1}, view, versus).encode("utf-8", "replace"))
    return path


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as found:
        yield found


def test_nothing_is_logged_and_nothing_fetched_and_no_text_runs(window: Browser, html: Path) -> None:
    window.requests()
    window.open(html)
    assert window.console() == []
    assert {url for url in window.requests() if not url.startswith("data:")} == {html.as_uri()}
    assert window.run("return window.taken") is None
    assert window.run("return document.querySelectorAll('script, style').length") == 2
    assert (
        window.run("return document.querySelectorAll('img, iframe, object, link[rel=stylesheet]').length")
        == 0
    )
    titles = window.run(
        "return [...document.querySelectorAll('main > section > h2')].map(h => h.textContent)"
    )
    assert len(titles) == 12
    assert window.run("return getComputedStyle(document.body).display") != "none"


def test_every_chart_has_marks_that_are_seen(window: Browser, html: Path) -> None:
    window.open(html)
    assert window.run("return document.querySelectorAll('svg').length") > 150
    assert window.run(WITHOUT_MARKS) == []


def test_search_shows_what_holds_every_word(window: Browser, html: Path) -> None:
    window.open(html)
    find = window.driver.find_element("id", "find")
    shown = "return [...document.querySelectorAll('#battles > li')].filter(l => l.offsetHeight > 0).length"
    assert window.run(shown) == COUNT
    find.send_keys("NEEDLE question")
    assert window.run(shown) == 1
    assert window.run("return document.getElementById('found').textContent") == f"1 of {COUNT}"
    window.driver.find_element("id", "unfold").click()
    assert window.run("return document.querySelectorAll('#battles details[open]').length") == 1
    find.clear()
    find.send_keys("no battle holds these words")
    assert window.run(shown) == 0
    find.clear()
    find.send_keys(" ")
    assert window.run(shown) == COUNT
    window.driver.find_element("id", "fold").click()
    assert window.run("return document.querySelectorAll('#battles details[open]').length") == 0


def test_a_battle_opens_by_keyboard_with_both_answers_side_by_side(window: Browser, html: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    window.open(html)
    window.run("document.querySelector('#battles summary').focus()")
    window.driver.switch_to.active_element.send_keys(Keys.ENTER)
    places = window.run(
        "return [...document.querySelectorAll('#battles li:first-child .sides')]"
        ".slice(0, 1).flatMap(s => [...s.querySelectorAll('.answer')])"
        ".map(a => a.getBoundingClientRect()).map(r => [r.left, r.top, r.right])"
    )
    (left, top, right), (other_left, other_top, _) = places
    assert left < right <= other_left
    assert top == other_top


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1200, 1600])
def test_no_width_scrolls_the_page_sideways(window: Browser, html: Path, width: int, dark: bool) -> None:
    window.open(html, width=width, dark=dark)
    window.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    wide, room = window.run("const d = document.documentElement; return [d.scrollWidth, d.clientWidth]")
    assert wide <= room
    ground = window.run("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(","))
    assert (brightness < 200) == dark
    small = window.run(
        "return [...document.querySelectorAll('td, th, p, summary, svg.strip text')]"
        ".filter(e => e.offsetParent !== null && parseFloat(getComputedStyle(e).fontSize) < 11).length"
    )
    assert small == 0


def test_it_prints_on_white_without_tools(window: Browser, html: Path) -> None:
    window.open(html, dark=True, media="print")
    assert window.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for hidden in ("nav", "#tools"):
        display = "return getComputedStyle(document.querySelector(arguments[0])).display"
        assert window.run(display, hidden) == "none"
    printed = base64.b64decode(window.command("Page.printToPDF", printBackground=True)["data"])
    assert printed.startswith(b"%PDF")
    assert 20_000 < len(printed) < 5_000_000


def test_without_script_everything_can_be_opened(window: Browser, html: Path) -> None:
    window.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        window.open(html)
        tools = window.driver.find_element("id", "tools")
        assert not tools.is_displayed()
        battle = window.driver.find_element("css selector", "#battles li")
        assert not battle.find_element("css selector", ".answer").is_displayed()
        battle.find_element("css selector", "summary").click()
        assert battle.find_element("css selector", ".answer").is_displayed()
    finally:
        window.command("Emulation.setScriptExecutionDisabled", value=False)


@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(window: Browser, html: Path, dark: bool) -> None:
    window.open(html, dark=dark)
    window.run(
        "document.querySelectorAll('main > section > details, #battles li:nth-child(-n+9) details')"
        ".forEach(d => d.open = true)"
    )
    assert window.violations() == []
