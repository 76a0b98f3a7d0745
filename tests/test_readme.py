"""The README is true: its Python runs, its recipe loads, its commands exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

import arena_ensemble
from arena_ensemble import cli
from arena_ensemble.cli import summary, typed
from arena_ensemble.recipes import recipe_from

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


MADE = Path(".venv") / "bin" / "arena-ensemble"
MADE_WITH = [
    "submission", "--data", "./sample/train.csv", "--workspace", ".", "--test", "./sample/test.csv",
    "--truth", "./sample/truth.csv", "--sample-submission", "./sample/sample_submission.csv",
]  # fmt: skip
"""what ``make submission`` types"""


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


def test_the_first_screen_ends_as_a_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``make submission`` says last, of an ensemble with the members that the screen shows."""
    (screen,) = [text for text in blocks("text") if "submission.csv:" in text]
    advice = re.findall(r"^(\S+) +[+-]\d.*(keep|leave out|no gain seen)$", screen, flags=re.MULTILINE)
    assert len(advice) > 1
    contributions = {"members": [{"name": name, "advice": words} for name, words in advice]}
    card = SimpleNamespace(n_classes=3, contributions=contributions)
    built: Any = SimpleNamespace(card=card, members=[name for name, _ in advice])
    rows = int(re.findall(r"submission\.csv: ([\d,]+) battles", screen)[0])
    monkeypatch.setattr("sys.argv", [str(MADE)])
    typed.remember(MADE_WITH)
    shown = summary.submission_text(Path("submission.csv"), rows, built, Path(), Path("./sample/train.csv"))
    assert screen.endswith(shown + "\n")


def test_the_first_screen_tells_one_story() -> None:
    """The difference in the sentence is that of the table's lines, and its best member is the marked one."""
    (screen,) = [text for text in blocks("text") if "submission.csv:" in text]
    lines = dict(re.findall(r"^(\S.*?)  +(\d\.\d{4})  \d\.\d{4} ", screen, flags=re.MULTILINE))
    text = " ".join(screen.split())
    best = re.findall(r"better than the best member, ([a-z-]+)", text)[0]
    assert re.search(rf"^{best} .*best member", screen, flags=re.MULTILINE)
    differences = [float(one) for one in re.findall(r"(\d\.\d{4}) ± \d\.\d{4} better than", text)]
    for name, difference in zip(("prior", best), differences, strict=True):
        assert float(lines[name]) - float(lines["ensemble"]) == pytest.approx(difference, abs=1.01e-4)


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
