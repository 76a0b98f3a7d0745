"""Interrupted, terminated, killed: what is finished stays, no process stays behind, a rerun goes on."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arena_ensemble import backbones, cli, sample
from arena_ensemble.artifacts import atomic, cards
from arena_ensemble.artifacts.cards import EnsembleCard, FoldCard
from arena_ensemble.artifacts.workspace import Workspace

HERE = Path(__file__).resolve().parents[1] / "helpers"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}


def workspace_of(folder: Path, *members: str) -> Path:
    for name, text in sample.files(60, 6, seed=3).items():
        (folder / name).write_text(text)
    for name in members:
        atomic.write_bytes(folder / "w" / "models" / name / "recipe.toml", b'backbone = "lexical"\n')
    return folder / "w"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The faulty backbone in this process too."""
    monkeypatch.syspath_prepend(str(HERE))
    faulty = dataclasses.replace(backbones.HEADS["lexical"], module="faulty_backbone")
    monkeypatch.setitem(backbones.HEADS, "lexical", faulty)


def command(folder: Path, jobs: int, *members: str, verb: str = "oof") -> list[str]:
    return [
        sys.executable, "-m", "faulty_cli", verb, "--data", str(folder / "train.csv"),
        "--workspace", str(folder / "w"), "--models", ",".join(members), "--folds", "3",
        "--jobs", str(jobs),
    ]  # fmt: skip


def asleep(workspace: Path) -> list[Path]:
    return sorted(workspace.glob("models/*/*.partial/asleep"))


def wait_for(condition: object, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def check_whole(workspace: Path) -> None:
    """No litter under temporary names, and every card's files are as written."""
    assert not [p for p in workspace.rglob(".*") if p.name != ".arena-lock"]
    for path in workspace.glob("models/*/fold-?/card.json"):
        card = cards.read_card(path.parent, FoldCard)
        assert card is not None
        assert cards.is_whole(path.parent, card)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("number", "jobs", "code", "word"),
    [
        (signal.SIGINT, 1, 130, "interrupted"),
        (signal.SIGTERM, 1, 143, "terminated"),
        (signal.SIGINT, 2, 130, "interrupted"),
        (signal.SIGTERM, 2, 143, "terminated"),
    ],
)
def test_a_signal_ends_the_run_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, jobs: int, code: int, word: str
) -> None:
    workspace = workspace_of(tmp_path, "sleeper")
    process = subprocess.Popen(
        command(tmp_path, jobs, "sleeper"), stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    done = workspace / "models" / "sleeper" / "fold-0" / "card.json"
    wait_for(lambda: done.is_file() and asleep(workspace))
    if number is signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends Ctrl-C to the whole group
    else:
        process.send_signal(number)
    _, told = process.communicate(timeout=180)
    assert process.returncode == code, told
    assert f"{word}: kept: sleeper 1 of 3 folds; no file is half-written\n" in told
    assert "the same command goes on where it was:\n" in told
    assert f"oof --data {tmp_path / 'train.csv'} --workspace {workspace} --models sleeper" in told
    assert "Traceback" not in told
    wait_for(lambda: group_is_gone(process.pid), 60)
    check_whole(workspace)
    kept = done.read_bytes()
    monkeypatch.setenv("ARENA_TEST_CALM", "1")
    assert cli.run(command(tmp_path, 1, "sleeper")[3:]) == 0
    assert done.read_bytes() == kept


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_workers_do_not_outlive_a_killed_parent_and_the_lock_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = workspace_of(tmp_path, "sleeper")
    process = subprocess.Popen(
        command(tmp_path, 2, "sleeper"), stderr=subprocess.DEVNULL, start_new_session=True, env=ENVIRONMENT
    )
    wait_for(lambda: len(asleep(workspace)) == 2)
    assert cli.run(command(tmp_path, 1, "sleeper")[3:]) == 1
    assert f"is in use by training, pid {process.pid}" in capsys.readouterr().err
    process.kill()
    process.wait()
    wait_for(lambda: group_is_gone(process.pid), 60)
    with Workspace(workspace).locked("a test"):
        check_whole(workspace)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_member_alone(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path, "calm", "killed")
    two = [*command(tmp_path, 2, "killed", "calm"), "--folds", "2"]
    done = subprocess.run(two, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert "member killed FAILED: fold 1: its process was killed (out of memory?)" in done.stdout
    assert Workspace(workspace).member_names() == ["calm"]
    check_whole(workspace)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_members_that_fail_in_every_way_do_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("raiser", "hog", "calm", "full", "diverger", "buggy")
    workspace = workspace_of(tmp_path, *names)
    assert cli.run(command(tmp_path, 1, *names, verb="stack")[3:]) == 4
    told = capsys.readouterr()
    assert told.err.count("Traceback") == 1  # the bug's
    for name, why in (
        ("buggy", "fold 1: TypeError: ours (a bug)"),
        ("raiser", "fold 1: ValueError: no luck with these rows"),
        ("hog", "fold 1: MemoryError"),
        ("full", "fold-1.partial: No space left on device; nothing finished earlier was changed"),
        ("diverger", "fold 0: it diverged: log_probs of id"),
    ):
        (line,) = [line for line in told.out.splitlines() if f"member {name} FAILED" in line]
        assert why in line
    card = cards.read_card(workspace / "oof" / "ensemble", EnsembleCard)
    assert card is not None
    assert card.members == ["calm"]
    check_whole(workspace)
    # alone, a member that fails leaves nothing to stack
    assert cli.run(command(tmp_path, 1, "raiser", verb="stack")[3:]) == 1
    assert "no member is finished: member raiser: fold 1: ValueError" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_our_own_bug_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace_of(tmp_path, "buggy")
    assert cli.run(command(tmp_path, 1, "buggy")[3:]) == 3
    assert "this is a bug in arena-ensemble; finished folds are kept" in capsys.readouterr().err
