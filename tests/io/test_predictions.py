"""Predictions and labels that other tools wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from data_files import WRITERS, random_log_probs

from arena_ensemble.errors import InputError
from arena_ensemble.io import read_labels, read_predictions


@pytest.mark.parametrize(
    "names", [("winner_model_a", "winner_model_b", "winner_tie"), ("p_a", "p_b", "p_tie")]
)
@pytest.mark.parametrize("kind", ["csv", "csv-gzip", "parquet", "jsonl"])
def test_predictions_of_one_member(names: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    probs = np.array([[0.5, 0.25, 0.25], [0.0, 0.9996, 0.0]])
    rows = [{"id": k + 1, **dict(zip(names, p.tolist(), strict=True))} for k, p in enumerate(probs)]
    path = tmp_path / "their model.csv.gz"
    path.write_bytes(WRITERS[kind](rows))
    found = read_predictions(path)
    assert list(found) == ["their model"]
    predictions = found["their model"]
    assert predictions.ids.to_list() == [1, 2]
    assert predictions.fold.tolist() == [-1, -1]
    np.testing.assert_allclose(predictions.probs, [[0.5, 0.25, 0.25], [0, 1, 0]], atol=1e-14)


def test_our_own_file_is_read_as_logarithms_with_folds_and_swap(tmp_path: Path) -> None:
    logs, swap = random_log_probs(4), random_log_probs(4, seed=1)
    data = {"id": ["a", "b", "c", "d"], "fold": [0, 1, 0, 1]}
    data |= {f"logp_{c}": logs[:, k] for k, c in enumerate(("a", "b", "tie"))}
    data |= {f"swap_logp_{c}": swap[:, k] for k, c in enumerate(("a", "b", "tie"))}
    pl.DataFrame(data).write_parquet(tmp_path / "oof.parquet")
    predictions = read_predictions(tmp_path / "oof.parquet")["oof"]
    assert predictions.fold.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(predictions.log_probs, logs, atol=1e-12)
    assert predictions.swap_log_probs is not None
    np.testing.assert_allclose(predictions.swap_log_probs, swap, atol=1e-12)
    # a row per (id, fold): the folds' predictions are averaged, joined by id
    data["id"] = ["a", "b", "b", "a"]
    data["fold"] = [0, 0, 1, 1]
    pl.DataFrame(data).write_parquet(tmp_path / "test.parquet")
    mean = read_predictions(tmp_path / "test.parquet")["test"]
    assert mean.ids.to_list() == ["a", "b"]
    both = [predictions.combined().log_probs[[0, 3]], predictions.combined().log_probs[[1, 2]]]
    for row, pair in enumerate(both):
        pooled = np.exp(pair.mean(axis=0))
        np.testing.assert_allclose(mean.probs[row], pooled / pooled.sum(), atol=1e-12)


def test_real_out_of_fold_files(shared_data: Path) -> None:
    found = read_predictions(shared_data / "oof" / "oof_3members_2874.csv")
    assert {name: len(predictions) for name, predictions in found.items()} == dict.fromkeys(
        ["llm_3", "lexical_lr", "minilm_lr"], 2874
    )
    labels = read_labels(shared_data / "oof" / "labels_57477.csv")
    assert labels.height == 57477
    by_label = read_labels(shared_data / "oof" / "oof_3members_2874.csv")
    joined = by_label.join(labels, on="id", suffix="_all")
    assert joined.height == 2874
    assert joined["outcome"].equals(joined["outcome_all"])
    y = by_label["outcome"].to_numpy()
    loss = -found["llm_3"].log_probs[np.arange(2874), y].mean()
    assert loss == pytest.approx(0.86729, abs=5e-5)  # peers.md: best single member


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize(
    ("cell", "words"), [(None, "p_b is empty|p_b is NaN"), (float("nan"), "p_b is NaN|empty")]
)
def test_a_cell_far_down_that_is_no_number_is_named_by_row(
    cell: object, words: str, kind: str, tmp_path: Path
) -> None:
    rows = [{"id": k, "p_a": 0.5, "p_b": 0.25, "p_tie": 0.25} for k in range(5000)]
    rows[4500] = {**rows[4500], "p_b": cell}
    rows[4600] = {**rows[4600], "p_a": cell}
    path = tmp_path / "oof"
    path.write_bytes(WRITERS[kind](rows))
    with pytest.raises(InputError, match=rf"row 4501 \(id 4500\): ({words})"):
        read_predictions(path)


def test_labels_in_the_first_rows_alone_are_a_member(tmp_path: Path) -> None:
    rows = [
        {"id": k, "label_a": 1, "label_b": 0, "label_tie": 0, "m_a": 0.5, "m_b": 0.25, "m_tie": 0.25}
        for k in range(5000)
    ]
    path = tmp_path / "oof.csv"
    pl.DataFrame(rows).write_csv(path)
    assert list(read_predictions(path)) == ["m"]
    rows[-1] = {**rows[-1], "label_a": 0.5, "label_b": 0.5}
    pl.DataFrame(rows, infer_schema_length=None, strict=False).write_csv(path)
    assert list(read_predictions(path)) == ["label", "m"]
