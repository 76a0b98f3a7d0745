"""The layout of the tables: columns that stand only where something is known, digits, remarks."""

from __future__ import annotations

from typing import Any

from arena_ensemble.cli import tables as terminal
from arena_ensemble.metrics import ScoreRow
from arena_ensemble.report import tables


def score_row(**values: Any) -> ScoreRow:
    usual: dict[str, Any] = {
        "name": "lexical", "kind": "member", "log_loss": 0.88156, "se": 0.03021, "accuracy": 0.57,
        "difference": 0.00104, "difference_se": 0.003,
    }  # fmt: skip
    return ScoreRow(**{**usual, **values})


def card(**values: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "name": "lexical", "leave_one_out_gain": 0.0123, "leave_one_out_gain_se": 0.002, "beta": 0.98,
        "a_bias": -0.03, "hours": None, "position_bias": None,
        "advice": "no gain seen: nothing that shows",
    }  # fmt: skip
    return {"members": [{**usual, **values}]}


def headers(table: tables.TextTable) -> list[str]:
    return [column.header for column in table.columns]


def test_a_column_of_which_nothing_is_known_is_left_out() -> None:
    assert "gap closed" not in headers(tables.score_table([score_row()]))
    table = tables.score_table([score_row(gap_closed=0.6543), score_row(gap_closed=-0.0001), score_row()])
    place = headers(table).index("gap closed")
    assert [row.cells[place] for row in table.rows] == ["65.4%", "0.0%", ""]
    assert "hours" not in headers(tables.contribution_table(card()))
    (row,) = tables.contribution_table(card(hours=0.5)).rows
    assert row.cells == (
        "lexical",
        "+0.0123",
        "0.0020",
        "0.98",
        "-0.030",
        "not measured",
        "0.50",
        "no gain seen",
    )


def test_every_row_has_a_cell_for_every_column() -> None:
    for table in (tables.score_table([score_row(note="why")]), tables.contribution_table(card())):
        assert all(len(row.cells) == len(table.columns) for row in table.rows)


def test_the_chosen_candidate_is_marked_and_the_ensemble_emphasised() -> None:
    rows = [
        score_row(chosen=True, note="hidden"),
        score_row(name="ensemble", kind="choice", note="lexical 100%"),
    ]
    table = tables.score_table(rows)
    assert [row.cells[-1] for row in table.rows] == ["◀ chosen", "lexical 100%"]
    assert [row.emphasised for row in table.rows] == [False, True]
    assert table.rows[0].cells[:4] == ("lexical", "0.8816", "0.0302", "0.570")


def test_advice_is_short_in_the_terminal_and_whole_on_the_page() -> None:
    assert tables.contribution_table(card(), full_advice=True).rows[0].cells[-1].startswith("no gain seen:")
    text = terminal.contribution_table(card())
    assert text.splitlines()[-1].endswith("no gain seen")


def test_greedy_steps_name_a_member_once_where_it_is_first_taken() -> None:
    steps = {"greedy": [["a", 0.9], ["b", 0.85], ["a", 0.84], ["b", 0.839]]}
    assert tables.greedy_steps(steps) == [("a", "0.9000"), ("b", "0.8500")]


def test_only_the_last_column_of_the_terminal_is_cut_and_brackets_are_no_markup() -> None:
    name = "a-member-with-a-rather-long-name-of-its-own"
    text = terminal.score_table([score_row(name=name, note="x" * 200)], title="of [bold]files[/bold]")
    title, _, line = text.splitlines()
    assert title == "of [bold]files[/bold]"
    assert line.startswith(f"{name}  ")
    assert "0.8816  0.0302     0.570" in line
    assert line.endswith("x…")
    assert len(line) <= terminal.WIDTH


def test_a_long_name_cuts_no_figure() -> None:
    text = terminal.contribution_table(
        card(name="n" * 90, hours=1.25, advice="keep: the ensemble is worse without it")
    )
    assert text.splitlines()[-1].split() == [
        "n" * 90,
        "+0.0123",
        "0.0020",
        "0.98",
        "-0.030",
        "not",
        "measured",
        "1.25",
        "keep",
    ]
