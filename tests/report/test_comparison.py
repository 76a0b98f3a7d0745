"""Two ensembles side by side: the difference is that of the common battles, its sign turns with the sides."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import report_pages

from arena_ensemble import cli
from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.cards import EnsembleKey
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import Battles
from arena_ensemble.errors import InputError
from arena_ensemble.metrics import row_losses
from arena_ensemble.report.battle_view import BattleView, out_of_fold
from arena_ensemble.report.comparison import Made, changes, compare, open_made
from arena_ensemble.report.sections.against import against

KEY = EnsembleKey(
    data="d" * 64,
    folds="f",
    members={},
    seed=0,
    truth=False,
    n_classes=3,
    versions={"numpy": "2"},
    stacker_format=2,
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Made]:
    folder = tmp_path_factory.mktemp("two")
    sharp = report_pages.external(folder / "sharp")
    dull = report_pages.external(folder / "dull", rows=200, seed=5, noise=(1.5, 2.5))
    return open_made(sharp), open_made(dull)


def view_of(made: Made) -> BattleView:
    honest = out_of_fold(made.built, made.folder)
    rows = Battles.from_rows(report_pages.battles_of(len(honest)))
    n = len(rows)
    return BattleView(rows, np.arange(n) // 2, honest.log_probs, np.full((n, 3), -np.log(3)), {})


def test_the_difference_is_that_of_the_common_battles(two: tuple[Made, Made]) -> None:
    sharp, dull = two
    found = compare(sharp, view_of(sharp), dull)
    assert (found.common, found.only_here, found.only_there) == (200, 40, 0)
    y = view_of(sharp).outcomes[:200]
    here, there = (out_of_fold(made.built, made.folder).log_probs[:200] for made in two)
    losses = row_losses(here, y) - row_losses(there, y)
    pair = found.differences["ensemble"]
    assert pair.mean == pytest.approx(losses.mean())
    assert found.here - found.there == pytest.approx(pair.mean)
    back = compare(dull, view_of(dull), sharp)
    assert (back.common, back.only_here, back.only_there) == (200, 0, 40)
    assert back.differences["ensemble"].mean == pytest.approx(-pair.mean)
    assert back.differences["ensemble"].se == pytest.approx(pair.se)


def test_an_ensemble_against_itself_differs_nowhere(two: tuple[Made, Made]) -> None:
    sharp = two[0]
    found = compare(sharp, view_of(sharp), sharp)
    assert (found.differences["ensemble"].mean, found.differences["ensemble"].se) == (0.0, 0.0)
    assert found.changes == ()
    assert against(found).values["verdict"].startswith("No difference")


def test_battles_that_none_predicted_are_refused(two: tuple[Made, Made]) -> None:
    sharp, dull = two
    view = view_of(sharp)
    elsewhere = dataclasses.replace(
        view, battles=Battles(view.battles.frame.with_columns(id=view.battles.ids + 10**6))
    )
    with pytest.raises(InputError, match="no battle in common"):
        compare(sharp, elsewhere, dull)


def with_key(made: Made, root: Path, recipe: str, key: EnsembleKey, members: list[str]) -> Made:
    atomic.write_bytes(root / "models" / "one" / "recipe.toml", recipe.encode())
    card = made.built.card.model_copy(update={"key": key, "members": members})
    return Made(dataclasses.replace(made.built, card=card), made.folder, Workspace(root))


def test_changes_name_what_differs_and_nothing_else(two: tuple[Made, Made], tmp_path: Path) -> None:
    recipe = 'backbone = "classify"\nbase = "b"\n[train]\nepochs = 2\nlearning_rate = 1e-4\n'
    here = with_key(two[0], tmp_path / "a", recipe, KEY, ["one", "two"])
    other = recipe.replace("1e-4", "2e-4").replace("epochs = 2\n", "")
    newer = KEY.model_copy(update={"versions": {"numpy": "3"}, "data": "e" * 64})
    there = with_key(two[0], tmp_path / "b", other, newer, ["one"])
    assert [(one.what, one.here, one.there) for one in changes(here, there)] == [
        ("data", "d" * 12, "e" * 12),
        ("one: train.epochs", "2", ""),
        ("one: train.learning_rate", "0.0001", "0.0002"),
        ("member two", "yes", ""),
        ("version of numpy", "2", "3"),
    ]


def test_the_verb_says_what_it_needs(
    two: tuple[Made, Made], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = two[0].folder
    base = ["report", "--external", str(folder), "--out", str(tmp_path / "page.html")]
    assert cli.run([*base, "--against", str(folder)]) == 1
    assert "--data FILE" in capsys.readouterr().err
    frame = Battles.from_rows(report_pages.battles_of(240)).frame
    frame.write_ndjson(tmp_path / "data.jsonl")
    assert cli.run([*base, "--data", str(tmp_path / "data.jsonl"), "--against", str(tmp_path)]) == 1
    assert "no ensemble there" in capsys.readouterr().err
