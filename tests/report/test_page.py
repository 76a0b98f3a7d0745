"""The page: whole, without scripts, every text escaped, the same bytes again."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from arena_ensemble import cli
from arena_ensemble.artifacts.cards import EnsembleKey, MemberCard, PredictionKey
from arena_ensemble.cli import tables as terminal
from arena_ensemble.diagnostics.reliability import reliability
from arena_ensemble.pipeline.ensemble import Ensemble, load_folder
from arena_ensemble.predictions import from_delta_tau
from arena_ensemble.report import page, tables

VOID = {"meta", "link", "line", "circle", "rect", "polyline", "wbr"}
KEY = EnsembleKey(
    data="d", folds="f", members={}, seed=0, truth=False, n_classes=3, versions={}, stacker_format=2
)
HOSTILE = """<script>alert("x")</script>&<b onload='x'>{{ 7 * 7 }}"""


class Tags(HTMLParser):
    """Collects tags and text, and fails on a tag that is not closed in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text: list[str] = []
        self.attributes: set[str] = set()
        self.links: list[str | None] = []
        self.ids: list[str | None] = []
        self.sections: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        given = dict(attrs)
        self.links += [given["href"]] if "href" in given else []
        self.ids += [given["id"]] if "id" in given else []
        self.sections += [given["id"]] if tag == "section" and "id" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags


@pytest.fixture(scope="module")
def ensemble_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("external")
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


def test_the_page_is_whole_and_shows_the_figures(ensemble_folder: Path) -> None:
    assert cli.run(["report", "--external", str(ensemble_folder)]) == 0
    html = (ensemble_folder / "report.html").read_text()
    tags = parsed(html)
    assert {"svg", "polyline", "table"} <= tags.seen
    text = " ".join(tags.text)
    built = load_folder(ensemble_folder)
    for row in built.table:
        assert f"{row.log_loss:.4f}" in text
    for name in ("one", "two", "prior", "ensemble"):
        assert name in text
    assert "unverified" in text
    assert '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';' in html
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")
    assert not tags.attributes & {"src", "style", "onload", "onclick"}
    assert set(tags.links) == {
        "data:,",
        "#main",
        *(f"#{anchor}" for anchor in tags.ids if anchor in tags.sections),
    }
    assert page.render(built, {}, {}) == html


def test_terminal_and_page_show_the_same_digits(ensemble_folder: Path) -> None:
    built = load_folder(ensemble_folder)
    text = " ".join(parsed(page.render(built, {}, {})).text)
    scores, contribution = (
        tables.score_table(built.table),
        tables.contribution_table(built.card.contributions),
    )
    printed = terminal.score_table(built.table, title="scores") + terminal.contribution_table(
        built.card.contributions
    )
    for table in (scores, contribution):
        assert len(table.rows) >= 2
        for row in table.rows:
            for cell in row.cells[:-1]:  # the last is a remark: cut in the terminal, in full on the page
                assert cell in printed
                if not row.emphasised:  # the ensemble's own difference to itself is left empty
                    assert cell in text


def with_hostile_texts(built: Ensemble) -> Ensemble:
    """Every text of the ensemble that an edited file could hold, names of members included, is HOSTILE."""
    contributions = built.card.contributions
    update = {
        "suspicions": [{"member": HOSTILE, "reasons": [HOSTILE]}],
        "reliability": {HOSTILE: built.card.reliability["one"]},
        "key": KEY.model_copy(
            update={"versions": {HOSTILE: HOSTILE}, "data": HOSTILE, "folds": HOSTILE},
        ),
        "contributions": {
            **contributions,
            "members": [{**row, "name": HOSTILE, "advice": HOSTILE} for row in contributions["members"]],
            "greedy": [(HOSTILE, 1.0)],
        },
    }
    card = built.card.model_copy(update=update)
    rows = [
        dataclasses.replace(
            row, name=HOSTILE, note=HOSTILE, kind=row.kind if row.kind in ("choice", "baseline") else HOSTILE
        )
        for row in built.table
    ]
    return dataclasses.replace(built, table=rows, card=card)


def test_texts_from_outside_are_escaped(ensemble_folder: Path) -> None:
    built = load_folder(ensemble_folder)
    member = MemberCard(
        key=None, member="one", backbone="lexical", folds_verified=False, rows=240, alarms=["an alarm"]
    )
    usual = parsed(page.render(built, {"one": member}, {"one": 1.1}))
    key = PredictionKey(recipe=HOSTILE, data="d", folds="f", fold=None, orders="1", n_classes=3)
    hostile = member.model_copy(update={"key": key, "alarms": [HOSTILE], "backbone": HOSTILE})
    html = page.render(with_hostile_texts(built), {HOSTILE: hostile}, {HOSTILE: 1.1})
    tags = parsed(html)
    assert tags.seen - {"wbr"} == usual.seen
    assert tags.attributes == usual.attributes
    for raw in ("<script>alert", "<b onload", "'x'>", 'alert("'):
        assert raw not in html
    assert "49" not in [text.strip() for text in tags.text]
    seen = " ".join(tags.text)
    # a suspicion twice, an alarm twice, an unverified member, notes of all rows, advice of both members
    assert seen.count(HOSTILE) >= 5 + len(built.table) + 2


def test_a_member_alone_has_nobody_to_be_like(ensemble_folder: Path) -> None:
    built = load_folder(ensemble_folder)
    assert "How alike" in page.render(built, {}, {})
    contributions = built.card.contributions
    alone = {**contributions, "members": contributions["members"][:1]}
    card = built.card.model_copy(update={"contributions": alone})
    assert "How alike" not in page.render(dataclasses.replace(built, card=card), {}, {})


def test_what_is_in_the_out_folder_is_never_lost(
    ensemble_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ensemble_folder.parent
    command = ["stack", "--labels", str(folder / "oof.csv"), "--oof", str(folder / "oof.csv"), "--out"]
    before = (folder / "oof.csv").read_bytes()
    assert cli.run([*command, str(folder)]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert (folder / "oof.csv").read_bytes() == before
    assert cli.run([*command, str(folder / "oof.csv")]) == 1
    assert "is a file" in capsys.readouterr().err
    assert cli.run([*command, str(ensemble_folder)]) == 0  # its own folder may be made anew
    (ensemble_folder / "test.json").write_text('{"gammas": {"one": "x"}}')
    assert cli.run(["report", "--brought", str(ensemble_folder)]) == 1
    message = capsys.readouterr().err
    assert "test.json: not as written" in message
    assert "--brought is now called --external" in message
    (ensemble_folder / "test.json").unlink()


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
