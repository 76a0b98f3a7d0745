"""After Ctrl-C and SIGTERM a person reads what is kept and what to type."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from arena_ensemble import cli
from arena_ensemble.artifacts.run_log import LOG
from arena_ensemble.cli import runner, typed
from arena_ensemble.cli.interruption import interruption_text
from arena_ensemble.pipeline import run_status

NOW = "2026-11-26T12:00:00+00:00"


def log_of(folder: Path, lines: list[dict[str, object]]) -> None:
    path = folder / "oof" / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"time": NOW, **line}) + "\n" for line in lines), encoding="utf-8")


def started(pid: int) -> dict[str, object]:
    return {"kind": "run", "outcome": "started", "what": "training", "pid": pid, "members": ["one"]}


def test_what_is_kept_is_counted_and_the_command_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[dict[str, object]] = [
        {"kind": "task", "member": "one", "fold": k, "outcome": "planned", "seconds": 5} for k in range(3)
    ]
    done: list[dict[str, object]] = [
        {"kind": "task", "member": "one", "fold": 0, "outcome": "done", "seconds": 5}
    ]
    log_of(tmp_path, [started(os.getpid()), *tasks, *done])
    (tmp_path / "models" / "one" / "fold-1.partial" / "checkpoint-40").mkdir(parents=True)
    words = ["oof", "--data", "my votes.csv", "--workspace", str(tmp_path)]
    (tmp_path / "oof" / "folds.json").write_text('{"n_folds": 3}')
    typed.remember(words)
    found = run_status.run_status(tmp_path)
    earlier = run_status.MemberStatus("other", "done", 3, 3, {})  # of another run: not what this one leaves
    more = replace(found, members=[*found.members, earlier])
    monkeypatch.setattr(run_status, "run_status", lambda _: more)
    text = interruption_text("interrupted", "oof", tmp_path)
    assert text.startswith("interrupted: kept: one 1 of 3 folds, and 1 checkpoint")
    assert "1 checkpoint within a fold" in text
    assert "goes on where it was" in text
    assert text.endswith(f"\n  arena-ensemble oof --data 'my votes.csv' --workspace {tmp_path}")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "nothing was trained yet"),
        ([started(1)], "it was not at work yet"),
        (
            [started(1), {"kind": "ensemble", "outcome": "started"}],
            "the members are kept, stacking begins anew",
        ),
    ],
)
def test_before_and_after_the_training_it_says_so(
    tmp_path: Path, lines: list[dict[str, object]], words: str
) -> None:
    if lines:
        log_of(tmp_path, lines)
    assert words in interruption_text("terminated", "submission", tmp_path)


def test_a_log_that_cannot_be_read_hides_nothing_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(run_status, "run_status", broken)
    text = interruption_text("terminated", "submission", tmp_path)
    assert text.startswith("terminated: finished folds are kept; no file is half-written")


def test_a_verb_that_keeps_nothing_does_not_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "print_result", interrupt)
    assert cli.run(["validate", "x.csv"]) == 130
    assert capsys.readouterr().err == (
        "interrupted: no file is half-written\nthe same command begins anew:\n"
        "  arena-ensemble validate x.csv\n"
    )
