"""Extra battles and teachers: nothing of a held-out row comes back through them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.cards import MemberCard, PredictionKey
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import Battles
from arena_ensemble.errors import InputError, RecipeError, StaleError
from arena_ensemble.folds import group_keys, make_folds
from arena_ensemble.pipeline import distillation, extra_data
from arena_ensemble.predictions import Predictions
from arena_ensemble.recipes import Recipe, recipe_from
from arena_ensemble.sample import make_arena

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'
TRAIN = make_arena(60, seed=3).battles
FOLDS = make_folds(TRAIN, n_folds=3, seed=0)


def again(rows: list[int], change: str) -> Battles:
    """Some training battles once more, as another file would hold them: other ids, near-equal prompts."""
    part = TRAIN.take(rows).frame.with_columns(
        id=pl.int_range(0, len(rows), dtype=pl.Int64) + 10**9,
        prompt=pl.col("prompt").list.eval(pl.element().str.replace("$", change)),
    )
    return Battles(part)


@settings(max_examples=8)
@given(
    rows=st.lists(st.integers(0, 59), min_size=1, max_size=12, unique=True),
    change=st.sampled_from(["", " ", "  \n", "?", "!!"]),
)
def test_an_extra_battle_never_trains_against_a_fold_that_knows_its_prompt(
    rows: list[int], change: str
) -> None:
    fresh = make_arena(8, seed=99).battles.frame.with_columns(pl.col("id") + 2 * 10**9)
    battles = Battles(pl.concat([again(rows, change).frame, fresh], how="diagonal"))
    named = Battles(battles.frame.with_columns(id="extra:0:" + pl.col("id").cast(pl.String)))
    extra = extra_data.ExtraBattles(
        named, np.full(len(named), 0.5), extra_data.may_train(named, TRAIN, FOLDS), ()
    )
    for fold in range(3):
        inside, outside = FOLDS.rows(fold), FOLDS.rest(fold)
        joined, weights, soft = extra_data.add_extra_rows(extra, TRAIN.take(outside), fold, None)
        assert soft is None
        assert weights is not None
        np.testing.assert_array_equal(weights, [1.0] * len(outside) + [0.5] * (len(joined) - len(outside)))
        both = Battles(
            pl.concat(
                [
                    joined.frame,
                    TRAIN.take(inside).frame.with_columns(id="held:" + pl.col("id").cast(pl.String)),
                ],
                how="diagonal",
            )
        )
        groups = group_keys(both)
        assert not set(groups[: len(joined)]) & set(groups[len(joined) :])


def write(folder: Path) -> None:
    for name, text in sample.files(60, 8, seed=3).items():
        (folder / name).write_text(text)
    (folder / "more.csv").write_text(sample.files(30, 2, seed=77)["train.csv"])
    atomic.write_bytes(folder / "w" / "models" / "first" / "recipe.toml", RECIPE.encode())
    taught = RECIPE + '[soft]\nteacher = "first"\nweight = 0.5\n'
    atomic.write_bytes(folder / "w" / "models" / "pupil" / "recipe.toml", taught.encode())


def oof(folder: Path, members: str, *more: str) -> int:
    return cli.run(
        ["oof", "--data", str(folder / "train.csv"), "--workspace", str(folder / "w"), "--models", members,
         "--folds", "3", "--jobs", "1", *more]
    )  # fmt: skip


def card(folder: Path, place: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "w" / place / "card.json").read_text())
    return value


@pytest.mark.slow
def test_extra_battles_and_a_teacher_through_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    extra = ["--extra", f"{tmp_path / 'more.csv'}:0.5", "--extra", str(tmp_path / "train.csv")]
    assert oof(tmp_path, "pupil,first", *extra) == 0
    learned = card(tmp_path, "models/first/fold-0")["learned_from"]["extra"]
    assert learned["files"] == [
        {"file": "more.csv", "rows": 30, "weight": 0.5},
        {"file": "train.csv", "rows": 60, "weight": 1.0},
    ]
    assert learned["used"] + learned["held_back"] == 90
    # of the training file itself, each fold's own prompts are held back at least
    assert learned["held_back"] >= (FOLDS.fold == 0).sum()
    taught = card(tmp_path, "models/pupil/fold-1")["learned_from"]["teacher"]
    assert taught == {"name": "first", "rows": 60, "folds_verified": True}
    before = (tmp_path / "w" / "oof" / "pupil" / "oof.parquet").read_bytes()
    assert before != (tmp_path / "w" / "oof" / "first" / "oof.parquet").read_bytes()
    assert oof(tmp_path, "pupil,first", *extra) == 0
    assert (tmp_path / "w" / "oof" / "pupil" / "oof.parquet").read_bytes() == before
    capsys.readouterr()
    assert oof(tmp_path, "first") == 1
    assert "was made with another extra; " in capsys.readouterr().err
    assert oof(tmp_path, "first", "--retrain", "first") == 0
    assert oof(tmp_path, "pupil,first") == 1
    assert "was made with another extra, another teacher; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("more.csv:0", "the weight 0 is not above 0"),
        ("more.csv:-1", "the weight -1 is not above 0"),
        ("more.csv:nan", "the weight nan is not above 0"),
        ("more.csv:inf", "the weight inf is not above 0"),
        ("absent.csv:2", "absent.csv does not exist"),
        ("test.csv", "holds no outcomes; training needs the winner columns"),
    ],
)
def test_a_bad_extra_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: str, message: str
) -> None:
    write(tmp_path)
    assert oof(tmp_path, "first", "--extra", str(tmp_path / extra)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "w" / "oof" / "first").exists()


def taught_by(teacher: str, folder: Path | None = None, name: str = "pupil") -> Recipe:
    return recipe_from({"backbone": "lexical", "soft": {"teacher": teacher}}, name=name, folder=folder)


def said(folder: Path, **columns: Any) -> None:
    n = len(TRAIN)
    table = pl.DataFrame({"id": TRAIN.ids, "p_a": [0.5] * n, "p_b": [0.3] * n, "p_tie": [0.2] * n, **columns})
    table.write_csv(folder / "teacher.csv")


def test_a_teachers_file_must_be_out_of_fold_for_the_rows_that_it_teaches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace, recipe = Workspace(tmp_path), taught_by("./teacher.csv", tmp_path)
    with pytest.raises(InputError, match="no file"):
        distillation.teacher_digest(workspace, recipe)
    said(tmp_path, fold=FOLDS.fold)
    teacher = distillation.teacher_of(workspace, recipe, TRAIN, FOLDS)
    assert teacher is not None
    assert teacher.facts["folds_verified"] is True
    np.testing.assert_allclose(np.exp(teacher.log_probs), [[0.5, 0.3, 0.2]] * len(TRAIN))
    said(tmp_path, fold=(FOLDS.fold + 1) % 3)
    with pytest.raises(InputError, match="60 rows may have been trained on"):
        distillation.teacher_of(workspace, recipe, TRAIN, FOLDS)
    said(tmp_path)
    with caplog.at_level("WARNING", logger="arena_ensemble"):
        teacher = distillation.teacher_of(workspace, recipe, TRAIN, FOLDS)
    assert teacher is not None
    assert teacher.facts["folds_verified"] is False
    pl.read_csv(tmp_path / "teacher.csv").head(7).write_csv(tmp_path / "teacher.csv")
    teacher = distillation.teacher_of(workspace, recipe, TRAIN, FOLDS)
    assert teacher is not None
    assert np.isnan(teacher.log_probs).all(axis=1).sum() == len(TRAIN) - 7
    pl.read_csv(tmp_path / "teacher.csv").with_columns(pl.col("id") + 10**12).write_csv(
        tmp_path / "teacher.csv"
    )
    with pytest.raises(InputError, match="for none of the training battles"):
        distillation.teacher_of(workspace, recipe, TRAIN, FOLDS)


def test_a_teacher_of_another_fold_file_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(InputError, match="has no out-of-fold predictions yet"):
        distillation.teacher_digest(workspace, taught_by("first"))
    key = PredictionKey(recipe="r", data="d", folds="f" * 64, fold=None, orders="1", n_classes=3)
    predictions = Predictions(TRAIN.ids, np.full((len(TRAIN), 3), np.log(1 / 3)), FOLDS.fold)
    card = MemberCard(key=key, member="first", backbone="lexical", folds_verified=True, rows=len(TRAIN))
    MemberArtifacts(workspace, "first").commit_oof(predictions, card)
    with pytest.raises(StaleError, match="was made with another fold file, so it may have seen"):
        distillation.teacher_of(workspace, taught_by("first"), TRAIN, FOLDS)


def test_teachers_come_before_their_pupils_and_circles_are_refused() -> None:
    free = recipe_from({"backbone": "lexical"}, name="free")
    recipes = {"a": taught_by("b", name="a"), "b": taught_by("free", name="b"), "free": free}
    assert [list(wave) for wave in distillation.in_teaching_order(recipes)] == [["free"], ["b"], ["a"]]
    assert [
        list(wave) for wave in distillation.in_teaching_order({"a": taught_by("elsewhere", name="a")})
    ] == [["a"]]
    with pytest.raises(RecipeError, match="teach each other or start from each other: a, b"):
        distillation.in_teaching_order({"a": taught_by("b", name="a"), "b": taught_by("a", name="b")})
