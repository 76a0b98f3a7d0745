"""The table of counts: equivariant, falls back on its logistic model, kappa by marginal likelihood."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import dirichlet_multinomial

from arena_ensemble.stacking.count_table import (
    KAPPAS,
    CountTable,
    CountTableCandidate,
    likeliest_kappa,
    worth_a_table,
)
from arena_ensemble.stacking.design import Design

SWAPPED = np.array([1, 0, 2])


def _design(n: int = 600, seed: int = 0) -> tuple[Design, np.ndarray]:
    """Two judges' verdicts; B wins where both say A: what no linear model holds."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 3, (n, 2))
    y = np.where(
        (cells == 0).all(axis=1), 1, np.where(rng.random(n) < 0.7, cells[:, 0], rng.integers(0, 3, n))
    )
    delta = np.where(cells == 0, 1.0, np.where(cells == 1, -1.0, 0.0))
    empty = np.empty((n, 0))
    names = ("x", "y")
    return Design(delta, np.zeros((n, 2)), empty, empty, names, (), (), cells, SWAPPED[cells]), y


def test_swapped_cells_give_swapped_predictions_and_the_state_restores_it() -> None:
    design, y = _design()
    model = CountTableCandidate().fit(design, y, 0)
    path = model.predict_path(design)
    np.testing.assert_allclose(model.predict_path(design.swapped()), path * np.array([-1, 1]), atol=1e-12)
    # through JSON, as a saved stacker's state comes back
    back = CountTable.from_state(json.loads(model.state().model_dump_json()), model.texts())
    np.testing.assert_array_equal(back.predict_path(design), path)


def test_a_cell_never_seen_falls_back_on_the_logistic_model() -> None:
    design, y = _design()
    model = CountTableCandidate().fit(design, y, 0)
    assert design.cells is not None
    unseen = dataclasses.replace(design.take(np.arange(1)), cells=np.array([[9, 9]]))
    np.testing.assert_allclose(model.predict_path(unseen), model.base.predict_path(unseen), atol=1e-9)
    with pytest.raises(ValueError, match="needs the judges' answers"):
        model.predict_path(dataclasses.replace(design, cells=None))


def test_kappa_is_the_likeliest_by_scipy() -> None:
    rng = np.random.default_rng(0)
    base = rng.dirichlet(np.ones(3), 20)
    counts = rng.multinomial(50, base)
    other = rng.multinomial(50, rng.dirichlet(np.ones(3), 20))
    for table in (counts, other):
        scores = [
            sum(
                dirichlet_multinomial.logpmf(row, kappa * mean, 50)
                for row, mean in zip(table, base, strict=True)
            )
            for kappa in KAPPAS
        ]
        assert likeliest_kappa(table.astype(float), base) == KAPPAS[int(np.argmax(scores))]
    assert likeliest_kappa(counts.astype(float), base) > likeliest_kappa(other.astype(float), base)


def test_a_table_is_worth_it_where_cells_repeat() -> None:
    assert worth_a_table(np.zeros((40, 3), np.int64))
    assert not worth_a_table(np.arange(40)[:, None])
