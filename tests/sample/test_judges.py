"""Laws of the sample panel: seeded, votes by the stated truth, each judge as it is described."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arena_ensemble.io import read_judgements, read_panel_votes
from arena_ensemble.judgements import First
from arena_ensemble.sample import JUDGES, Judge, panel


def test_the_same_seed_gives_the_same_panel_and_another_seed_does_not() -> None:
    assert panel(40, seed=3).judgements.digest() == panel(40, seed=3).judgements.digest()
    assert panel(40, seed=3).files() != panel(40, seed=4).files()


@pytest.mark.parametrize("ties", [True, False])
def test_votes_follow_the_stated_probabilities(ties: bool) -> None:
    made = panel(6000, seed=1, ties=ties)
    probs = np.exp(made.true_log_probs)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-12)
    counts = np.bincount(made.outcomes, minlength=3)
    spread = np.sqrt((probs * (1 - probs)).sum(axis=0))
    assert (np.abs(counts - probs.sum(axis=0)) <= 4 * spread).all()
    assert (counts[2] > 0) == ties


def test_judges_are_as_described() -> None:
    made = panel(3000, seed=2, judges={**JUDGES, "fair": Judge("verdicts", 0.5, orders=1, missing=0.2)})
    columns = made.judgements.columns
    share = {
        name: (column.verdicts == made.outcomes)[~column.missing].mean() for name, column in columns.items()
    }
    assert share["fair"] > share["careful"] > share["hasty"] > share["coin"]
    for name in ("leaning", "fair"):
        first = columns[name].first
        toward = np.isin(columns[name].verdicts, (0, 1)) & np.isin(first, (First.A, First.B))
        followed = (columns[name].verdicts[toward] == first[toward]).mean()
        assert (followed > 0.6) == (name == "leaning")
    assert abs(columns["fair"].missing.mean() - 0.2) < 0.03
    assert (columns["careful"].present[:, :2].sum(axis=1) == 2).mean() > 0.9
    assert made.judgements.costs["careful"] == JUDGES["careful"].cost


def test_files_are_read_as_what_was_drawn(tmp_path: Path) -> None:
    made = panel(60, seed=5)
    for name, text in made.files().items():
        (tmp_path / name).write_text(text)
    read = read_judgements(*(tmp_path / f"{name}.csv" for name in ("verdicts", "scores", "probabilities")))
    read = read.aligned_to(made.judgements.ids)
    assert set(read.judges) == set(JUDGES)
    for name, column in made.judgements.columns.items():
        for field, array in column.arrays().items():
            np.testing.assert_allclose(read.columns[name].arrays()[field], array, rtol=1e-9, err_msg=name)
    votes = read_panel_votes(tmp_path / "votes.csv")
    np.testing.assert_array_equal(votes.majority, made.outcomes)
