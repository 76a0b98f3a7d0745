"""What kaggle-pack says of a rehearsal and of the Python that it packed for."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena_ensemble.cli import kaggle
from arena_ensemble.kaggle.pack import Pack
from arena_ensemble.kaggle.rehearsal import Rehearsal


def test_a_few_rows_say_nothing_of_25000() -> None:
    [_, timed] = kaggle._rehearsal_lines(Rehearsal(200, 60, 100, 0.4, 2.8, 0.001))
    assert timed.endswith("25,000 such rows would take 2.80 hours on this machine")
    [_, late] = kaggle._rehearsal_lines(Rehearsal(200, 60, 400, 1.8, 12.5, 0.001))
    assert late.endswith("12.50 hours on this machine: longer than Kaggle's 9 hours")
    [_, few] = kaggle._rehearsal_lines(Rehearsal(20, 60, 100, 0.01, 0.1, 0.001))
    assert few.endswith("too few rows to say how long 25,000 take: give more --rows")


@pytest.mark.parametrize(("python", "asked"), [("3.11", "3.11,3.12,3.13"), ("3.12", ""), ("3.11, 3.13", "")])
def test_a_pack_for_no_python_of_kaggles_is_named(python: str, asked: str) -> None:
    lines = kaggle._lines(Pack(Path("pack"), (), python, 2**20, 2**21))
    found = [line for line in lines if "these wheels do not suit it" in line]
    assert [line.rpartition(" ")[2] for line in found] == ([asked] if asked else [])
