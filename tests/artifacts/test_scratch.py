"""Features in a file without a name: filled in any order, of 32 bits, and nothing is left behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena_ensemble.artifacts import scratch
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


def test_its_room_is_taken_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map over a file with holes would kill the process where the disk is full."""
    opened: list[int] = []
    plain = tempfile.TemporaryFile

    def noted(**where: Any) -> Any:
        file = plain(**where)
        opened.append(os.dup(file.fileno()))
        return file

    monkeypatch.setattr(scratch.tempfile, "TemporaryFile", noted)
    table = ScratchFeatures(tmp_path, 5000)
    table.write(np.arange(2), extract(make_arena(2, seed=3).battles))
    [number] = opened
    found = os.fstat(number)
    os.close(number)
    features = table.features()
    width = features.odd.shape[1] + features.even.shape[1]
    assert found.st_size == 5000 * width * 4
    assert found.st_blocks * 512 >= found.st_size
