"""The pipeline called with plain values, as a notebook or a server does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from arena_ensemble import (
    Battles,
    Ensemble,
    build_ensemble,
    cross_fit,
    load_recipe,
    make_folds,
    predict,
    read_battles,
    sample,
    train_members,
    write_submission,
)
from arena_ensemble.artifacts import files
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.errors import InputError, MemberError, StaleError, VersionError
from arena_ensemble.pipeline import imported as external
from arena_ensemble.pipeline import refusals
from arena_ensemble.pipeline.extra_data import ExtraFile
from arena_ensemble.pipeline.run_result import RunResult
from arena_ensemble.pipeline.workflow import TrainingRun, predict_test
from arena_ensemble.recipes import Recipe, recipe_from

SMALL = {"backbone": "lexical", "lexical": {"max_features": 80, "interactions": 0, "inner_folds": 0}}
RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 80\ninteractions = 0\ninner_folds = 0\n'


def small_workspace(folder: Path, rows: int = 60, test_rows: int = 8, seed: int = 3) -> Path:
    """The sample arena's files and the recipe of a quick member, which is returned."""
    for name, text in sample.files(rows, test_rows, seed=seed).items():
        (folder / name).write_text(text)
    recipe = folder / "models" / "mine" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    return recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingRun, Ensemble]:
    work = tmp_path_factory.mktemp("work")
    small_workspace(work, 150, 12, seed=4)
    run = train_members(
        work / "train.csv", ["mine"], workspace=work, test=work / "test.csv", n_folds=3, jobs=1
    )
    return work, run, build_ensemble(run)


def test_the_three_roads_to_a_prediction_agree_to_the_bit(
    finished: tuple[Path, TrainingRun, Ensemble],
) -> None:
    work, run, ensemble = finished
    kept = predict_test(run, ensemble).log_probs
    read_again = predict(Ensemble.load(work), work / "test.csv", workspace=work).log_probs
    in_memory = Ensemble.load(work).predict_log_proba(read_battles(work / "test.csv"))
    np.testing.assert_array_equal(read_again, kept)
    np.testing.assert_array_equal(in_memory, kept)
    write_submission(work / "out.csv", predict_test(run, ensemble))
    written = pl.read_csv(work / "out.csv").select(pl.exclude("id")).to_numpy()
    np.testing.assert_allclose(written, np.exp(kept), atol=1e-12)


def test_battles_in_memory_are_read_like_a_file(finished: tuple[Path, TrainingRun, Ensemble]) -> None:
    work, _, ensemble = finished
    battles = read_battles(work / "test.csv")
    expected = ensemble.predict_proba(battles)
    frame = pl.read_csv(work / "test.csv")
    rows = battles.frame.select("id", "prompt", "response_a", "response_b").to_dicts()
    other = frame.with_columns(day=pl.date(2026, 1, 1))  # a column that is not read
    for given in (battles.frame, frame, other, rows, battles.without_outcomes(), work / "test.csv"):
        np.testing.assert_array_equal(ensemble.predict_proba(given), expected)
    np.testing.assert_array_equal(predict(ensemble, frame).log_probs, ensemble.predict_log_proba(battles))
    plain = {"prompt": "Give JSON", "response_a": '["x", "y"]', "response_b": "Nobody knows."}
    assert ensemble.predict_proba([plain]).shape == ensemble.predict_proba(plain).shape == (1, 3)
    surrogate = {**plain, "prompt": ["\ud800", None], "response_b": "\ud83d\ude00 \udfff"}
    replaced = {**plain, "prompt": ["\ufffd", None], "response_b": "😀 \ufffd"}
    np.testing.assert_array_equal(ensemble.predict_proba(surrogate), ensemble.predict_proba(replaced))
    with pytest.raises(InputError, match="no battles: give at least one row"):
        ensemble.predict_proba([])
    with pytest.raises(InputError, match="response_b"):
        ensemble.predict_proba([{"prompt": "p", "response_a": "a"}])
    for wrong in (None, 3, ["a text"], np.zeros((2, 3)), iter([plain])):
        with pytest.raises(InputError, match="give Battles, a file, a polars or pandas frame"):
            ensemble.predict_proba(wrong)  # type: ignore[arg-type]


def test_a_member_made_anew_needs_a_new_ensemble(tmp_path: Path) -> None:
    recipe = small_workspace(tmp_path)
    data = tmp_path / "train.csv"
    build_ensemble(train_members(data, "mine", workspace=tmp_path, n_folds=3, jobs=1))
    recipe.write_text(RECIPE.replace("80", "70"))
    train_members(data, ["mine"], workspace=tmp_path, n_folds=3, jobs=1, retrain="mine")
    for road in (
        lambda e: e.predict_proba(tmp_path / "test.csv"),
        lambda e: predict(e, tmp_path / "test.csv"),
    ):
        with pytest.raises(StaleError, match="'mine' was made anew since the ensemble was"):
            road(Ensemble.load(tmp_path))


def test_nothing_is_forgotten_before_the_rest_is_known(tmp_path: Path) -> None:
    small_workspace(tmp_path)
    options = {"workspace": tmp_path, "n_folds": 3, "jobs": 1}
    run = train_members(tmp_path / "train.csv", ["mine"], **options)  # type: ignore[arg-type]
    before = {p: p.read_bytes() for p in (tmp_path / "oof").rglob("*") if p.is_file()}
    missing = [ExtraFile(tmp_path / "absent.csv")]
    with pytest.raises(InputError, match=r"absent\.csv does not exist"):
        train_members(tmp_path / "train.csv", ["mine"], retrain=["mine"], extra=missing, **options)  # type: ignore[arg-type]
    for name in ("mien", "lexical"):
        with pytest.raises(InputError, match=rf"--retrain {name}: not among the members of this run"):
            train_members(tmp_path / "train.csv", ["mine"], retrain=[name], **options)  # type: ignore[arg-type]
    assert {p: p.read_bytes() for p in (tmp_path / "oof").rglob("*") if p.is_file()} == before
    run.workspace.oof.joinpath("mine", "oof.parquet").rename(tmp_path / "kept.parquet")
    external.import_member(run.workspace, "theirs", tmp_path / "kept.parquet")
    with pytest.raises(InputError, match="--retrain theirs: its predictions were imported"):
        train_members(tmp_path / "train.csv", ["theirs"], retrain=["theirs"], **options)  # type: ignore[arg-type]


def test_cards_of_an_older_version_are_named_and_made_anew(tmp_path: Path) -> None:
    """What the release before wrote: the same cards without a format, their own hash right."""
    small_workspace(tmp_path)
    options = {"workspace": tmp_path, "n_folds": 3, "jobs": 1}
    build_ensemble(train_members(tmp_path / "train.csv", ["mine"], **options))  # type: ignore[arg-type]
    for path in tmp_path.rglob("card.json"):
        old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("format", "card_sha256")}
        path.write_text(json.dumps({**old, "card_sha256": files.digest_json(old)}))
    with pytest.raises(VersionError, match=r"another version .*make the member anew with --retrain mine"):
        train_members(tmp_path / "train.csv", ["mine"], **options)  # type: ignore[arg-type]
    run = train_members(tmp_path / "train.csv", ["mine"], retrain=["mine"], **options)  # type: ignore[arg-type]
    assert build_ensemble(run).members == ["mine"]


class Frame:
    """What a pandas frame has that is needed here; pandas is no dependency."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows

    def to_dict(self, orient: str) -> list[dict[str, object]]:
        assert orient == "records"
        return self.rows


def test_a_pandas_frame_is_read_too(finished: tuple[Path, TrainingRun, Ensemble]) -> None:
    work, _, ensemble = finished
    rows = pl.read_csv(work / "test.csv").to_dicts()
    rows = [{**row, "id": np.int64(row["id"])} for row in rows]  # type: ignore[call-overload]
    expected = ensemble.predict_proba(read_battles(work / "test.csv"))
    np.testing.assert_array_equal(ensemble.predict_proba(Frame(rows)), expected)


def test_predicting_in_memory_writes_nothing(finished: tuple[Path, TrainingRun, Ensemble]) -> None:
    work, _, ensemble = finished
    before = {p: p.read_bytes() for p in work.rglob("*") if p.is_file() and p.name != ".arena-lock"}
    ensemble.predict_proba([{"prompt": "p", "response_a": "a", "response_b": "b"}])
    after = {p: p.read_bytes() for p in work.rglob("*") if p.is_file() and p.name != ".arena-lock"}
    assert before == after


def test_fitted_models_and_the_ensemble_are_enough_to_predict(
    finished: tuple[Path, TrainingRun, Ensemble], tmp_path: Path
) -> None:
    """What is carried to an offline notebook: out-of-fold predictions may stay behind."""
    work, _, ensemble = finished
    shutil.copytree(work / "models", tmp_path / "models")
    shutil.copytree(work / "oof" / "ensemble", tmp_path / "oof" / "ensemble")
    expected = ensemble.predict_log_proba(work / "test.csv")
    carried = Ensemble.load(tmp_path)
    np.testing.assert_array_equal(carried.predict_log_proba(work / "test.csv"), expected)
    np.testing.assert_array_equal(predict(carried, work / "test.csv").log_probs, expected)


def test_the_swap_law_holds_in_memory(finished: tuple[Path, TrainingRun, Ensemble]) -> None:
    work, _, ensemble = finished
    battles = read_battles(work / "test.csv")
    np.testing.assert_allclose(
        ensemble.predict_proba(battles.swapped()), ensemble.predict_proba(battles)[:, [1, 0, 2]], atol=1e-12
    )


def test_cross_fit_takes_battles_and_folds(tmp_path: Path) -> None:
    battles = sample.make_arena(60, seed=3).battles
    folds = make_folds(battles, n_folds=3, seed=0)
    recipe: Recipe = recipe_from(SMALL, name="mine")
    result = cross_fit(recipe, battles, folds, workspace=tmp_path, test=battles.take([0, 1]), jobs=1)
    assert (result.finished, result.failed) == (["mine"], {})
    predictions = result.oof("mine")
    assert predictions.ids.equals(battles.ids)
    np.testing.assert_array_equal(predictions.fold, folds.fold)
    assert len(result.test("mine")) == 3
    again = cross_fit([recipe], battles, folds, workspace=str(tmp_path), jobs=1)
    np.testing.assert_array_equal(again.oof("mine").log_probs, predictions.log_probs)
    other = make_folds(battles, n_folds=3, seed=1)
    with pytest.raises(StaleError, match="another set of folds"):
        cross_fit(recipe, battles, other, workspace=tmp_path, jobs=1)


def test_errors_of_a_run_name_every_member(tmp_path: Path) -> None:
    result = RunResult(Workspace(tmp_path), failed={"a": "no luck", "b": "nor here"})
    with pytest.raises(MemberError, match="member a: no luck; member b: nor here"):
        refusals.raise_if_failed(result)
    with pytest.raises(InputError, match="no member is finished: member a: no luck; member b: nor here"):
        refusals.raise_if_none_finished(result)
    result.bugs.append(TypeError("ours"))
    with pytest.raises(TypeError, match="ours"):
        refusals.raise_if_none_finished(result)


def test_the_digest_of_battles_is_computed_once_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[int, bool]] = []
    original = Battles._digest

    def counting(self: Battles, outcomes: bool) -> str:
        counted.append((len(self), outcomes))
        return original(self, outcomes)

    monkeypatch.setattr(Battles, "_digest", counting)
    recipe = small_workspace(tmp_path)
    files = {"workspace": tmp_path, "test": tmp_path / "test.csv", "n_folds": 3, "jobs": 1}
    for _ in range(2):
        counted.clear()
        run = train_members(tmp_path / "train.csv", ["mine"], **files)  # type: ignore[arg-type]
        predict_test(run, build_ensemble(run))
        assert counted.count((60, True)) == 1
        assert counted.count((8, False)) == 1
    assert load_recipe(recipe).name == "mine"


@pytest.mark.slow
def test_a_script_without_a_main_guard_may_train_in_several_processes(tmp_path: Path) -> None:
    small_workspace(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(
        "from arena_ensemble import train_members\n"
        "run = train_members('train.csv', ['mine'], n_folds=3, jobs=2)\n"
        "print(run.result.finished, run.result.failed)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "['mine'] {}\n", done.stderr
