"""Laws of the sample arena: seeded, in Kaggle's format, with a known and honest truth."""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import pytest

from arena_ensemble.predictions import delta_tau
from arena_ensemble.sample import Weights, files, make_arena


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    assert files(60, 10, seed=3) == files(60, 10, seed=3)
    assert files(60, 10, seed=3)["train.csv"] != files(60, 10, seed=4)["train.csv"]


def test_votes_follow_the_stated_probabilities() -> None:
    arena = make_arena(6000, seed=1)
    probs = np.exp(arena.true_log_probs)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-12)
    counts = np.bincount(arena.battles.outcomes(), minlength=3)
    spread = np.sqrt((probs * (1 - probs)).sum(axis=0))
    assert (np.abs(counts - probs.sum(axis=0)) < 4 * spread).all()
    nll = -arena.true_log_probs[np.arange(6000), arena.battles.outcomes()]
    assert abs(nll.mean() - arena.bayes_log_loss) < 4 * nll.std() / np.sqrt(6000)


def test_the_only_asymmetry_is_the_stated_position_bias() -> None:
    without = make_arena(500, seed=2, weights=Weights(position_bias=0.0))
    with_bias = make_arena(500, seed=2, weights=Weights(position_bias=0.3))
    np.testing.assert_allclose(
        delta_tau(with_bias.true_log_probs)[0] - delta_tau(without.true_log_probs)[0], 0.3, atol=1e-9
    )


@pytest.mark.parametrize("name", ["length_bias", "format_bias", "correct", "follows"])
def test_each_weight_moves_the_floor(name: str) -> None:
    base, off = make_arena(400, seed=5), make_arena(400, seed=5, weights=Weights(**{name: 0.0}))
    assert abs(base.bayes_log_loss - off.bayes_log_loss) > 1e-3


def test_files_have_kaggles_columns_and_json_turns() -> None:
    made = files(80, 20)
    train = pl.read_csv(io.StringIO(made["train.csv"]))
    assert train.columns == [
        "id", "model_a", "model_b", "prompt", "response_a", "response_b",
        "winner_model_a", "winner_model_b", "winner_tie",
    ]  # fmt: skip
    assert (train.select(pl.sum_horizontal(pl.col("^winner_.*$"))).to_series() == 1).all()
    for row in train.iter_rows(named=True):
        turns = [json.loads(row[name]) for name in ("prompt", "response_a", "response_b")]
        assert len({len(t) for t in turns}) == 1
    test = pl.read_csv(io.StringIO(made["test.csv"]))
    assert test.columns == ["id", "prompt", "response_a", "response_b"]
    sample = pl.read_csv(io.StringIO(made["sample_submission.csv"]))
    assert sample["id"].equals(test["id"])
    truth = pl.read_csv(io.StringIO(made["truth.csv"]))
    assert truth.filter(pl.col("split") == "test")["id"].to_list() == test["id"].to_list()


def test_some_rows_are_in_other_scripts_and_some_have_several_turns() -> None:
    frame = make_arena(1500).battles.frame
    first = frame["prompt"].list.first()
    assert first.str.contains(r"[\p{Han}\p{Cyrillic}\p{Arabic}\p{Devanagari}]").sum() > 10
    assert (frame["prompt"].list.len() > 1).sum() > 100
    assert first.n_unique() > 0.9 * len(frame)
