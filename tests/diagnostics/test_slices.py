"""Parts of the battles: they hold every row once, and their mean losses make up the whole's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.diagnostics.slices import Cut, cut_at, cut_by_size, losses_by
from arena_ensemble.metrics import standard_error

rows_of = st.lists(
    st.tuples(st.integers(0, 10**6), st.floats(0, 20), st.integers(0, 5)), min_size=1, max_size=60
)


@given(rows_of, st.integers(1, 8))
def test_parts_by_size_hold_every_row_once_and_make_up_the_mean(
    rows: list[tuple[int, float, int]], parts: int
) -> None:
    sizes, losses, groups = (np.array(column) for column in zip(*rows, strict=True))
    cut = cut_by_size("size", sizes, parts=parts)
    found = losses_by(cut, losses, losses / 2, groups)
    assert sum(part.rows for part in found) == len(rows)
    assert len(found) <= parts
    assert sum(part.rows * part.log_loss for part in found) / len(rows) == pytest.approx(losses.mean())
    assert all(part.reference == pytest.approx(part.log_loss / 2) for part in found)
    order = np.argsort(sizes, kind="stable")
    assert (np.diff(cut.codes[order]) >= 0).all()
    assert len(set(cut.names)) == len(cut.names)


def test_a_part_is_named_by_its_least_and_largest_value() -> None:
    cut = cut_by_size("size", [5, 5, 5, 7, 7, 8, 2000, 3000, 3000], parts=3)
    assert cut.names == ("5", "7 to 8", "2,000 to 3,000")
    assert cut_by_size("size", [3, 3, 3]).names == ("3",)


def test_errors_are_those_of_the_parts_own_rows_clustered() -> None:
    rng = np.random.default_rng(0)
    losses, groups, codes = rng.exponential(size=90), rng.integers(0, 20, 90), rng.integers(-1, 2, 90)
    first, second = losses_by(Cut("", ("one", "two"), codes), losses, losses, groups)
    assert first.se == pytest.approx(standard_error(losses[codes == 0], groups[codes == 0]))
    assert (second.name, second.rows) == ("two", int((codes == 1).sum()))


def test_an_edge_belongs_to_the_part_above_it() -> None:
    cut = cut_at("turns", [1, 2, 3, 9], [2, 4], ["one", "two or three", "more"])
    assert cut.codes.tolist() == [0, 1, 1, 2]
