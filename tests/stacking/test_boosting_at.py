"""Boosted trees at one point of their path are that point of the path, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from arena_ensemble.stacking.base import at_index, path_at
from arena_ensemble.stacking.boosting import BoostedTrees, BoostingCandidate, BoostingParams
from arena_ensemble.stacking.design import Design, make_design


@pytest.fixture(scope="module")
def fitted() -> tuple[BoostedTrees, Design]:
    rng = np.random.default_rng(0)
    members = {name: rng.dirichlet(np.ones(3) * 2, size=900) for name in "ab"}
    y = np.array([rng.choice(3, p=p) for p in members["a"]])
    design = make_design(members, None)
    params = BoostingParams(rounds=(0, 3, 9, 12), min_leaf=10, bags=2, rows=1.0)
    return BoostingCandidate("trees", features=False, params=params).fit(design, y, 0), design


@pytest.mark.parametrize("index", [(0, 0), (2, 1), (0, 3), (3, 0), (9, 9)])
def test_a_point_of_the_path(fitted: tuple[BoostedTrees, Design], index: tuple[int, int]) -> None:
    model, design = fitted
    expected = at_index(model.predict_path(design), index)
    np.testing.assert_array_equal(model.predict_at(design, index), expected)
    np.testing.assert_array_equal(at_index(path_at(model, design, index), index), expected)
    assert index == (0, 0) or np.abs(expected - model.predict_path(design)[0]).max() > 0.01
