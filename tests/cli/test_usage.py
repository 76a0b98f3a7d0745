"""What was typed wrong: one line, what is meant, where the rest is listed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import cli
from arena_ensemble.cli import typed
from arena_ensemble.errors import did_you_mean


def line_of(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    assert cli.run(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["submision"], "no verb 'submision'; did you mean submission?"),
        (["xyzzy"], "no verb 'xyzzy' (`arena-ensemble --help` lists the verbs)"),
        (["submission", "--dta", "x"], "no option --dta; did you mean --data?"),
        (["stack", "--modles=lexical"], "no option --modles; did you mean --models?"),
        (["submission", "--data", "x"], "--test FILE is missing: battles to predict"),
        (["export"], "NAME is missing: "),
        (["stack"], "give one of --data (train here) and --labels (predictions made elsewhere)"),
        (["oof", "--data"], "option '--data' requires an argument (`arena-ensemble oof --help`"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_nearest_one(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = line_of(words, capsys)
    assert message in line
    verb = f" {words[0]}" if words[0] in cli.VERBS else ""
    assert f"`arena-ensemble{verb} --help` lists the {'options' if verb else 'verbs'}" in line


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["oof", "--data", "x.csv", "--models", "lexcal"], "lexical"),
        (["oof", "--data", "x.csv", "--models", "Tiny-Swop"], "tiny-swap"),
        (["oof", "--data", "x.csv", "--models", "lexical", "--retrain", "lexicl"], "lexical"),
        (["doctor", "--plan", "--models", "gemma-2-9b-clasify"], "gemma-2-9b-classify"),
        (["export", "tiny-clasify", "--peft", "x"], "tiny-classify"),
    ],
)
def test_a_misspelled_member_is_answered_with_the_nearest_recipe(
    words: list[str], nearest: str, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    line = line_of([*words, "--workspace", str(tmp_path)], capsys, code=1)
    assert f"did you mean '{nearest}'?" in line


def test_every_verb_has_a_help_and_no_verb_is_the_list_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.VERBS:
        assert cli.run([name, "--help"]) == 0
        assert f"Usage: arena-ensemble {name} " in capsys.readouterr().out
    assert cli.run([]) == 2
    text = capsys.readouterr().err
    assert all(f"\n  {name} " in text for name in cli.VERBS)
    assert "Start: " in text


@given(st.sampled_from(sorted(cli.VERBS)))
def test_a_known_name_is_nearest_to_itself(name: str) -> None:
    assert f"{name!r}" in did_you_mean(name.upper(), cli.VERBS)
    assert did_you_mean("zzzzzzzzzz", cli.VERBS) == ""


@given(st.lists(st.text(min_size=1).filter(lambda word: not word.startswith("--models")), max_size=6))
def test_the_command_that_is_printed_is_the_one_that_was_typed(words: list[str]) -> None:
    import shlex

    typed.remember(words)
    assert shlex.split(typed.again())[1:] == words
    for option in (["--models", "a,b"], ["--models=a,b"]):
        typed.remember([*option, *words])
        assert shlex.split(typed.again("--models", "new name"))[1:] == [*words, "--models", "new name"]
