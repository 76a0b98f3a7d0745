"""The page of a best-of-N panel: its folder alone makes it, names are escaped, damage is seen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from browser import browser, needs_chromium

from arena_ensemble import cli
from arena_ensemble.artifacts.cards import read_card
from arena_ensemble.artifacts.choice_card import ChoiceCard

HOSTILE = "<script>window.taken = 1</script>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choice")
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(60, 4))
    noisy = (quality + rng.normal(size=(60, 4))).ravel()
    rows = {"item": np.repeat(np.arange(60), 4), "answer": list("pqrs") * 60, "good": noisy}
    rows[HOSTILE] = rng.normal(size=240)
    pl.DataFrame(rows).write_csv(folder / "answers.csv")
    best = pl.DataFrame({"item": np.arange(60), "best": ["pqrs"[k] for k in quality.argmax(axis=1)]})
    best.write_csv(folder / "best.csv")
    words = ["panel", "--judgements", str(folder / "answers.csv"), "--votes", str(folder / "best.csv")]
    assert cli.run([*words, "--out", str(folder / "made")]) == 0
    return folder / "made"


def test_the_page_says_what_the_panel_finds(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", "--external", str(made)]) == 0
    assert "--data" not in capsys.readouterr().out
    page = (made / "report.html").read_text()
    card = read_card(made, ChoiceCard)
    assert card is not None
    table = json.loads((made / "table.json").read_text())["rows"]
    assert f"{card.log_loss:.4f}" in page
    for row in table:
        assert f"{row['log_loss']:.4f}" in page
    assert f"finds the best answer of {card.accuracy:.1%}" in page
    assert "How alike the judges are" in page
    assert HOSTILE not in page.split("<body>")[1]
    assert not re.search(r"\bbattles?\b", re.sub("<(style|script)>.*?</\\1>", "", page, flags=re.DOTALL))
    assert cli.run(["report", "--external", str(made), "--out", str(made.parent / "again.html")]) == 0
    assert (made.parent / "again.html").read_bytes() == (made / "report.html").read_bytes()


def test_battles_are_of_no_use_and_damage_is_named(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["report", "--external", str(made), "--data", "x.csv"]) == 1
    assert "shows no single battles; leave it out" in capsys.readouterr().err
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "judges.json").write_text("{}")
    assert cli.run(["report", "--external", str(tmp_path)]) == 1
    assert "SHA-256 differs" in capsys.readouterr().err


@needs_chromium
def test_the_page_is_quiet_in_a_browser(made: Path) -> None:
    assert cli.run(["report", "--external", str(made), "--out", str(made.parent / "page.html")]) == 0
    with browser() as window:
        window.open(made.parent / "page.html")
        assert window.console() == []
        assert window.run("return window.taken") is None
        assert window.run("return document.querySelectorAll('section h2').length") == 4
