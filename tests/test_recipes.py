"""Recipes: strict keys, helpful errors, digests that change exactly when a setting does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import RecipeError
from arena_ensemble.recipes import Recipe, load_recipe, recipe_from

ROOT = Path(__file__).resolve().parents[1]
MINIMAL: dict[str, Any] = {"backbone": "classify", "base": "tiny:encoder"}


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*/recipe.toml")), ids=lambda p: p.parent.name)
def test_every_shipped_recipe_loads_and_is_short(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.parent.name
    assert load_recipe(path.parent) == recipe
    assert recipe.description
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 30


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"bse": "x"}, "unknown key 'bse'; the nearest known key is 'base'"),
        (
            {"train": {"learning_rte": 1.0}},
            "'train.learning_rte'; the nearest known key is 'train.learning_rate'",
        ),
        ({"epochs": 2}, "unknown key 'epochs'; it belongs at 'train.epochs'"),
        ({"name": "mine"}, "unknown key 'name'"),
        ({"train": 3}, "'train' is a section"),
        ({"train": {"epochs": "2"}}, "train.epochs = '2'"),
        ({"train": {"epochs": True}}, "train.epochs = True"),
        ({"train": {"learning_rate": 0}}, "train.learning_rate = 0"),
        ({"backbone": "clasify"}, "backbone = 'clasify'"),
        ({"base": ""}, "needs a base"),
        ({"base": "tiny:enc"}, "tiny:encoder and tiny:decoder"),
        ({"backbone": "generate"}, "needs a causal base"),
        ({"train": {"epochs": 0}}, "zero-shot"),
        ({"read_orders": 3}, "read_orders"),
        ({"prompt": {"verdicts": ["A", "B"]}}, "prompt.verdicts"),
        ({"generate": {"calibration": "batch"}}, "zero-shot"),
        ({"head": {"hiden": 8}}, "'head.hiden'; the nearest known key is 'head.hidden'"),
        ({"head": {"dropout": 0.1}}, "set head.hidden"),
        ({"backbone": "generate", "base": "tiny:decoder", "head": {"hidden": 8}}, "'classify', 'reward'"),
        ({"backbone": "reward", "train": {"epochs": 0}, "head": {"hidden": 8}}, "starts random"),
        ({"loader": "unsloth", "head": {"hidden": 8}}, "unsloth"),
        ({"adapter": {"kind": "full", "quantise": "4bit"}}, "quantised"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_from({**MINIMAL, **values}, source="models/x/recipe.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("models/x/recipe.toml: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe at"):
        load_recipe(tmp_path / "absent" / "recipe.toml")
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(RecipeError, match="not a TOML file"):
        load_recipe(tmp_path)
    (tmp_path / "recipe.toml").write_text("backbone = ")
    with pytest.raises(RecipeError, match="not a TOML file"):
        load_recipe(tmp_path)


@given(st.integers(0, 5), st.floats(1e-6, 1.0), st.booleans())
def test_digest_changes_exactly_with_settings(seed: int, rate: float, both: bool) -> None:
    values = {**MINIMAL, "seed": seed, "train": {"learning_rate": rate}, "read_orders": 2 if both else 1}
    recipe = recipe_from(values, name="one")
    assert recipe.digest() == recipe_from({**values, "description": "new"}, name="other").digest()
    assert recipe.digest() != recipe_from({**values, "seed": seed + 1}).digest()
    other = recipe_from({**values, "read_orders": 1 if both else 2})
    assert recipe.digest() != other.digest()
    assert recipe.fit_digest() == other.fit_digest(), "which orders are read changes no training"
    assert recipe.digest() == recipe_from({**values, "train": {"learning_rate": rate, "epochs": 1}}).digest()


def test_base_path(tmp_path: Path) -> None:
    assert recipe_from(MINIMAL).base_path() is None
    assert recipe_from({**MINIMAL, "base": "org/name"}).base_path() is None
    with pytest.raises(RecipeError, match="is no folder"):
        recipe_from({**MINIMAL, "base": "./absent"}, folder=tmp_path).base_path()
    with pytest.raises(RecipeError, match="is no folder"):
        recipe_from({**MINIMAL, "base": "one/two/three"}, folder=tmp_path).base_path()
    (tmp_path / "here").mkdir()
    assert recipe_from({**MINIMAL, "base": "./here"}, folder=tmp_path).base_path() == tmp_path / "here"
    assert recipe_from({**MINIMAL, "base": str(tmp_path)}).base_path() == tmp_path


def test_recipes_are_frozen() -> None:
    recipe = Recipe(backbone="lexical")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]


def test_a_packaged_recipe_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = load_recipe("lexical")
    assert (packaged.name, packaged) == ("lexical", load_recipe(ROOT / "models" / "lexical"))
    (tmp_path / "lexical").write_text("not a recipe")  # a file of that name is not in the way
    assert load_recipe("lexical") == packaged
    with pytest.raises(RecipeError, match=r"no recipe 'lexicl'.*nearest packaged recipe is 'lexical'"):
        load_recipe("lexicl")
    with pytest.raises(RecipeError, match=r"no recipe at lexicl/recipe\.toml"):
        load_recipe("lexicl/recipe.toml")


def test_a_folder_here_comes_before_the_packaged_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lexical").mkdir()
    assert load_recipe("lexical").seed == 0  # an empty folder is no recipe
    (tmp_path / "lexical" / "recipe.toml").write_text('backbone = "lexical"\nseed = 7\n')
    own = load_recipe("lexical")
    assert (own.name, own.seed) == ("lexical", 7)
    monkeypatch.chdir(tmp_path / "lexical")
    assert load_recipe(".") == load_recipe("recipe.toml") == own
