"""A valid submission stands on disk at every moment, and a member that fails costs itself only."""

from __future__ import annotations

import io
import json
import logging
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import cli, read_battles, sample
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.errors import ArtifactError, MemberError
from arena_ensemble.features import extract
from arena_ensemble.io import check_submission
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.pipeline.fallback import ALL_SETS, Fallback, Pool, fit_fallback, fit_pool
from arena_ensemble.pipeline.standing import StandingSubmission
from arena_ensemble.predictions import Predictions, normalised

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = {}\ninteractions = 0\ninner_folds = 0\n'
MEMBERS = ("some", "more", "most")


def road(folder: Path) -> Path:
    """Sample votes and three quick members; returns the workspace."""
    for name, text in sample.files(60, 8, seed=3).items():
        (folder / name).write_text(text)
    (folder / "new.csv").write_text(sample.files(2, 25, seed=4)["test.csv"])
    for k, name in enumerate(MEMBERS):
        recipe = folder / "w" / "models" / name / "recipe.toml"
        recipe.parent.mkdir(parents=True)
        recipe.write_text(RECIPE.format(40 + 40 * k))
    return folder / "w"


def submission(folder: Path, *more: str, members: str = ",".join(MEMBERS)) -> int:
    return cli.run(
        [
            "submission", "--data", str(folder / "train.csv"), "--test", str(folder / "test.csv"),
            "--workspace", str(folder / "w"), "--models", members, "--folds", "3", "--jobs", "1", *more,
        ]
    )  # fmt: skip


def predict(folder: Path, workspace: Path, *more: str) -> int:
    new = str(folder / "new.csv")
    return cli.run(["predict", "--test", new, "--workspace", str(workspace), "--jobs", "1", *more])


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], bytes]]:
    """Every early write, checked as the competition would as soon as it is on disk."""
    seen: list[tuple[list[str], bytes]] = []
    original = StandingSubmission._put

    def put(self: StandingSubmission, prediction: Any, members: Any) -> None:
        original(self, prediction, members)
        check_submission(self.path, self.test.ids)
        seen.append((list(members), self.path.read_bytes()))

    monkeypatch.setattr(StandingSubmission, "_put", put)
    return seen


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("road")
    road(folder)
    assert submission(folder) == 0
    return folder


@pytest.fixture
def carried(trained: Path, tmp_path: Path) -> Path:
    """Fitted models and the ensemble alone, as a notebook without training data has them."""
    shutil.copytree(trained / "w" / "models", tmp_path / "w" / "models")
    shutil.copytree(trained / "w" / "oof" / "ensemble", tmp_path / "w" / "oof" / "ensemble")
    return tmp_path / "w"


def test_each_write_is_valid_and_from_more_members_and_the_last_is_the_same_as_without(
    tmp_path: Path, writes: list[tuple[list[str], bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    road(tmp_path)
    assert submission(tmp_path) == 0
    assert [members for members, _ in writes] == [[], ["some"], ["some", "more"], list(MEMBERS)]
    assert len({content for _, content in writes}) == 4
    prior = pl.read_csv(io.BytesIO(writes[0][1])).select(pl.exclude("id")).unique()
    assert len(prior) == 1
    votes = np.bincount(read_battles(tmp_path / "train.csv", need_outcomes=True).outcomes(), minlength=3) + 1
    np.testing.assert_allclose(prior.to_numpy()[0], votes / votes.sum(), rtol=1e-12)
    final = (tmp_path / "w" / "submission.csv").read_bytes()
    writes.clear()
    assert submission(tmp_path) == 0  # nothing is left to do: no early file takes its place
    assert not writes
    assert (tmp_path / "w" / "submission.csv").read_bytes() == final
    new = tmp_path / "new.csv"  # all members are there, and a file is until they are stacked
    shutil.rmtree(tmp_path / "w" / "oof" / "ensemble")
    assert submission(tmp_path, "--out", str(new)) == 0
    assert [members for members, _ in writes] == [[], ["some", "more", "most"]]
    assert new.read_bytes() == final
    shutil.rmtree(tmp_path / "w" / "oof")
    (tmp_path / "w" / "submission.csv").unlink()
    monkeypatch.setattr(StandingSubmission, "__call__", lambda self, members: None)
    assert submission(tmp_path) == 0
    assert (tmp_path / "w" / "submission.csv").read_bytes() == final


def test_a_file_of_more_members_is_never_replaced_by_one_of_fewer(
    trained: Path, tmp_path: Path, writes: list[tuple[list[str], bytes]]
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    before = (folder / "w" / "submission.csv").read_bytes()
    extra = folder / "w" / "models" / "broken" / "recipe.toml"
    extra.parent.mkdir()
    extra.write_text(RECIPE.format(10))
    assert submission(folder, members=",".join([*MEMBERS, "broken"])) == 0
    assert [members for members, _ in writes] == [[*MEMBERS, "broken"]]
    assert (folder / "w" / "submission.csv").read_bytes() != before


def test_an_early_write_that_fails_costs_the_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    road(tmp_path)

    def full(*values: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StandingSubmission, "_put", full)
    assert submission(tmp_path, members="some") == 0
    assert "stays as it is: [Errno 28] No space left on device" in capsys.readouterr().err


def damage(fold: Path) -> None:
    next(path for path in fold.iterdir() if path.name != "card.json").write_bytes(b"{}")


@pytest.mark.parametrize(("fold", "options"), [(0, ()), (0, ("--hours", "9")), (2, ()), (2, ("--jobs", "2"))])
def test_a_fold_that_cannot_predict_costs_itself(
    carried: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fold: int,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    shutil.copytree(carried, tmp_path / "whole")
    damage(carried / "models" / "more" / f"fold-{fold}")
    assert predict(trained, carried, "--json", *options) == 4
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert facts["left_out"] == facts["late"] == {}
    assert facts["fewer_folds"] == {"more": "2 of 3 fold models"}
    assert f"fold {fold}: " in facts["partly"]["more"]
    assert "a file is missing or its SHA-256 differs" in facts["partly"]["more"]
    assert f"more fold {fold} failed: " in told.err
    # by hand: the ensemble of all that a whole workspace predicts but for that fold
    assert predict(trained, tmp_path / "whole") == 0
    capsys.readouterr()
    by_fold = {name: MemberArtifacts(Workspace(tmp_path / "whole"), name).load_test() for name in MEMBERS}
    del by_fold["more"][fold]
    new = read_battles(trained / "new.csv")
    aligned = {name: [part.aligned_to(new.ids) for part in parts] for name, parts in by_fold.items()}
    expected = np.exp(Ensemble.load(carried).combine(aligned, extract(new)).log_probs)
    written = pl.read_csv(carried / "submission.csv").select(pl.exclude("id")).to_numpy()
    np.testing.assert_allclose(written, expected, atol=1e-12)
    assert predict(trained, carried, *options) == 4
    assert f"member more: 2 of 3 fold models predicted\nmember more FAILED IN PART: fold {fold}" in (
        capsys.readouterr().out
    )
    assert predict(trained, carried, "--strict") == 4
    assert f"member more: fold {fold}: " in capsys.readouterr().err


def test_what_most_likely_fails_each_time_is_tried_twice(
    carried: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold in (0, 1):
        damage(carried / "models" / "more" / f"fold-{fold}")
    assert predict(trained, carried, "--json") == 4
    assert list(json.loads(capsys.readouterr().out)["left_out"]) == ["more"]


@pytest.mark.parametrize("how", ["folder", "fold", "edited"])
def test_a_member_that_cannot_predict_is_left_out(
    carried: Path, trained: Path, capsys: pytest.CaptureFixture[str], how: str,
    writes: list[tuple[list[str], bytes]],
) -> None:  # fmt: skip
    lost = carried / "models" / "more"
    if how == "folder":
        shutil.rmtree(lost)
    elif how == "fold":
        for path in lost.glob("fold-*"):
            shutil.rmtree(path)
    else:
        for fold in ("fold-1", "fold-2"):
            damage(lost / fold)
        shutil.rmtree(lost / "fold-0")
    assert predict(trained, carried, "--strict", "--out", str(carried / "strict.csv")) in (1, 4)
    capsys.readouterr()
    assert predict(trained, carried, "--json") == 4
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert list(facts["left_out"]) == ["more"]
    assert told.err.count("left out: member more") == 1
    battles = read_battles(trained / "new.csv")
    check_submission(carried / "submission.csv", battles.ids)
    # by hand: the pool that was kept of the other two, and their own models
    ensemble = Ensemble.load(carried)
    assert ensemble.fallback is not None
    pool = ensemble.fallback.best(["most", "some"])
    assert pool is not None
    assert set(pool.weights) <= {"most", "some"}
    assert set(facts["gammas"]) - {"ensemble"} == set(pool.weights)
    assert [members for members, _ in writes][:1] == [[]]


def test_where_every_member_fails_the_prior_stays_and_the_error_is_told(
    carried: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in carried.glob("models/*/fold-*/*"):
        if path.name != "card.json":
            path.write_bytes(b"")
    assert predict(trained, carried) == 4
    assert "error: member" in capsys.readouterr().err
    rows = pl.read_csv(carried / "submission.csv")
    check_submission(carried / "submission.csv", read_battles(trained / "new.csv").ids)
    assert len(rows.select(pl.exclude("id")).unique()) == 1


def test_a_whole_ensemble_predicts_the_same_with_and_without_early_files(
    carried: Path, trained: Path, writes: list[tuple[list[str], bytes]]
) -> None:
    assert predict(trained, carried) == 0
    counts = [len(members) for members, _ in writes]
    assert counts == sorted(set(counts))
    # with the gammas of that prediction, which it has kept
    expected = np.exp(Ensemble.load(carried).predict_log_proba(read_battles(trained / "new.csv")))
    written = pl.read_csv(carried / "submission.csv").select(pl.exclude("id")).to_numpy()
    np.testing.assert_allclose(written, expected, atol=1e-12)


def test_at_training_a_failed_member_costs_itself_unless_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from arena_ensemble.backbones.lexical import model

    road(tmp_path)
    original = model.fit

    def fit(*values: Any, recipe: Any, **named: Any) -> Any:
        if recipe.name == "more":
            raise MemoryError
        return original(*values, recipe=recipe, **named)

    for module in {
        id(m): m for m in (model, __import__("arena_ensemble.backbones", fromlist=["x"]).get("lexical"))
    }.values():
        monkeypatch.setattr(module, "fit", fit)
    assert submission(tmp_path, "--strict") == 4
    assert "member more: fold 0: MemoryError" in capsys.readouterr().err
    assert submission(tmp_path) == 4
    assert "member more FAILED: fold 0: MemoryError" in capsys.readouterr().out
    check_submission(tmp_path / "w" / "submission.csv", read_battles(tmp_path / "test.csv").ids)
    assert Ensemble.load(Workspace(tmp_path / "w")).members == ["some", "most"]


@pytest.mark.parametrize("chained", [False, True])
def test_a_failed_member_s_memory_is_free_when_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chained: bool
) -> None:
    """An error holds its frames, and these a model that fills the card: the next member would fail too."""
    from arena_ensemble import backbones, train_members

    module = backbones.get("lexical")
    original, held, alive = module.fit, list[Any](), list[bool]()

    class Model:
        """What lies on the card."""

    def full() -> None:
        model = Model()
        held.append(weakref.ref(model))
        raise MemoryError

    def fit(*values: Any, recipe: Any, **named: Any) -> Any:
        if recipe.name == "some":
            try:
                full()
            except MemoryError as error:
                if chained:
                    raise MemberError("out of memory") from error
                raise
        alive.extend(one() is not None for one in held)
        return original(*values, recipe=recipe, **named)

    monkeypatch.setattr(module, "fit", fit)
    road(tmp_path)
    run = train_members(tmp_path / "train.csv", ["some", "more"], workspace=tmp_path / "w", n_folds=3, jobs=1)
    assert list(run.result.failed) == ["some"]
    assert alive == [False, False, False]


def votes_and_members(seed: int, count: int, rows: int = 90) -> tuple[dict[str, Predictions], Any]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    ids, fold = pl.Series("id", [str(k) for k in range(rows)]), np.zeros(rows, dtype=np.int64)
    members = {}
    for k in range(count):
        scores = rng.normal(size=(rows, 3)) + rng.uniform(0, 2) * np.eye(3)[y]
        members[f"m{k}"] = Predictions(ids, normalised(scores), fold)
    return members, y


@given(seed=st.integers(0, 10**6), count=st.integers(1, ALL_SETS + 2), data=st.data())
def test_the_pools_of_a_fallback(seed: int, count: int, data: st.DataObject) -> None:
    members, y = votes_and_members(seed, count)
    fallback = fit_fallback(members, y)
    assert Fallback.restore(fallback.dump()) == fallback
    there = data.draw(st.lists(st.sampled_from(sorted(members)), unique=True))
    pool = fallback.best(there)
    if not there:
        assert pool is None
        return
    assert pool is not None
    assert set(pool.weights) <= set(there)
    for name in there:  # every member alone is among the pools, so none beats the choice
        assert pool.log_loss <= fit_pool({name: members[name]}, y).log_loss + 1e-12
    given_rows = {name: members[name] for name in pool.weights}
    shown = pool.log_probs(given_rows)
    np.testing.assert_allclose(np.exp(shown).sum(axis=1), 1, atol=1e-12)
    swapped = pool.log_probs({name: one.swapped() for name, one in given_rows.items()})
    np.testing.assert_allclose(swapped, shown[:, [1, 0, 2]], atol=1e-12)


def test_a_fallback_that_was_edited_is_refused() -> None:
    with pytest.raises(ArtifactError, match="run stack again"):
        Fallback.restore(b'{"shares": [1, 2], "pools": []}')
    no_votes = Fallback(shares=[0.6, 0.4, 0.0], pools=[Pool(weights={"a": 1.0}, log_loss=1.0)])
    assert np.isfinite(no_votes.prior(2)).all()


def test_messages_of_the_early_file_name_its_members(tmp_path: Path, caplog: Any) -> None:
    road(tmp_path)
    with caplog.at_level(logging.INFO, logger="arena_ensemble"):
        logging.getLogger("arena_ensemble").propagate = True
        from arena_ensemble import train_members

        train_members(
            tmp_path / "train.csv", ["some"], workspace=tmp_path / "w", test=tmp_path / "test.csv", n_folds=3,
            jobs=1, early=tmp_path / "early.csv",
        )  # fmt: skip
    assert "early.csv is valid now, from the prior, until a member is finished" in caplog.text
    assert "early.csv is valid now, from members some" in caplog.text
