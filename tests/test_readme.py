"""The README is true: its Python runs, its recipe loads, its commands exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

import arena_ensemble
from arena_ensemble import cli
from arena_ensemble.recipes import recipe_from

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("text", blocks("toml"))
def test_the_recipe_loads(text: str) -> None:
    recipe = recipe_from(tomllib.loads(text), name="my-member")
    assert recipe.adapter.r == 64


def test_every_command_in_the_readme_exists() -> None:
    named = set(re.findall(r"`arena-ensemble ([a-z][a-z-]+)", README))
    assert {"oof", "stack", "submission", "predict"} <= named <= set(cli.VERBS)
    assert "`arena-ensemble --help`" in README


@pytest.mark.parametrize("name", cli.VERBS)
def test_every_verb_and_option_explains_itself(name: str) -> None:
    """``--help`` is the list of verbs that is always whole, so a new verb needs no line elsewhere."""
    command = typer.main.get_command(cli.app).commands[name]  # type: ignore[attr-defined]
    assert command.help
    assert len(command.help.splitlines()[0]) <= 80
    hidden = [one for one in command.params if getattr(one, "hidden", False)]
    silent = [one.name for one in command.params if one not in hidden and not getattr(one, "help", None)]
    assert silent == [], "give each option a help text"


def test_every_public_name_is_there() -> None:
    for name in arena_ensemble.__all__:
        assert getattr(arena_ensemble, name).__module__.startswith("arena_ensemble")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = arena_ensemble.nothing
