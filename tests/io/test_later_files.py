"""A later file of a panel's judges means what the first one meant, whichever of its rows it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble.io.judgement_chunks import PairChunks, open_judgements
from arena_ensemble.io.judgement_notes import read_part
from arena_ensemble.io.judgements import load_judgements, read_judgements
from arena_ensemble.judgements import JudgeColumn, KnownJudge

N = 60
RNG = np.random.default_rng(1)
PROBS = RNG.dirichlet([2, 2, 1], N)
SHARES = [[float(one) for one in row] for row in PROBS]
SCORES = RNG.normal(size=(N, 2)).round(3)
CODES = RNG.integers(0, 3, N)
WORDS = [("A", "B", "tie", "", "I cannot say")[code] for code in RNG.integers(0, 5, N)]
EIGHT = [[("A", "B", "tie", "")[code] for code in row] for row in RNG.integers(0, 4, (N, 8))]
IDS = [f"p{k}" for k in range(N)]

Rows = list[dict[str, Any]]
WIDE: dict[str, Mapping[str, Sequence[Any]]] = {
    "words": {"x": WORDS, "y": [("[[A]]", "[[B]]", "[[C]]")[code] for code in CODES]},
    "numbers": {"x": [str((code + 1) % 3) for code in CODES], "y": WORDS},
    "samples": {f"x_{s}": [row[s] for row in EIGHT] for s in range(8)},
    "lists": {"x": EIGHT, "y": [list(map(float, row)) for row in RNG.integers(1, 3, (N, 3))]},
    "orders": {"x": WORDS, "x_swapped": WORDS[1:] + WORDS[:1], "y_ab": WORDS, "y_ba": WORDS},
    "shares": {"x_prob_a": PROBS[:, 0], "x_prob_b": PROBS[:, 1], "x_prob_tie": PROBS[:, 2],
               "y_a": PROBS[:, 1], "y_b": 1 - PROBS[:, 1]},
    "percent": {f"x_{side}": (100 * PROBS[:, k]).round(1) for k, side in enumerate(("a", "b", "tie"))},
    "logs": {f"x_logprob_{side}": np.log(PROBS[:, k]) - 0.1 for k, side in enumerate("ABC")},
    "labels": {"x": [dict(zip("ABC", row, strict=True)) for row in SHARES]},
    "scores": {"x_score_a": SCORES[:, 0], "x_score_b": SCORES[:, 1], "y_margin": SCORES[:, 1]},
    "swapped": {"swapped": [k % 2 == 0 for k in range(N)], "x": WORDS},
}  # fmt: skip


def rows_of(shape: str, *, long: bool) -> Rows:
    columns = {"id": IDS, **WIDE[shape]}
    wide = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if not long:
        return wide
    return [
        {"id": row["id"], "judge": name, "verdict": row[name]}
        for row in wide
        for name in columns
        if name != "id"
    ]


def write(path: Path, rows: Rows) -> Path:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    if path.suffix == ".csv":
        listed = [name for name, dtype in frame.schema.items() if dtype == pl.List]
        texts = {name: [str(cell) for cell in frame[name].to_list()] for name in listed}
        objects = {name: [str(dict(cell)).replace("\'", '"') for cell in frame[name].to_list()]
                   for name, dtype in frame.schema.items() if dtype == pl.Struct}  # fmt: skip
        frame.with_columns(
            **{name: pl.Series(cells) for name, cells in {**texts, **objects}.items()}
        ).write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_ndjson(path)
    return path


def same(one: JudgeColumn, two: JudgeColumn) -> None:
    assert one.kind == two.kind
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, two.arrays()[name])


CASES = [*((shape, False) for shape in WIDE), *((shape, True) for shape in ("words", "numbers", "lists"))]


@pytest.mark.parametrize(("shape", "long"), CASES)
@settings(max_examples=12)
@given(
    kept=st.sets(st.integers(0, N - 1), min_size=1, max_size=6),
    kinds=st.lists(st.sampled_from([".csv", ".jsonl", ".parquet"]), min_size=2, max_size=2),
)
def test_any_rows_mean_what_all_rows_meant(
    tmp_path_factory: pytest.TempPathFactory, shape: str, long: bool, kept: set[int], kinds: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("later")
    rows = rows_of(shape, long=long)
    whole = read_judgements(write(folder / f"whole{kinds[0]}", rows))
    assert set(whole.judges) <= {"x", "y", *(name for name in WIDE[shape] if long)}
    known = {name: KnownJudge(one.kind, whole.numbers.get(name)) for name, one in whole.columns.items()}
    names = {IDS[k] for k in kept}
    path = write(folder / f"part{kinds[1]}", [row for row in rows if row["id"] in names])
    part = read_judgements(path, known=known)
    expected = whole.take(sorted(kept))
    assert part.ids.to_list() == expected.ids.to_list()
    assert set(part.judges) <= set(whole.judges)
    for name, column in expected.columns.items():
        if name in part.columns:
            same(part.columns[name], column)
        else:
            assert column.missing.all()


@pytest.mark.parametrize(("shape", "long"), CASES)
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_chunks_read_what_is_read_whole(tmp_path: Path, shape: str, long: bool, rows: int, kind: str) -> None:
    path = write(tmp_path / f"whole{kind}", rows_of(shape, long=long))
    loaded = load_judgements(path)
    assert loaded.judgements is not None
    whole = loaded.judgements
    known = {name: KnownJudge(one.kind, whole.numbers.get(name)) for name, one in whole.columns.items()}
    file = open_judgements(path, known=known)
    start, notes = 0, None
    for raw in PairChunks((file,), None, rows).raw():
        (part,) = raw.parts
        assert part is not None
        table, more = read_part(file, part)
        notes = more if notes is None else notes + more
        expected = whole.take(range(start, start + len(table)))
        assert table.ids.to_list() == expected.ids.to_list()
        for name, column in table.columns.items():
            same(column, expected.columns[name])
        start += len(table)
    assert start == N
    assert notes is not None
    assert [*notes.notes(file), *file.shape.notes] == list(loaded.notes)


def test_a_best_of_n_panel_remembers_the_answers_that_nobody_chose(tmp_path: Path) -> None:
    from arena_ensemble.pipeline.best_of_n import best_data, fit_best, predict_best, votes_for_best

    best = RNG.integers(0, 4, 60)
    picks = np.where(RNG.random((60, 2)) < 0.7, best[:, None], RNG.integers(0, 4, (60, 2)))
    frame = pl.DataFrame({"item": [f"q{i}" for i in range(60)], "x": picks[:, 0], "y": picks[:, 1]})
    frame.write_csv(tmp_path / "choices.csv")
    frame.select("item", best=pl.Series(["ABCD"[k] for k in best])).write_csv(tmp_path / "best.csv")
    loaded = [load_judgements(tmp_path / "choices.csv")]
    votes = votes_for_best(loaded, tmp_path / "best.csv")
    assert votes is not None
    fit_best(best_data(loaded, votes, tmp_path / "best.csv"), tmp_path / "panel")
    pl.DataFrame({"item": ["new"], "x": [1], "y": [0]}).write_csv(tmp_path / "new.csv")
    found = predict_best(tmp_path / "panel", [tmp_path / "new.csv"])
    assert found.answers.to_list() == ["0", "1", "2", "3"]
    assert np.exp(found.log_probs).sum() == pytest.approx(1)
