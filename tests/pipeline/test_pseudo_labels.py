"""Battles that nobody voted on: a fold learns from what its own model said of them, and from no other."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic, files
from arena_ensemble.artifacts.cards import PredictionKey, ShardCard
from arena_ensemble.errors import InputError, StaleError
from arena_ensemble.folds import Folds, make_folds
from arena_ensemble.io import read_battles, read_predictions
from arena_ensemble.pipeline import extra_data
from arena_ensemble.pipeline.extra_data import ExtraFile
from arena_ensemble.sample import make_arena

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'
TRAIN = make_arena(60, seed=3).battles
FOLDS = make_folds(TRAIN, n_folds=3, seed=0)
MORE = make_arena(22, seed=77).battles.take(np.arange(20))


def write(folder: Path) -> None:
    for name, text in sample.files(60, 8, seed=3).items():
        (folder / name).write_text(text)
    (folder / "more.csv").write_text(sample.files(20, 2, seed=77)["train.csv"])
    for name in ("teacher", "pupil"):
        atomic.write_bytes(folder / "w" / "models" / name / "recipe.toml", RECIPE.encode())


def oof(folder: Path, members: str, *more: str) -> int:
    return cli.run(
        ["oof", "--data", str(folder / "train.csv"), "--workspace", str(folder / "w"), "--models", members,
         "--folds", "3", "--jobs", "1", *more]
    )  # fmt: skip


def reading(path: Path, *, folds: Folds | None, ids: pl.Series = MORE.ids) -> np.ndarray:
    """A ``test.parquet`` whose fold models say different things, with its note; what it says (n, 3, 3)."""
    rng = np.random.default_rng(5)
    said = rng.dirichlet(np.ones(3), size=(3, len(ids)))
    parts = [
        pl.DataFrame(
            {"id": ids, "fold": [k] * len(ids), **{f"logp_{x}": np.log(said[k, :, i]) for i, x in
             enumerate(("a", "b", "tie"))}}
        )
        for k in (2, 0, 1)  # in any order
    ]  # fmt: skip
    content = files.parquet_bytes(pl.concat(parts))
    atomic.write_bytes(path, content)
    if folds is not None:
        key = PredictionKey(recipe="r", data="d", folds=folds.digest, fold=None, orders="1", n_classes=3)
        note = ShardCard(key=key, sha256=files.digest_bytes(content))
        atomic.write_json(path.with_suffix(".json"), note.model_dump())
    return np.log(said).transpose(1, 0, 2)


def battles_file(folder: Path) -> Path:
    path = folder / "more.csv"
    path.write_text(sample.files(20, 2, seed=77)["train.csv"])
    assert read_battles(path).ids.to_list() == MORE.ids.to_list()
    return path


def test_a_fold_learns_from_its_own_models_reading(tmp_path: Path) -> None:
    said = reading(tmp_path / "said.parquet", folds=FOLDS)
    pseudo = [ExtraFile(battles_file(tmp_path), 0.5, tmp_path / "said.parquet")]
    extra = extra_data.read_extra(pseudo, TRAIN, FOLDS)
    assert extra is not None
    assert extra.sources[0]["folds_verified"] is True
    assert not extra.battles.labelled, "the votes of the file are not looked at"
    for fold in range(3):
        outside = FOLDS.rest(fold)
        battles, weights, soft = extra_data.add_extra_rows(extra, TRAIN.take(outside), fold, None)
        assert soft is not None
        assert weights is not None
        assert np.isnan(soft[: len(outside)]).all()
        rows = np.flatnonzero(extra.may[:, fold])
        np.testing.assert_allclose(soft[len(outside) :], said[rows, fold], atol=1e-12)
        assert battles.frame["outcome"].null_count() == len(rows)
        assert (weights[len(outside) :] == 0.5).all()
    other = extra_data.read_extra([replace(pseudo[0], weight=0.25)], TRAIN, FOLDS)
    reading(tmp_path / "said.parquet", folds=FOLDS, ids=MORE.ids.reverse())
    changed = extra_data.read_extra(pseudo, TRAIN, FOLDS)
    assert other is not None
    assert changed is not None
    assert len({extra.digest, other.digest, changed.digest}) == 3, "labels and weights key the folds"


def test_labels_of_unknown_folds_are_taken_in_the_mean_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reading(tmp_path / "said.parquet", folds=None)
    (mean,) = read_predictions(tmp_path / "said.parquet").values()
    with caplog.at_level("WARNING", logger="arena_ensemble"):
        extra = extra_data.read_extra(
            [ExtraFile(battles_file(tmp_path), 1, tmp_path / "said.parquet")], TRAIN, FOLDS
        )
    assert "nothing shows that the models behind" in caplog.text
    assert extra is not None
    assert extra.soft is not None
    for fold in range(3):
        np.testing.assert_allclose(extra.soft[:, fold], mean.aligned_to(MORE.ids).log_probs, atol=1e-12)


def test_labels_of_other_folds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "said.parquet"
    pseudo = [ExtraFile(battles_file(tmp_path), 1.0, path)]
    reading(path, folds=make_folds(TRAIN, n_folds=3, seed=1))
    with pytest.raises(StaleError, match="another fold file"):
        extra_data.read_extra(pseudo, TRAIN, FOLDS)
    reading(path, folds=FOLDS)
    note = path.with_suffix(".json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": "0" * 64}))
    with pytest.raises(InputError, match="SHA-256 differs"):
        extra_data.read_extra(pseudo, TRAIN, FOLDS)
    reading(path, folds=FOLDS, ids=MORE.ids[:19])
    with pytest.raises(InputError, match="1 ids are missing"):
        extra_data.read_extra(pseudo, TRAIN, FOLDS)


@pytest.mark.slow
def test_pseudo_labels_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    assert oof(tmp_path, "teacher", "--test", str(tmp_path / "more.csv")) == 0
    for suffix in ("parquet", "json"):
        shutil.copy(tmp_path / "w" / "oof" / "teacher" / f"test.{suffix}", tmp_path / f"said.{suffix}")
    pseudo = ["--pseudo", f"{tmp_path / 'more.csv'}={tmp_path / 'said.parquet'}:0.5"]
    assert oof(tmp_path, "pupil", *pseudo) == 0
    card: dict[str, Any] = json.loads((tmp_path / "w/models/pupil/fold-0/card.json").read_text())
    learned = card["learned_from"]["extra"]
    assert learned["files"] == [
        {"file": "more.csv", "rows": 20, "weight": 0.5, "pseudo_labels": "said.parquet",
         "folds_verified": True}
    ]  # fmt: skip
    assert learned["used"] + learned["held_back"] == 20
    before = (tmp_path / "w" / "oof" / "pupil" / "oof.parquet").read_bytes()
    assert before != (tmp_path / "w" / "oof" / "teacher" / "oof.parquet").read_bytes()
    assert oof(tmp_path, "pupil", *pseudo) == 0, "a rerun does nothing"
    capsys.readouterr()
    assert oof(tmp_path, "pupil") == 1
    assert "was made with another extra; " in capsys.readouterr().err


@pytest.mark.slow
def test_unverified_labels_stay_so_from_member_to_member(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    taught = RECIPE + '[soft]\nteacher = "teacher"\n'
    atomic.write_bytes(tmp_path / "w" / "models" / "pupil" / "recipe.toml", taught.encode())
    reading(tmp_path / "said.parquet", folds=None)
    pseudo = ["--pseudo", f"{battles_file(tmp_path)}={tmp_path / 'said.parquet'}"]
    assert oof(tmp_path, "teacher,pupil", *pseudo, "--test", str(tmp_path / "more.csv")) == 0
    member = json.loads((tmp_path / "w/oof/teacher/card.json").read_text())
    assert (member["folds_verified"], member["learned_unverified"]) == (True, True)
    assert json.loads((tmp_path / "w/oof/teacher/test.json").read_text())["learned_unverified"] is True
    pupil = json.loads((tmp_path / "w/models/pupil/fold-0/card.json").read_text())
    assert pupil["learned_from"]["teacher"]["folds_verified"] is False
    again = [ExtraFile(tmp_path / "more.csv", 1.0, tmp_path / "w" / "oof" / "teacher" / "test.parquet")]
    train = read_battles(tmp_path / "train.csv")
    extra = extra_data.read_extra(again, train, make_folds(train, n_folds=3, seed=0))
    assert extra is not None
    assert extra.sources[0]["folds_verified"] is False


@pytest.mark.parametrize(
    ("pseudo", "message"),
    [
        ("more.csv", "expected BATTLES=PREDICTIONS[:WEIGHT]"),
        ("more.csv=", "expected BATTLES=PREDICTIONS[:WEIGHT]"),
        ("more.csv=said.csv:0", "--pseudo said.csv:0: the weight 0 is not above 0"),
        ("more.csv=absent.csv", "absent.csv does not exist"),
        ("absent.csv=said.csv", "absent.csv does not exist"),
    ],
)
def test_bad_pseudo_labels_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pseudo: str,
    message: str,
) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert oof(tmp_path, "pupil", "--pseudo", pseudo) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "w" / "oof" / "pupil").exists()
