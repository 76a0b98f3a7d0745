"""Features in a file without a name: filled in any order, of 32 bits, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arena_ensemble.artifacts.scratch import ScratchFeatures
from arena_ensemble.features import extract
from arena_ensemble.sample import make_arena


def test_features_lie_in_the_rows_that_they_were_written_to(tmp_path: Path) -> None:
    battles = make_arena(40, seed=3).battles
    whole = extract(battles)
    order = np.random.default_rng(0).permutation(40)
    table = ScratchFeatures(tmp_path, 40)
    with pytest.raises(ValueError, match="no features"):
        table.features()
    for rows in np.array_split(order, 3):
        table.write(rows, extract(battles.take(rows)))
    found = table.features()
    assert (found.odd_names, found.even_names) == (whole.odd_names, whole.even_names)
    for kept, exact in ((found.odd, whole.odd), (found.even, whole.even)):
        assert kept.dtype == np.float32
        np.testing.assert_array_equal(kept, exact.astype(np.float32))
    assert not list(tmp_path.iterdir())
