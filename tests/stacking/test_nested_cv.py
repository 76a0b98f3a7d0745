"""Nested cross-fitting: no fit sees a row that it predicts."""

from __future__ import annotations

import numpy as np
from noisy_members import noisy_members

from arena_ensemble.predictions import from_delta_tau
from arena_ensemble.stacking import make_design
from arena_ensemble.stacking.nested_cv import cross_fit_paths


def test_nested_paths_never_see_the_rows_that_they_predict() -> None:
    """A candidate that remembers its training rows meets none of them."""
    members, y, _ = noisy_members(60)
    members["row"] = np.exp(from_delta_tau(np.arange(60.0) / 10, np.zeros(60)))

    class Memory:
        name, predicts_tie_logit, tempered = "memory", False, False

        def fit(self, design: object, y: object, seed: int) -> object:
            known = set(design.delta[:, -1].tolist())  # type: ignore[attr-defined]

            class Model:
                def predict_path(self, new: object) -> np.ndarray:
                    seen = [value in known for value in new.delta[:, -1].tolist()]  # type: ignore[attr-defined]
                    return np.full((1, len(seen), 2), float(any(seen)))

            return Model()

    folds = np.arange(60) % 5
    found = cross_fit_paths(
        [Memory()],
        make_design(members, None),
        y,
        folds,
        seed=0,
        pairs=True,  # type: ignore[list-item]
    )["memory"]
    assert all(not part.any() for part in (*found.outside.values(), *found.pair.values()))
    assert len(found.pair) == 20
