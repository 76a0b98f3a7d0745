"""The few rows that a terminal shows first."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.cli.ladder import bar, headline, ladder, made_of, rungs
from arena_ensemble.cli.tables import fitting
from arena_ensemble.cli.terminal import Terminal
from arena_ensemble.metrics import ScoreRow
from arena_ensemble.report.tables import Column, Row, TextTable


def row(name: str, kind: str, loss: float, **more: object) -> ScoreRow:
    """A row of the score table whose ensemble stands at .85."""
    base = ScoreRow(name, kind, loss, 0.01, 0.6, loss - 0.85, 0.005)
    return dataclasses.replace(base, **more)  # type: ignore[arg-type]


ROWS = [
    row("prior", "baseline", 1.06),
    *(
        one
        for name, loss in (("one", 0.95), ("two", 0.90), ("three", 0.99), ("four", 1.0), ("five", 1.02))
        for one in (row(name, "member", loss), row(f"{name}, temperature", "member", loss - 0.001))
    ),
    row("logistic", "candidate", 0.851, chosen=True),
    row("features only", "candidate", 0.97),
    row("trees", "candidate", 0.86),
    row("ensemble", "choice", 0.85, note="logistic 90%; trees 10%"),
    row("Bayes floor", "bayes", 0.7),
]


def test_the_rows_climb_from_the_prior_to_the_floor() -> None:
    shown = rungs(ROWS)
    assert [rung.name for rung in shown] == [
        "prior",
        "four",
        "three",
        "features only",
        "one",
        "two",
        "ensemble",
        "Bayes floor",
    ]
    losses = [rung.row.log_loss for rung in shown]
    assert losses == sorted(losses, reverse=True)


def test_members_stand_with_their_temperature_and_the_best_is_marked() -> None:
    two = next(rung for rung in rungs(ROWS) if rung.name == "two")
    assert two.row.log_loss == pytest.approx(0.899)
    assert two.remark == "best member, after temperature"


def test_a_member_that_its_temperature_does_not_help_stands_as_it_is() -> None:
    rows = [
        row("prior", "baseline", 1.0),
        row("one", "member", 0.90),
        row("one, temperature", "member", 0.91),
        row("two", "member", 0.96),
        row("two, temperature", "member", 0.95),
        row("ensemble", "choice", 0.85),
    ]
    shown = {rung.name: rung for rung in rungs(rows)}
    assert (shown["one"].row.log_loss, shown["one"].remark) == (0.90, "best member")
    assert (shown["two"].row.log_loss, shown["two"].remark) == (0.95, "after temperature")


@given(st.lists(st.tuples(st.floats(0.8, 1.1), st.floats(0.8, 1.1)), min_size=2, max_size=7))
def test_the_headline_compares_with_the_line_that_is_marked(losses: list[tuple[float, float]]) -> None:
    rows = [row("prior", "baseline", 1.1), row("ensemble", "choice", 0.85, note="a 60%; b 40%")]
    for k, (raw, tempered) in enumerate(losses):
        rows += [row(f"m{k}", "member", raw), row(f"m{k}, temperature", "member", tempered)]
    (best,) = [rung for rung in rungs(rows) if rung.remark.startswith("best member")]
    assert best.row.log_loss == min(min(pair) for pair in losses)
    assert f"{best.row.difference:+.4f}".lstrip("+-") in headline(rows)
    assert f"the best member, {best.name}" in headline(rows)
    assert made_of(rows) == "It combines them by a 60%, b 40%."
    note = "; ".join(f"{name} 10%" for name in "abcdefghij")
    assert (
        made_of([dataclasses.replace(rows[-1], kind="choice", note=note)])
        == "It combines them by a 10%, b 10%, c 10%, d 10%, 6 others."
    )


def test_the_headline_names_both_differences_and_their_errors() -> None:
    text = headline(ROWS)
    assert "0.8500 ± 0.0100" in text
    assert "0.2100 ± 0.0050 better than the prior" in text
    assert "0.0490 ± 0.0050 better than the best member, two after its temperature" in text


def test_an_ensemble_worse_than_its_best_member_is_called_so() -> None:
    worse = [row("prior", "baseline", 1.0), row("one", "member", 0.84), row("ensemble", "choice", 0.85)]
    assert "0.0100 ± 0.0050 worse than the best member, one." in headline(worse)


@given(st.integers(40, 118), st.booleans(), st.booleans())
def test_no_line_is_wider_than_the_terminal_and_no_log_loss_is_lost(
    width: int, colours: bool, blocks: bool
) -> None:
    text = ladder(ROWS, Terminal(width, colours, blocks), title="scores")
    plain = "".join(text.replace("\x1b[1;32m", "").replace("\x1b[1m", "").replace("\x1b[0m", ""))
    assert max(len(line) for line in plain.splitlines()) <= width
    assert "…" not in plain
    for rung in rungs(ROWS):
        assert f"{rung.row.log_loss:.4f}" in plain
    assert "logistic 90%, trees 10%" in made_of(ROWS)  # below, in the sentence, whole
    assert ("\x1b[" in text) == colours
    assert blocks or "█" not in text


@given(st.floats(-2, 2), st.integers(1, 60))
def test_a_bar_is_as_long_as_its_share(share: float, width: int) -> None:
    drawn = bar(share, width)
    assert len(drawn) <= width
    assert drawn.count("█") in (int(min(max(share, 0), 1) * width), round(min(max(share, 0), 1) * width))


def test_colours_ask_for_a_terminal_and_respect_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Terminal.of_stdout().colours  # captured: no terminal
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "70")
    assert Terminal.of_stdout().colours
    assert Terminal.of_stdout().width == 70
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Terminal.of_stdout().colours
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not Terminal.of_stdout().colours


@given(st.integers(40, 130))
def test_a_table_has_the_columns_that_fit_and_never_loses_a_name_or_a_remark(width: int) -> None:
    names = ("", "loss without it", "± s.e.", "best 1/T", "excess p(A) - p(B)", "position bias", "hours", "")
    cells = ("tiny-generate", "+0.0025", "0.0014", "0.95", "-0.039", "not measured", "0.00", "no gain seen")
    table = TextTable(tuple(Column(name) for name in names), (Row(cells), Row(cells)))
    shown = fitting(table, width)
    assert [column.header for column in shown.columns[:2]] == list(names[:2])
    assert shown.rows[0].cells[-1] == cells[-1]
    needed = 2 * (len(shown.columns) - 1) + sum(
        max(len(column.header), len(shown.rows[0].cells[k])) for k, column in enumerate(shown.columns)
    )
    assert needed <= max(width, 13 + 2 + 15 + 2 + 12)
    if width >= 118:
        assert shown == table
