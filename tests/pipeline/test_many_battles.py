"""Training on battles whose texts are in files: everything is as of battles in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arena_ensemble.artifacts import fold_file
from arena_ensemble.io import battles as reader
from arena_ensemble.io.filed_battles import FiledBattles
from arena_ensemble.pipeline.workflow import TrainingRun, train_members
from arena_ensemble.sample import kaggle_frame, make_arena


def trained(folder: Path, name: str) -> TrainingRun:
    return train_members(folder / "train.csv", ["lexical"], workspace=folder / name, n_folds=3, jobs=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, TrainingRun]:
    """In memory, and with texts in files."""
    folder = tmp_path_factory.mktemp("many")
    kaggle_frame(make_arena(330, seed=8).battles, labelled=True).write_csv(folder / "train.csv")
    usual = trained(folder, "usual")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "MANY_ROWS", 100)
        patch.setattr(fold_file, "MANY_ROWS", 100)
        return usual, trained(folder, "filed")


def test_out_of_fold_predictions_are_the_same_to_the_bit(runs: tuple[TrainingRun, TrainingRun]) -> None:
    usual, filed = runs
    assert isinstance(filed.train, FiledBattles)
    assert not isinstance(usual.train, FiledBattles)
    assert filed.train.digest() == usual.train.digest()
    assert filed.folds.digest == usual.folds.digest
    found, expected = (run.result.oof("lexical") for run in (filed, usual))
    np.testing.assert_array_equal(found.log_probs, expected.log_probs)
    assert found.ids.equals(expected.ids)


def test_a_second_run_finds_everything_done(
    runs: tuple[TrainingRun, TrainingRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MANY_ROWS", 100)
    place = runs[1].workspace
    before = (place.root / "oof" / "lexical" / "oof.parquet").stat().st_mtime_ns
    again = trained(place.root.parent, "filed")
    assert not again.result.failed
    assert (place.root / "oof" / "lexical" / "oof.parquet").stat().st_mtime_ns == before
    card = json.loads((place.root / "oof" / "lexical" / "card.json").read_text())
    assert card["rows"] == 330
