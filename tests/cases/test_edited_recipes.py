"""Case 7: a recipe that was edited between training and predict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from workspaces import RECIPE, Arena, refusal

from arena_ensemble import cli
from arena_ensemble.errors import StaleError
from arena_ensemble.io import read_battles
from arena_ensemble.pipeline import workflow
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.recipes import Recipe, recipe_from


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    made = Arena(tmp_path_factory.mktemp("edited"))
    assert cli.run(made.submission()) == 0
    return made


@pytest.fixture
def recipe(arena: Arena) -> Iterator[Path]:
    path = arena.workspace / "models" / "mine" / "recipe.toml"
    yield path
    path.write_text(RECIPE)


CHANGES = [
    RECIPE.replace("max_features = 60", "max_features = 61"),
    RECIPE + "C = 2.0\n",
    RECIPE + "length = false\n",
    "seed = 1\n" + RECIPE,
    RECIPE + '[prompt]\ncut = "head"\n',
    RECIPE + "[adapter]\nalpha = 2.0\n",
    RECIPE + '[train]\nprecision = "bf16"\n',
]


@pytest.mark.parametrize("text", CHANGES)
def test_what_changes_numbers_is_refused(
    arena: Arena, recipe: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(text)
    line = refusal(arena.predict(), capsys)
    assert "member 'mine': its recipe was edited since it was trained" in line
    assert "3 of 3 models" in line
    assert "--retrain mine" in line
    new = arena.folder / "new.csv"
    with pytest.raises(StaleError, match="'mine': its recipe was edited"):
        workflow.predict(Ensemble.load(arena.workspace), new, workspace=arena.workspace, jobs=1)
    with pytest.raises(StaleError, match="'mine': its recipe was edited"):
        Ensemble.load(arena.workspace).predict_proba(read_battles(new))


@pytest.mark.parametrize("line", ["read_orders = 2\n", "read_orders = 2\nsecond_order_share = 0.5\n"])
def test_another_number_of_orders_is_refused(
    arena: Arena, recipe: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(line + RECIPE)
    message = refusal(arena.predict(), capsys)
    assert "member 'mine'" in message
    assert "read_orders" in message


@pytest.mark.parametrize(
    "text",
    [
        'description = "new"\n' + RECIPE,
        RECIPE + "[train]\nbatch_tokens = 512\npredict_tokens = 99\n",
        RECIPE + "[train]\ngradient_checkpointing = true\ncheckpoint_every = 5\n",
        RECIPE + '[train]\nreport_to = ["tensorboard"]\n',
    ],
)
def test_a_machine_setting_may_change(arena: Arena, recipe: Path, text: str) -> None:
    before = (arena.workspace / "submission.csv").read_bytes()
    recipe.write_text(text)
    test = str(arena.folder / "test.csv")
    out = arena.folder / "again.csv"
    assert cli.run(["predict", "--test", test, "--workspace", str(arena.workspace), "--out", str(out)]) == 0
    assert out.read_bytes() == before
    assert cli.run(arena.submission()) == 0, "nothing is trained anew either"


def test_machine_settings_are_settings() -> None:
    plain = recipe_from({"backbone": "lexical"})
    for name in Recipe.machine_settings:
        section, key = name.split(".")
        old = plain.settings()[section][key]
        new = {bool: True, str: True, int: 7, float: 3.5, list: ["tensorboard"]}[type(old)]
        new = "plain" if key == "kernels" else new
        other = recipe_from({"backbone": "lexical", section: {key: new}})
        assert other.digest() != plain.digest()
        assert other.fit_digest() == plain.fit_digest()
