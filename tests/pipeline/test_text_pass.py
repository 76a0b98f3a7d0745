"""Texts of many battles in one pass: the groups and features of those in memory, in whatever order."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from external_members import SampleArena

from arena_ensemble.battles import Battles
from arena_ensemble.errors import InputError
from arena_ensemble.features import extract
from arena_ensemble.folds import group_keys
from arena_ensemble.io import read_battles
from arena_ensemble.io.filed_battles import TextFiles
from arena_ensemble.pipeline import build, external, guards, text_pass
from arena_ensemble.pipeline.external_files import NamedFile
from arena_ensemble.pipeline.text_pass import features_of, read_texts
from arena_ensemble.sample import kaggle_frame, make_arena
from arena_ensemble.stacking import Stacker, sampling

ROWS = 90


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of millions of rows, made small."""
    monkeypatch.setattr(text_pass, "MANY_ROWS", 50)
    monkeypatch.setattr(text_pass, "CHUNK_ROWS", 17)


def written(folder: Path, kind: str) -> Path:
    frame = kaggle_frame(make_arena(ROWS, seed=5).battles, labelled=True)
    # some prompts again, and nearly again
    prompts = frame["prompt"].to_list()
    alone = [k for k, text in enumerate(prompts) if len(json.loads(text)) == 1]
    for first, again, nearly in zip(alone[:10], alone[20:30], alone[40:50], strict=True):
        prompts[again] = prompts[first]
        prompts[nearly] = prompts[first].replace('"]', ' now"]')
    frame = frame.with_columns(pl.Series("prompt", prompts))
    path = folder / f"battles.{kind}"
    if kind == "csv":
        frame.write_csv(path)
    elif kind == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path, row_group_size=11)
    return path


def in_memory(path: Path, rows: Sequence[int]) -> Battles:
    return read_battles(path).take(rows)


def partition(groups: np.ndarray) -> list[int]:
    """Groups numbered as they appear."""
    seen: dict[int, int] = {}
    return [seen.setdefault(int(group), len(seen)) for group in groups]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_one_pass_finds_what_reading_all_finds(tmp_path: Path, kind: str, shuffled: bool) -> None:
    path = written(tmp_path, kind)
    rows = np.random.default_rng(1).permutation(ROWS)[:70] if shuffled else np.arange(ROWS)
    battles = in_memory(path, rows)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = read_texts(path, battles.ids, None, groups=True, scratch=scratch)
    exact = extract(battles)
    np.testing.assert_array_equal(found.features.odd, exact.odd.astype(np.float32))
    np.testing.assert_array_equal(found.features.even, exact.even.astype(np.float32))
    assert found.groups is not None
    groups = group_keys(battles)
    assert partition(found.groups) == partition(groups)
    assert len(set(groups.tolist())) < len(battles) - 10  # repeats and near-duplicates are there
    if not shuffled:
        np.testing.assert_array_equal(found.groups, groups)
    assert not list(scratch.iterdir())
    assert read_texts(path, battles.ids, None, groups=False).groups is None


def test_few_rows_of_a_long_file_keep_no_other_text_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "parquet")
    rows = np.random.default_rng(1).permutation(ROWS)[:30]
    battles = in_memory(path, rows)
    filed: list[TextFiles] = []

    class Noted(TextFiles):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            filed.append(self)

    monkeypatch.setattr("arena_ensemble.io.battles.MANY_ROWS", 50)
    monkeypatch.setattr("arena_ensemble.io.battles.TextFiles", Noted)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = read_texts(path, battles.ids, None, groups=True, scratch=scratch)
    assert [one.rows for one in filed] == [ROWS]
    filed.clear()
    gc.collect()
    assert not list(scratch.iterdir())
    exact = extract(battles)
    assert found.features.odd.tobytes() == exact.odd.tobytes()
    assert found.features.even.tobytes() == exact.even.tobytes()
    np.testing.assert_array_equal(found.groups, group_keys(battles))


@pytest.mark.usefixtures("many")
def test_battles_that_are_there_already_give_the_same_features(tmp_path: Path) -> None:
    battles = make_arena(ROWS, seed=5).battles
    found = features_of(battles, tmp_path / "new")
    np.testing.assert_array_equal(found.odd, extract(battles).odd.astype(np.float32))
    few = battles.take(range(50))
    np.testing.assert_array_equal(features_of(few, tmp_path).odd, extract(few).odd)  # of 64 bits


@pytest.mark.usefixtures("many")
def test_what_is_wrong_with_the_texts_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "csv")
    ids = read_battles(path).ids
    with pytest.raises(InputError, match=r"battles.csv: 1 ids are without text, the first is -5"):
        read_texts(path, pl.concat([ids, pl.Series("id", [-5])]), None, groups=False)
    twice = pl.read_csv(path, infer_schema_length=0)
    pl.concat([twice, twice.tail(1)]).write_csv(path)
    with pytest.raises(InputError, match=rf"row {ROWS + 1} .*the id repeats row {ROWS}"):
        read_texts(path, ids, None, groups=False)
    twice.with_columns(
        pl.when(pl.int_range(pl.len()) == 80).then(None).otherwise("id").alias("id")
    ).write_csv(path)
    with pytest.raises(InputError, match=r"row 81 .*the id is empty"):
        read_texts(path, ids, None, groups=False)


def test_a_stack_of_many_rows_is_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arena = SampleArena(tmp_path, rows=280, test_rows=60, seed=2)
    files = [NamedFile(arena.write(f"{name}.csv", arena.honest(seed=k)), name) for k, name in enumerate("ab")]
    tests = [
        NamedFile(arena.write(f"{name}-test.csv", arena.honest("test", seed=k), "test"), name)
        for k, name in enumerate("ab")
    ]
    train, test = arena.path("train.csv"), arena.path("test.csv")
    # everything is thought to be too much for memory
    monkeypatch.setattr(text_pass, "MANY_ROWS", 50)
    monkeypatch.setattr(sampling, "PLENTY_ROWS", 200)
    monkeypatch.setattr(sampling, "FITTED_ROWS", 240)
    for place in (guards, build):
        monkeypatch.setattr(place, "FITTED_ROWS", 240)
    monkeypatch.setattr(external, "Stacker", partial(Stacker, n_folds=3, honest=False))
    data = external.read_external(train, files, tests=tests, text=train, test_text=test, scratch=tmp_path)
    assert data.features is not None
    assert data.features.odd.dtype == np.float32
    ensemble = external.stack_external(data, tmp_path / "out")
    assert ensemble.card.rows == 280
    assert ensemble.card.log_loss < 1.05
    assert set(ensemble.card.contributions) == {
        "members", "pool_log_loss", "pool_log_loss_se", "greedy", "disagreement", "error_correlation"
    }  # fmt: skip
    rows = pl.read_csv(tmp_path / "out" / "submission.csv")
    assert rows["id"].equals(arena.ids["test"])
