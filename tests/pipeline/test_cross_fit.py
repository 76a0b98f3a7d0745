"""Laws of cross-fitting, held against a backbone that remembers what it saw."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import backbones
from arena_ensemble.artifacts import fold_file
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import Battles
from arena_ensemble.errors import ArenaError, ArtifactError, InputError, StaleError
from arena_ensemble.pipeline import orders, tasks
from arena_ensemble.pipeline.cross_fit import run_job
from arena_ensemble.pipeline.executors import slots
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.predictions import normalised
from arena_ensemble.recipes import Recipe, recipe_from
from arena_ensemble.sample import make_arena


@dataclass
class Remembering:
    """Fits nothing: remembers the first turns it trained on, and refuses to predict a row it saw."""

    fits: list[int] = field(default_factory=list)
    predicted: int = 0
    fail_at: int | None = None

    def prepare(self, battles: Battles, *, recipe: Recipe, cache: Path, on_progress: Any) -> None:
        assert battles.frame["outcome"].null_count() == len(battles)

    def fit(self, train: Battles, *, folder: Path, **others: Any) -> Any:
        if self.fail_at == len(self.fits):
            raise ArenaError("no more luck")
        self.fits.append(len(train))
        first = sorted(set(train.frame["prompt"].list.first().to_list()))
        shares = (np.bincount(train.outcomes(), minlength=3) / len(train)).tolist()
        (folder / "seen.json").write_text(json.dumps({"seen": first, "shares": shares}))
        return self.load(folder, recipe=others["recipe"], cache=others["cache"])

    def load(self, folder: Path, *, recipe: Recipe, cache: Path) -> Any:
        @dataclass
        class Fitted:
            memory: dict[str, Any]
            facts: dict[str, Any]

        return Fitted(json.loads((folder / "seen.json").read_text()), {"device": "none"})

    def predict(self, fitted: Any, battles: Battles, *, on_progress: Any = None) -> Any:
        assert battles.frame["outcome"].null_count() == len(battles), "an outcome reached predict()"
        assert not set(fitted.memory["seen"]) & set(battles.frame["prompt"].list.first().to_list())
        self.predicted += len(battles)
        lengths = battles.frame["response_a"].list.len().to_numpy()
        logits = np.log(fitted.memory["shares"]) + 0.01 * np.outer(lengths, [1, -1, 0])
        return normalised(logits)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Remembering:
    made = Remembering()
    monkeypatch.setattr(backbones, "get", lambda name: made)
    return made


def job_of(tmp_path: Path, rows: int = 120, test_rows: int = 20) -> Job:
    battles = make_arena(rows + test_rows, seed=7).battles
    train, test = (
        battles.take(np.arange(rows)),
        battles.take(np.arange(rows, rows + test_rows)).without_outcomes(),
    )
    keep = ~test.frame["prompt"].list.first().is_in(train.frame["prompt"].list.first().to_list())
    test = test.take(np.flatnonzero(keep.to_numpy()))
    folds = fold_file.ensure_folds(Workspace(tmp_path), train, n_folds=4, seed=0)
    return Job(tmp_path, train, folds, test)


RECIPE = recipe_from({"backbone": "lexical"}, name="fake")
BOTH = recipe_from({"backbone": "lexical", "read_orders": 2}, name="fake")


def test_every_row_is_predicted_once_by_a_model_that_never_saw_its_group(
    tmp_path: Path, fake: Remembering
) -> None:
    job = job_of(tmp_path)
    outcome = run_job(job, {"fake": BOTH}, jobs=1)
    assert outcome.finished == ["fake"]
    predictions, card = MemberArtifacts(job.workspace, "fake").load()
    tests = MemberArtifacts(job.workspace, "fake").load_test()
    assert predictions.ids.equals(job.train.ids)
    np.testing.assert_array_equal(predictions.fold, job.folds.fold)
    assert predictions.swap_log_probs is not None
    assert [len(part) for part in tests] == [len(job.test)] * 4  # type: ignore[arg-type]
    assert [int(part.fold[0]) for part in tests] == [0, 1, 2, 3]
    assert fake.predicted == 2 * (len(job.train) + 4 * len(job.test))  # type: ignore[arg-type]
    assert card.key is not None
    assert card.key.folds == job.folds.digest


def test_a_rerun_does_nothing(tmp_path: Path, fake: Remembering) -> None:
    job = job_of(tmp_path)
    run_job(job, {"fake": RECIPE}, jobs=1)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    fake.fits.clear()
    fake.predicted = 0
    run_job(job, {"fake": RECIPE}, jobs=1)
    assert (fake.fits, fake.predicted) == ([], 0)
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert before == after


def test_a_failure_keeps_the_finished_folds_and_a_rerun_goes_on(tmp_path: Path, fake: Remembering) -> None:
    job = job_of(tmp_path)
    fake.fail_at = 2
    outcome = run_job(job, {"fake": RECIPE, "other": RECIPE}, jobs=1)
    assert outcome.failed["fake"] == "fold 2: no more luck"
    fake.fail_at = None
    fitted_before = len(fake.fits)
    outcome = run_job(job, {"fake": RECIPE}, jobs=1)
    assert outcome.finished == ["fake"]
    assert len(fake.fits) - fitted_before == 2  # only folds 2 and 3


def test_a_new_test_file_is_read_by_the_old_models(tmp_path: Path, fake: Remembering) -> None:
    job = job_of(tmp_path)
    run_job(Job(job.root, job.train, job.folds), {"fake": RECIPE}, jobs=1)
    with pytest.raises(InputError, match="no test predictions"):
        MemberArtifacts(job.workspace, "fake").load_test()
    fake.fits.clear()
    run_job(job, {"fake": RECIPE}, jobs=1)
    assert fake.fits == []
    assert len(MemberArtifacts(job.workspace, "fake").load_test()) == 4


def test_another_recipe_is_refused_by_name_until_remade(tmp_path: Path, fake: Remembering) -> None:
    job = job_of(tmp_path)
    run_job(job, {"fake": RECIPE}, jobs=1)
    other = recipe_from({"backbone": "lexical", "seed": 5}, name="fake")
    with pytest.raises(StaleError, match=r"another recipe \(seed was 0, is 5\); .*--retrain fake"):
        run_job(job, {"fake": other}, jobs=1)
    MemberArtifacts(job.workspace, "fake").forget()
    assert run_job(job, {"fake": other}, jobs=1).finished == ["fake"]


def test_reading_the_other_order_needs_no_new_training(tmp_path: Path, fake: Remembering) -> None:
    job = job_of(tmp_path)
    run_job(job, {"fake": RECIPE}, jobs=1)
    fake.fits.clear()
    run_job(job, {"fake": BOTH}, jobs=1)
    assert fake.fits == []
    assert MemberArtifacts(job.workspace, "fake").load()[0].swap_log_probs is not None


def test_other_data_in_the_same_workspace_is_refused(tmp_path: Path, fake: Remembering) -> None:
    job_of(tmp_path)
    other = make_arena(90, seed=8).battles
    with pytest.raises(StaleError):
        fold_file.ensure_folds(Workspace(tmp_path), other, n_folds=4, seed=0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["oof.parquet", "card.json"])
def test_a_truncated_member_is_never_read(tmp_path: Path, fake: Remembering, name: str, share: float) -> None:
    job = job_of(tmp_path, rows=60, test_rows=6)
    run_job(job, {"fake": RECIPE}, jobs=1)
    path = job.workspace.oof / "fake" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
        MemberArtifacts(job.workspace, "fake").load()


def test_an_installation_during_a_run_changes_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded stays loaded: versions that change on disk must not make an ensemble anew."""
    before = tasks.versions()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "another")
    assert tasks.versions() == before
    before.clear()
    assert tasks.versions(), "a copy is given"


def test_fitted_models_read_new_battles_without_the_training_data(tmp_path: Path, fake: Remembering) -> None:
    job = job_of(tmp_path)
    run_job(job, {"fake": RECIPE}, jobs=1)
    oof_before = (job.workspace.oof / "fake" / "oof.parquet").read_bytes()
    fake.fits.clear()
    new = make_arena(15, seed=99).battles.without_outcomes()
    assert run_job(Job(tmp_path, None, None, new), {"fake": RECIPE}, jobs=1).finished == ["fake"]
    assert fake.fits == []
    assert MemberArtifacts(job.workspace, "fake").load_test()[0].ids.equals(new.ids)
    assert (job.workspace.oof / "fake" / "oof.parquet").read_bytes() == oof_before


def test_a_share_of_the_rows_is_predicted_in_the_second_order(tmp_path: Path, fake: Remembering) -> None:
    """Rows of the share equal those of a full second pass; the others are those of one order."""
    found = {}
    for name, values in (
        ("one", {}),
        ("both", {"read_orders": 2}),
        ("some", {"read_orders": 2, "second_order_share": 0.3}),
    ):
        recipe = recipe_from({"backbone": "lexical", **values}, name="fake")
        job = job_of(tmp_path / name, test_rows=0)
        fake.predicted = 0
        run_job(job, {"fake": recipe}, jobs=1)
        found[name] = MemberArtifacts(job.workspace, "fake").load()[0]
        assert job.folds is not None
        held = np.bincount(job.folds.fold)
        drawn = len(orders.second_order_rows(job.train.ids, 0.3))
        twice = {"one": 0, "both": held.sum(), "some": drawn}[name]
        assert fake.predicted == held.sum() + twice
    one, both, some = (found[name].combined().log_probs for name in ("one", "both", "some"))
    moved = (some != one).any(axis=1)
    assert 0 < moved.sum() <= twice
    np.testing.assert_allclose(some[moved], both[moved], rtol=0, atol=1e-12)
    np.testing.assert_allclose(some[~moved], one[~moved], rtol=0, atol=1e-12)
    bias = found["some"].position_bias()
    assert bias is not None
    assert (bias != 0).sum() <= twice, "a row of one order shows no position bias"


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_rows_of_a_share_depend_on_their_ids_alone(n: int, share: float, seed: int) -> None:
    ids = pl.Series([f"row {k}" for k in range(n)])
    rows = orders.second_order_rows(ids, share)
    assert abs(len(rows) - share * n) <= 5 * math.sqrt(n * share * (1 - share)) + 1e-9
    assert (np.diff(rows) > 0).all()
    first = orders.second_order_rows(ids[: n // 2], share)
    assert set(first) == {row for row in rows if row < n // 2}, "other rows change nothing"
    order = np.random.default_rng(seed).permutation(n)
    assert set(ids[order][orders.second_order_rows(ids[order], share)]) == set(ids[rows])


def test_another_share_is_predicted_anew(tmp_path: Path, fake: Remembering) -> None:
    job = job_of(tmp_path, test_rows=0)
    for share, least in ((0.2, 1), (0.2, 0), (0.6, 1)):
        fake.predicted = 0
        values = {"backbone": "lexical", "read_orders": 2, "second_order_share": share}
        run_job(job, {"fake": recipe_from(values, name="fake")}, jobs=1)
        assert (fake.predicted > 0) == bool(least)
    assert len(fake.fits) == 4, "no fold is trained again for it"


def test_the_old_spelling_of_a_share_is_accepted_for_one_release(caplog: pytest.LogCaptureFixture) -> None:
    values = {"backbone": "lexical", "read_orders": "uncertain", "uncertain_share": 0.3}
    with caplog.at_level("WARNING", logger="arena_ensemble"):
        recipe = recipe_from(values, name="old")
    assert (recipe.read_orders, recipe.second_order_share) == (2, 0.3)
    assert "is now read_orders = 2 with second_order_share = 0.3" in caplog.text


def test_folds_run_side_by_side_where_bases_are_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process per core for what is known to be small; a large base, or an unknown one, runs alone."""
    monkeypatch.setattr(slots, "gpu_count", lambda: 0)
    monkeypatch.setattr(slots.os, "sched_getaffinity", lambda pid: set(range(4)))

    def based(base: str) -> Recipe:
        return recipe_from({"backbone": "classify", "base": base}, name="m")

    small, large = tmp_path / "small", tmp_path / "large"
    for folder, size in ((small, 10**6), (large, 501 * 10**6)):
        folder.mkdir()
        with (folder / "model.safetensors").open("wb") as stream:
            stream.truncate(size)
    lexical, tiny = RECIPE, based("tiny:encoder")
    assert slots.default_jobs([lexical, tiny]) == 4
    memory = slots.os.sysconf("SC_PHYS_PAGES") * slots.os.sysconf("SC_PAGE_SIZE")
    assert slots.default_jobs([lexical, based(str(small))]) == max(1, min(4, memory >> 32))
    for base in (str(large), "no-such-org/never-downloaded"):
        assert slots.default_jobs([lexical, based(base)]) == 1
    monkeypatch.setattr(slots, "gpu_count", lambda: 2)
    assert slots.default_jobs([based(str(large))]) == 2
