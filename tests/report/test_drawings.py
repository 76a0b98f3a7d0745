"""Scales and texts: nothing leaves its frame or its size, whatever the values are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from arena_ensemble.report.clipping import clipped, one_line, visible
from arena_ensemble.report.intervals import Line, drawn_table
from arena_ensemble.report.line_chart import line_chart
from arena_ensemble.report.reliability_chart import diagram, diagrams, mean_gap
from arena_ensemble.report.svg import Scale
from arena_ensemble.report.tables import Column

numbers = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


@given(st.lists(numbers, min_size=1, max_size=20))
def test_a_scale_holds_its_values_and_its_ticks_are_few_and_round(values: list[float]) -> None:
    scale = Scale.over(values)
    places = [scale.at(value) for value in values]
    assert all(0 < place < 100 for place in places)
    assert [places[k] for k in np.argsort(values)] == sorted(places)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 5
    assert ticks == sorted(set(ticks))
    slack = 1e-6 * max(1, abs(scale.low), abs(scale.high))
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)


def test_a_scale_without_values_is_still_one() -> None:
    assert Scale.over([float("nan")]).ticks()
    assert 0 < Scale.over([2.0, 2.0]).at(2.0) < 100


@given(st.text(max_size=300), st.integers(1, 200))
def test_a_clipped_text_is_a_beginning_that_fits(text: str, size: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    shown, left_out = clipped(text, size)
    assert len(str(escape(shown)).encode()) <= size
    assert visible(text).startswith(shown)
    assert len(shown) + left_out == len(text)


def test_control_characters_are_seen() -> None:
    assert visible("a\x00b\x1b[0m\tc\n") == "a␀b␛[0m\tc\n"
    assert one_line("  one\n two  " + "x" * 99, 12) == "one two xxx…"


def test_a_line_without_an_error_is_a_dot_and_a_share_is_a_bar() -> None:
    lines = [Line("one", 0.9, float("nan"), ("0.9",)), Line("two", 0.8, 0.01, ("0.8",), reference=1.0)]
    table = drawn_table(lines, [Column("x")], caption="c", first="", quantity="log-loss")
    assert "nan" not in str([row.drawing for row in table.rows]) + str(table.axis)
    assert all(str(row.drawing).count("<circle") == 1 for row in table.rows)
    assert "reference" in table.rows[1].drawing
    shares = drawn_table([Line("s", 0.25, None, ())], [], caption="c", first="", quantity="q", percent=True)
    assert "<rect" in shares.rows[0].drawing
    assert "25.0%" in shares.rows[0].drawing


def test_diagrams_pair_a_member_with_its_temperature() -> None:
    bins = [[{"predicted": 0.3, "happened": 0.4, "se": 0.1, "rows": 10}]] * 3
    better = [[{"predicted": 0.4, "happened": 0.4, "se": 0.1, "rows": 10}]] * 3
    both, alone = diagrams({"one": bins, "one, temp": better, "two, temp": bins}, suffix=", temp")
    assert (both.name, both.gap_before, both.gap_after) == ("one", "10.0", "0.0")
    assert (alone.name, alone.gap_before, alone.gap_after) == ("two, temp", "", "10.0")
    assert "before its temperature" in both.squares[0][1]
    assert mean_gap(bins) == pytest.approx(0.1)


def test_an_outcome_that_cannot_be_voted_has_no_square() -> None:
    one = [{"predicted": 0.5, "happened": 0.5, "se": 0.1, "rows": 10}]
    none = [{"predicted": 0.0, "happened": 0.0, "se": 0.0, "rows": 10}]
    assert [name for name, _ in diagram("m", None, [one, one, none]).squares] == ["A wins", "B wins"]


def test_a_single_epoch_is_a_point() -> None:
    chart = line_chart("m", [("fold 0", [(1, 0.9)]), ("fold 1", [(1, 0.95)])], quantity="loss", step="epoch")
    assert str(chart).count("<circle") == 2
    assert "fold 1: 0.950" in chart
