"""The page: whole, without scripts, everything escaped, the same bytes again."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from arena_ensemble import cli, report
from arena_ensemble.diagnostics.reliability import reliability
from arena_ensemble.pipeline.ensemble import load_folder
from arena_ensemble.predictions import from_delta_tau

VOID = {"meta", "br", "line", "circle", "rect", "polyline"}
HOSTILE = '<script>alert("x")</script>&<b>'


class Tags(HTMLParser):
    """Collects tags and text, and fails on a tag that is not closed in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brought")
    rng = np.random.default_rng(0)
    delta, tau = rng.normal(size=240) * 1.5, rng.normal(size=240) * 0.3
    truth = np.exp(from_delta_tau(delta, tau))
    y = (rng.random(240)[:, None] > truth.cumsum(axis=1)[:, :2]).sum(axis=1)
    rows = ["id,label," + ",".join(f"{m}_{o}" for m in ("one", "two") for o in ("a", "b", "tie"))]
    noisy = [np.exp(from_delta_tau(delta + rng.normal(size=240) * s, tau)) for s in (0.4, 1.2)]
    for i in range(240):
        rows.append(f"{i},{y[i]}," + ",".join(f"{p:.6f}" for one in noisy for p in one[i]))
    (folder / "oof.csv").write_text("\n".join(rows) + "\n")
    command = ["stack", "--labels", str(folder / "oof.csv"), "--oof", str(folder / "oof.csv")]
    assert cli.run([*command, "--out", str(folder / "made")]) == 0
    return folder / "made"


def test_the_page_is_whole_and_tells_the_figures(made: Path) -> None:
    assert cli.run(["report", "--brought", str(made)]) == 0
    page = (made / "report.html").read_text()
    tags = read(page)
    assert "script" not in tags.seen
    assert {"svg", "polyline", "table"} <= tags.seen
    text = " ".join(tags.text)
    built = load_folder(made)
    for row in built.table:
        assert f"{row.log_loss:.4f}" in text
    for name in ("one", "two", "prior", "ensemble"):
        assert name in text
    assert "unverified" in text
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert report.page(built, {}, {}) == page


def test_words_from_outside_are_escaped(made: Path) -> None:
    built = load_folder(made)
    card = dict(built.card)
    card["suspicions"] = [{"member": HOSTILE, "reasons": [HOSTILE]}]
    card["reliability"] = {HOSTILE: card["reliability"]["one"]}
    card["versions"] = {HOSTILE: HOSTILE}
    contributions = card["contributions"]
    card["contributions"] = {
        **contributions,
        "members": [{**row, "name": HOSTILE, "advice": HOSTILE} for row in contributions["members"]],
    }
    built.card.clear()
    built.card.update(card)
    page = report.page(built, {HOSTILE: {"alarms": [HOSTILE], "backbone": HOSTILE}}, {HOSTILE: 1.1})
    tags = read(page)
    assert not tags.seen & {"script"}
    assert HOSTILE in " ".join(tags.text)


def test_what_is_in_the_out_folder_is_never_lost(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made.parent
    command = ["stack", "--labels", str(folder / "oof.csv"), "--oof", str(folder / "oof.csv"), "--out"]
    before = (folder / "oof.csv").read_bytes()
    assert cli.run([*command, str(folder)]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert (folder / "oof.csv").read_bytes() == before
    assert cli.run([*command, str(folder / "oof.csv")]) == 1
    assert "is a file" in capsys.readouterr().err
    assert cli.run([*command, str(made)]) == 0  # its own folder may be made anew
    (made / "test.json").write_text('{"gammas": {"one": "x"}}')
    assert cli.run(["report", "--brought", str(made)]) == 1
    assert "no numbers" in capsys.readouterr().err
    (made / "test.json").unlink()


def test_without_an_ensemble_it_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", "--workspace", str(tmp_path)]) == 1
    assert "run `arena-ensemble stack` first" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_calibrated_member_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(1)
    log_probs = from_delta_tau(rng.normal(size=20_000) * 2, rng.normal(size=20_000))
    y = (rng.random(20_000)[:, None] > np.exp(log_probs).cumsum(axis=1)[:, :2]).sum(axis=1)
    found = reliability(log_probs, y)
    assert [len(bins) for bins in found] == [8, 8, 8]
    assert all(abs(one.predicted - one.happened) < 4 * one.se for bins in found for one in bins)
    assert sum(one.rows for one in found[0]) == 20_000
    assert len(reliability(log_probs[:20], y[:20])[0]) == 1
