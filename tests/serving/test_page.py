"""The page in headless Chromium: no errors, nothing fetched from elsewhere, hostile texts stay texts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from arena_ensemble import Ensemble, read_battles  # noqa: E402
from arena_ensemble.pipeline.neighbours import TrainingPrompts  # noqa: E402
from arena_ensemble.serving.server import Address, checked_limits, make_server  # noqa: E402
from arena_ensemble.serving.service import Service  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
TOKEN = "a-token-of-22-characters"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]


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
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=400,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(30)
    yield driver
    driver.quit()


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
        "w" * 1_000_000,
    ],
    ids=["script", "bidi", "megabyte"],
)
def test_hostile_texts_are_texts(browser: Any, url: str, text: str) -> None:
    browser.get(url)
    assert "%" in compared(browser, text, text, "x")
    assert browser.title.startswith("arena-ensemble")
    assert browser.execute_script("return document.querySelector('main img, main b, main script') === null")
    assert fits(browser)
    assert not problems(browser)


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
