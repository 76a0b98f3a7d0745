"""The submission: whole or not at all, and checked as Kaggle checks it."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_files import random_log_probs

from arena_ensemble.errors import InputError
from arena_ensemble.io import check_submission, write_submission, write_winners


def test_a_submission_has_the_ids_in_order_and_sums_to_one(tmp_path: Path) -> None:
    ids = pl.Series([5, 3, 9])
    path, sample = tmp_path / "submission.csv", tmp_path / "sample_submission.csv"
    sample.write_text("id,winner_model_a,winner_model_b,winner_tie\n3,1,0,0\n5,1,0,0\n9,1,0,0\n")
    path.write_text("earlier")
    log_probs = random_log_probs(3)
    write_submission(path, ids, log_probs + 2.0, sample=sample)  # a shift is normalised away
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["id", "winner_model_a", "winner_model_b", "winner_tie"]
    assert [row[0] for row in rows[1:]] == ["5", "3", "9"]
    for row, logs in zip(rows[1:], log_probs, strict=True):
        assert math.isclose(math.fsum(map(float, row[1:])), 1, abs_tol=1e-15)
        np.testing.assert_allclose([float(cell) for cell in row[1:]], np.exp(logs), atol=1e-15)
    check_submission(path, ids)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sample_submission.csv", "submission.csv"]


def test_a_refused_submission_changes_nothing(tmp_path: Path) -> None:
    ids = pl.Series(["a", "b"])
    path, sample = tmp_path / "s.csv", tmp_path / "sample.csv"
    path.write_text("earlier")
    good = random_log_probs(2)
    sample.write_text("id,winner_model_a,winner_model_b,winner_tie\na,1,0,0\nc,1,0,0\n")
    bad_logs = good.copy()
    bad_logs[1, 0] = np.nan
    cases: list[tuple[str, dict[str, Any]]] = [
        ("predictions have shape", {"log_probs": good[:1]}),
        (r"row 2 \(id b\).*no distribution", {"log_probs": bad_logs}),
        ("the id a repeats", {"ids": pl.Series(["a", "a"])}),
        ("id c is only in the sample", {"sample": sample}),
        ("exists already", {"overwrite": False}),
    ]
    for message, change in cases:
        with pytest.raises(InputError, match=message):
            write_submission(**{"path": path, "ids": ids, "log_probs": good, **change})
    sample.write_text("id,winner_model_a\na,1\nb,1\n")
    with pytest.raises(InputError, match="has the columns id, winner_model_a, the submission has"):
        write_submission(path, ids, good, sample=sample)
    with pytest.raises(InputError, match="is a folder"):
        write_submission(tmp_path, ids, good)
    with pytest.raises(InputError, match="cannot be written"):
        write_submission(tmp_path / "no" / "s.csv", ids, good)
    assert path.read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,winner_model_a\n1,1\n", "has the columns"),
        ("{h}\n1,1,0,0\n", "has 1 rows, the test file has 2"),
        ("{h}\n1,1,0,0\n2,1,0,0\n3,1,0,0\n", r"row 3 \(id 3\): more rows"),
        ("{h}\n2,1,0,0\n1,1,0,0\n", r"row 1 \(id 2\): the test file has id 1 there"),
        ("{h}\n1,1,0,0\n2,nan,0,1\n", "not all between 0 and 1"),
        ("{h}\n1,1,0,0\n2,x,0,1\n", "are not three numbers"),
        ("{h}\n1,1,0,0\n2,.5,.5,.5\n", "the row sums to 1.5, expected 1"),
    ],
)
def test_a_submission_is_checked_as_kaggle_checks_it(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text(text.replace("{h}", "id,winner_model_a,winner_model_b,winner_tie"))
    with pytest.raises(InputError, match=message):
        check_submission(path, pl.Series([1, 2]))


def test_two_outcome_submissions_name_the_winner(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    write_winners(path, pl.Series(["p", "q", "r"]), np.log([[0.6, 0.4], [0.2, 0.8], [0.5, 0.5]]))
    assert path.read_text() == "id,winner\np,model_a\nq,model_b\nr,model_a\n"
