"""A panel's page: judges in place of members, and only what is known of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import report_pages

from arena_ensemble.artifacts.cards import EnsembleCard
from arena_ensemble.pipeline.ensemble import load_folder
from arena_ensemble.report import page
from arena_ensemble.report.document import soft
from arena_ensemble.report.sections.annotators import replacement, same_verdicts
from arena_ensemble.report.sections.calibration import calibration
from arena_ensemble.report.sections.members import contribution
from arena_ensemble.report.sections.panels import biases, judges, uses

JUDGE: dict[str, Any] = {
    "name": "careful", "kind": "verdicts", "log_loss": 0.9, "se": 0.02, "accuracy": 0.6, "agreement": 0.7,
    "missing": 0.0, "flip_rate": None, "both_orders": 0, "cost": None,
}  # fmt: skip
MORE: dict[str, Any] = {
    "agreement_low": 0.61, "agreement_high": 0.78, "kappa": 0.41, "base_rate": 0.5, "position_excess": 0.25,
    "position_excess_se": 0.03, "length_bias": 0.1, "length_bias_se": None,
}  # fmt: skip
USES: dict[str, Any] = {
    "risk_coverage": [
        {"threshold": 0.8, "coverage": 0.25, "error": 0.1, "error_se": 0.02, "log_loss": 0.4},
        {"threshold": 0.0, "coverage": 1.0, "error": 0.3, "error_se": None, "log_loss": 0.9},
    ],
    "ranking": {
        "systems": [
            {"system": "elm", "rating": 0.5, "low": 0.25, "high": 0.75, "win_rate": 0.6,
             "best_rank": 1, "worst_rank": 2},
        ],
        "equal_style": {"systems": [{"system": "elm", "rating": 0.1, "low": -0.1, "high": 0.3}]},
    },
    "cascade": {"order": ["cheap", "dear"], "rows": [
        {"price": 0.5, "log_loss": 0.9, "log_loss_se": 0.01, "accuracy": 0.6}]},
    "vote_curve": [{"votes": 100, "log_loss": 0.95, "log_loss_se": 0.02, "measured": False}],
}  # fmt: skip


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> EnsembleCard:
    return load_folder(report_pages.external(tmp_path_factory.mktemp("panel"))).card


def with_judges(card: EnsembleCard, *rows: dict[str, Any]) -> EnsembleCard:
    return card.model_copy(update={"judges": list(rows)})


def test_a_panel_of_before_shows_what_it_has(card: EnsembleCard) -> None:
    assert judges(card) is None
    found = judges(with_judges(card, JUDGE))
    assert found is not None
    assert found.values["more"] is None
    assert not found.values["flips"]
    turned = judges(with_judges(card, {**JUDGE, "flip_rate": 0.2}))
    assert turned is not None
    assert turned.values["flips"]
    (row,) = found.values["table"].rows
    assert row.cells[:2] == ("0.9000", "0.0200")
    assert "70.0%" in row.cells
    assert biases(with_judges(card, JUDGE)) is None
    assert uses({}) is None


def test_statistics_that_are_known_of_any_judge_are_shown(card: EnsembleCard) -> None:
    both = with_judges(card, {**JUDGE, **MORE}, {**JUDGE, "name": "hasty"})
    found = judges(both)
    assert found is not None
    assert found.values["more_caption"].endswith("commonest vote")  # no judge stated probabilities
    more = found.values["more"]
    headers = [column.header for column in more.columns]
    assert headers == ["judge", "agrees", "from", "to", "commonest vote", "kappa"]
    assert more.rows[0].cells == ("careful", "70.0%", "61.0%", "78.0%", "50.0%", "0.41")
    assert more.rows[1].cells == ("hasty", "70.0%", "", "", "", "")
    section = biases(both)
    assert section is not None
    position, length = section.values["tables"]
    assert [row.cells for row in position.rows] == [("+0.250", "0.030")]
    assert [row.cells for row in length.rows] == [("+0.100", "")]


def test_uses_show_intervals_and_leave_out_rows_without_numbers() -> None:
    found = uses(USES)
    assert found is not None
    risk, ranking, level, cascade, votes = found.values["tables"]
    assert [row.name for row in risk.rows] == ["the surest 25%"]
    assert ranking.interval == ", 95%"
    assert ranking.rows[0].cells == ("+0.50", "60.0%", "1 to 2")
    assert "interval 0.2500 to 0.7500" in ranking.rows[0].drawing
    assert level.rows[0].cells == ("+0.10", "", "")
    assert "cheap, then dear" in cascade.caption
    assert votes.rows[0].cells == ("0.9500", "extrapolated")


def test_the_threshold_stands_on_the_page_or_what_would_have_one() -> None:
    kept = {"threshold": 0.712, "coverage": 0.56, "error": 0.04, "alpha": 0.1, "delta": 0.05, "rows": 200}
    found = uses({"selective": kept})
    assert found is not None
    assert found.values["promise"]["head"] == "Keep a verdict of probability 0.712 or more"
    assert (
        "at most 0.1 of the verdicts kept are wrong, with confidence 0.95" in found.values["promise"]["text"]
    )
    assert "56.0% of these pairs, 4.0% of them wrong" in found.values["promise"]["text"]
    none = {**kept, "threshold": None, "error": None, "reachable": 0.16, "rows_needed": 710}
    found = uses({"selective": none})
    assert found is not None
    assert found.values["promise"]["head"] == "No threshold is safe"
    assert "A share of 0.16 would be met. About 710 voted pairs like these" in found.values["promise"]["text"]
    old = uses(
        {
            "selective": {
                key: value for key, value in none.items() if key[:3] != "rea" and key != "rows_needed"
            }
        }
    )
    assert old is not None
    assert uses({"selective": {"alpha": "x"}}) is None


def test_the_annotator_test_and_agreement_stand_on_the_page(card: EnsembleCard) -> None:
    test = {
        "winning_rate": 2 / 3,
        "advantage": 0.81,
        "passes": True,
        "epsilon": 0.15,
        "p_values": {"p": 0.01},
    }
    assert replacement(with_judges(card, JUDGE, {**JUDGE, "replacement": None})) is None
    found = replacement(with_judges(card, {**JUDGE, "replacement": test}, {**JUDGE, "replacement": {"x": 1}}))
    assert found is not None
    assert [row.cells for row in found.values["table"].rows] == [("careful", "yes", "66.7%", "81.0%")]
    facts = {"agreement": {"judges": ["one", "two"], "same_verdict": [[1.0, None], [None, 1.0]]}}
    (matrix,) = same_verdicts(facts)
    assert matrix.names == ("one", "two")
    assert matrix.values[0][0] == 1.0
    for odd in ({}, {"agreement": 3}, {"agreement": {"judges": ["one"], "same_verdict": [[1.0]]}}):
        assert same_verdicts(odd) == []


def test_columns_without_content_are_left_out(card: EnsembleCard) -> None:
    """A judge has no temperature of its own, so there is no gap before one."""
    after = {name.removesuffix(", temperature"): bins for name, bins in card.reliability.items()}
    found = calibration(card.model_copy(update={"reliability": after}), member="judge")
    assert found is not None
    headers = [column.header for column in found.values["gaps"].columns]
    assert headers[:2] == ["", "mean gap"]
    both = calibration(card, member="judge")
    assert both is not None
    assert [one.header for one in both.values["gaps"].columns][:3] == [
        "",
        "mean gap before",
        "mean gap after",
    ]


def test_names_break_where_a_person_would() -> None:
    assert soft("gpt-4-0125-preview") == "gpt-4-0125-preview"
    assert soft("ChatGPT/CoT_<b>") == "ChatGPT/<wbr>CoT_<wbr>&lt;b&gt;"
    assert soft("x" * 50) == "x" * 24 + "<wbr>" + "x" * 24 + "<wbr>" + "xx"


@pytest.mark.parametrize(
    "odd", [{"ranking": 3, "risk_coverage": "x"}, {"vote_curve": [1, None]}, {"cascade": {"rows": {}}}]
)
def test_strange_uses_are_no_error(odd: dict[str, Any]) -> None:
    assert uses(odd) is None


def test_the_page_speaks_of_judges(tmp_path: Path) -> None:
    built = load_folder(report_pages.external(tmp_path))
    names = [{**JUDGE, **MORE, "name": name} for name in built.card.members]
    card = with_judges(built.card, *names)
    alike = {"agreement": {"judges": ["one", "two"], "same_verdict": [[1.0, 0.7312], [0.7312, None]]}}
    whole = report_pages.with_card(built, card)
    html = page.render(whole, {}, {}, found_uses=USES, found_judges=alike)
    words = re.sub("<(style|script)>.*?</\\1>", "", html, flags=re.DOTALL)
    assert not re.search(r"\bbattles?\b", words, flags=re.IGNORECASE)
    assert "two judges give the same verdict" in html
    assert ">0.73<" in html
    for words in ("A panel of judges", "Each judge alone", "Position and length", "What each judge adds"):
        assert words in html
    assert "the surest 25%" in html


def test_what_a_judge_adds_is_of_the_panel_where_that_is_known(card: EnsembleCard) -> None:
    adds = {"adds": 0.0421, "adds_se": 0.0102, "adds_to": "panel"}
    rows = [{**JUDGE, **adds}, {**JUDGE, **adds, "name": "hasty", "adds": 0.1}]
    found = contribution(with_judges(card, *rows), member="judge")
    assert found is not None
    assert found.values["whole"] == "panel"
    assert [row.cells for row in found.values["table"].rows] == [("+0.1000", "0.0102"), ("+0.0421", "0.0102")]
    pooled = contribution(with_judges(card, *({**row, "adds_to": "pool"} for row in rows)), member="judge")
    assert pooled is not None
    assert pooled.values["whole"] == "pool"
    assert "geometric pool" in pooled.values["table"].caption
