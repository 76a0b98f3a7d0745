"""The page in headless Chromium: no errors, nothing fetched from elsewhere, hostile texts stay texts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

from browser import Browser, needs_axe, needs_chromium
from browser import browser as chromium

from arena_ensemble import Ensemble, read_battles
from arena_ensemble.pipeline.neighbours import TrainingPrompts
from arena_ensemble.serving.server import Address, checked_limits, make_server
from arena_ensemble.serving.service import Service

TOKEN = "a-token-of-22-characters"

pytestmark = [pytest.mark.slow, needs_chromium]


@contextlib.contextmanager
def running(service: Service, token: str | None = None) -> Iterator[str]:
    """The URL of a server in a thread."""
    ready, urls = threading.Event(), []

    def told(url: str) -> None:
        urls.append(url)
        ready.set()

    made = make_server(service, checked_limits("127.0.0.1", token, ()), Address(port=0), told)
    thread = threading.Thread(target=lambda: asyncio.run(made.serve()))
    thread.start()
    assert ready.wait(20)
    yield urls[0]
    made.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def service(work: Path, ensemble: Ensemble) -> Service:
    return Service(ensemble, TrainingPrompts(read_battles(work / "train.csv")))


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    with running(service) as found:
        yield found


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with chromium() as found:
        found.driver.set_script_timeout(30)
        found.resize(width=400)
        yield found


@pytest.fixture
def browser(window: Browser) -> Any:
    """The window's driver, as wide as a telephone."""
    window.resize(width=400)
    return window.driver


def compared(browser: Any, prompt: str, a: str, b: str) -> str:
    """Fill in, submit, and wait for the verdict or the error."""
    script = """
        const [prompt, a, b, done] = arguments;
        for (const [id, text] of [["prompt", prompt], ["response_a", a], ["response_b", b]])
            document.getElementById(id).value = text;
        document.getElementById("form").requestSubmit();
        const shown = () => {
            if (document.getElementById("go").disabled) return setTimeout(shown, 20);
            const hidden = document.getElementById("result").hidden;
            done(document.getElementById(hidden ? "error" : "verdict").textContent);
        };
        shown();
    """
    return str(browser.execute_async_script(script, prompt, a, b))


def problems(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "DEBUG"]


def fits(browser: Any) -> bool:
    """Whether nothing sticks out of the window's width."""
    return bool(browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"))


QUESTION, LONG, SHORT = "What is the capital of Australia?", "It is **Canberra**, of course.", "Sydney."


def test_a_comparison_with_reasons_and_no_word_to_anybody_else(browser: Any, url: str) -> None:
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # what went before
    browser.get(url)
    find = browser.find_element
    assert "%" in compared(browser, QUESTION, LONG, SHORT)
    rows = find("id", "parts").find_elements("css selector", "tbody tr")
    assert rows[0].text.startswith("one ")
    assert rows[-1].text.startswith("sum ")
    mark = rows[0].find_element("css selector", ".track span")
    assert float(mark.value_of_css_property("width").removesuffix("px")) > 0
    assert "no position bias" in find("id", "exchanged").text
    assert "%" in find("id", "level").text
    assert find("id", "nearest").is_displayed()
    assert fits(browser)
    chances = [find("id", f"p-{name}").text for name in ("a", "tie", "b")]
    assert sum(float(text.split()[0]) for text in chances) == pytest.approx(100, abs=0.2)
    compared(browser, QUESTION, SHORT, LONG)
    assert [find("id", f"p-{name}").text for name in ("b", "tie", "a")] == chances
    find("id", "exchange").click()
    assert find("id", "response_a").get_property("value") == LONG
    assert not problems(browser)
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]
    assert asked
    assert all(one.startswith((url, "data:")) for one in asked), asked


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">",
        "\u202e</textarea><b>bold</b>\u2028",
        "\u2067\u200fمرحبا\u200f never ended",
        "{{ 7 * 7 }} ${7 * 7} %00 \x00\x1b[31m",
        "w" * 1_000_000,
    ],
    ids=["script", "bidi", "isolate", "template", "megabyte"],
)
def test_hostile_texts_are_texts(browser: Any, url: str, text: str) -> None:
    browser.get(url)
    assert "%" in compared(browser, text, text, "x")
    assert browser.title.startswith("arena-ensemble")
    assert browser.execute_script("return document.querySelector('main img, main b, main script') === null")
    assert fits(browser)
    assert not problems(browser)


@pytest.mark.parametrize("known", [True, False], ids=["before it is sent", "by the server"])
def test_texts_too_long_for_the_server_are_refused_in_plain_words(
    browser: Any, url: str, known: bool
) -> None:
    browser.get(url)
    assert "%" in compared(browser, QUESTION, LONG, SHORT)  # the page knows the server's limit by now
    if not known:
        browser.execute_script("limit = null")
    text = compared(browser, QUESTION, "w" * 3_000_000, "v" * 2_000_000)
    assert text.startswith("These texts are too long: 5.0 MB together")
    assert ("this server takes 4.2 MB" in text) == known
    assert text.endswith("Shorten them, or start the server with a larger --max-bytes.")
    assert all("413" in message for message in problems(browser))
    assert "%" in compared(browser, QUESTION, LONG, SHORT)


STATES = {
    "empty": None,
    "result": (QUESTION, LONG, SHORT),
    "error": (QUESTION, "w" * 3_000_000, "v" * 2_000_000),
    "hostile": ("<script>1</script> \u202e", "w" * 20_000, "\u2067مرحبا"),
}


@needs_axe
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious_in_any_state(window: Browser, url: str, state: str) -> None:
    for width, dark in ((400, False), (1200, False), (1200, True)):
        window.resize(width=width, dark=dark)
        window.driver.get(url)
        if (texts := STATES[state]) is not None:
            compared(window.driver, *texts)
        shown = window.run("return document.getElementById('result').hidden === false")
        assert shown == (state in ("result", "hostile"))
        if state == "error":  # its textareas hold megabytes, which axe would walk through
            window.run("for (const one of document.querySelectorAll('textarea')) one.value = ''")
        assert window.violations() == []


def test_the_token_is_asked_for_and_remembered_by_the_page_alone(browser: Any, service: Service) -> None:
    with running(service, TOKEN) as url:
        browser.get(url)
        assert "give the server's token" in compared(browser, QUESTION, LONG, SHORT)
        field = browser.find_element("id", "token")
        assert field.is_displayed()
        field.send_keys(TOKEN)
        assert "%" in compared(browser, QUESTION, LONG, SHORT)
        assert browser.execute_script("return localStorage.length + document.cookie.length") == 0
        assert all("401 (Unauthorized)" in message for message in problems(browser))


def test_a_server_that_is_gone_is_said_in_words(browser: Any, service: Service) -> None:
    with running(service) as url:
        browser.get(url)
    assert compared(browser, QUESTION, LONG, SHORT) == "the server does not answer"
