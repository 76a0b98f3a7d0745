"""``status`` from another terminal: what runs, what is done, losses, time left; and what a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts.run_log import LOG, read_log
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.cli.status import status_text, summary_line
from arena_ensemble.errors import OutOfTime
from arena_ensemble.pipeline.executors import PLANNED
from arena_ensemble.pipeline.recording import Recorder, StackingRecorder
from arena_ensemble.pipeline.run_status import run_status

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'
LONG = (
    'backbone = "classify"\nbase = "tiny:encoder"\n[prompt]\ntemplate = "short-1"\nmax_tokens = 64\n'
    '[train]\nepochs = 500\ncheckpoint_minutes = 0\n[adapter]\nkind = "full"\n[tiny]\nhidden = 16\n'
    "layers = 1\n"
)


def arena(folder: Path) -> Path:
    for name, text in sample.files(60, 6, seed=3).items():
        (folder / name).write_text(text)
    for name, recipe in (("mine", RECIPE), ("long", LONG)):
        path = folder / "w" / "models" / name / "recipe.toml"
        path.parent.mkdir(parents=True)
        path.write_text(recipe)
    return folder


def command(folder: Path, verb: str, members: str) -> list[str]:
    return [
        verb, "--data", str(folder / "train.csv"), "--models", members, "--folds", "3", "--jobs", "1",
        "--workspace", str(folder / "w"),
    ]  # fmt: skip


def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert cli.run(["status", "--workspace", str(folder / "w"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_finished_run_and_its_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = arena(tmp_path)
    assert cli.run(command(folder, "stack", "mine")) in (0, 4)
    capsys.readouterr()
    found = told(folder, capsys)
    assert (found["state"], found["what"], found["tasks_done"], found["tasks"]) == ("done", "training", 3, 3)
    assert found["left"] is None
    (member,) = found["members"]
    card = json.loads((folder / "w" / "oof" / "mine" / "card.json").read_text())
    assert member["state"] == "done"
    assert (member["folds_done"], member["folds"]) == (3, 3)
    assert member["log_loss"] == card["log_loss"]
    # the folds' losses come with their folds, and their mean over rows is the member's
    lines = read_log(folder / "w" / "oof" / LOG)
    losses = [one["loss"] for one in lines if one["kind"] == "task" and one["outcome"] == "done"]
    assert len(losses) == 3
    assert min(losses) <= card["log_loss"] <= max(losses)
    assert found["ensemble"]["log_loss"] == pytest.approx(lines[-1]["loss"], abs=1e-6)
    assert {"time", "kind", "outcome"} <= set(lines[-1])
    assert "\n" not in found["summary"]
    assert f"mine {card['log_loss']:.4f}" in found["summary"]
    assert cli.run(["status", "--workspace", str(folder / "w")]) == 0
    text = capsys.readouterr().out
    assert text.rstrip().endswith(found["summary"])
    before = (folder / "w" / "oof" / LOG).read_bytes()
    assert cli.run(command(folder, "stack", "mine")) in (0, 4)  # nothing is left to do, and nothing is logged
    assert (folder / "w" / "oof" / LOG).read_bytes() == before


def test_a_look_loads_nothing_that_computes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From another terminal, while all cores are at work: it is there at once."""
    folder = arena(tmp_path)
    assert cli.run(command(folder, "stack", "mine")) in (0, 4)
    capsys.readouterr()
    code = (
        "import sys; from arena_ensemble.cli import run; run(['status', '--workspace', sys.argv[1]]); "
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'lightgbm', 'polars', 'numpy'}; "
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "w")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ensemble of 1 members" in done.stdout


def test_a_run_at_work_and_after_its_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = arena(tmp_path)
    run = subprocess.Popen(
        [sys.executable, "-m", "arena_ensemble", *command(folder, "oof", "mine,long")],
        stderr=subprocess.DEVNULL,
    )
    try:
        log = folder / "w" / "oof" / LOG
        for _ in range(600):
            if any(
                one.get("kind") == "progress" and one.get("loss") and one["seconds"] for one in read_log(log)
            ):
                break
            assert run.poll() is None
            time.sleep(0.1)
        found = told(folder, capsys)
        assert (found["state"], found["pid"]) == ("running", run.pid)
        states = {one["name"]: one["state"] for one in found["members"]}
        assert states == {"mine": "done", "long": "running"}
        (going,) = found["running"]
        assert going["label"] == "long fold 0"
        assert going["loss"] > 0
        assert found["left"] > 0
        assert "left" in found["summary"]
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    with log.open("ab") as stream:
        stream.write(b'{"kind": "ta')
    found = told(folder, capsys)
    assert (found["state"], found["left"], found["running"]) == ("stopped", None, [])
    assert {one["name"]: one["state"] for one in found["members"]} == {"mine": "done", "long": "unfinished"}


def test_a_member_that_fails_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = arena(tmp_path)
    path = folder / "w" / "models" / "long" / "recipe.toml"
    path.write_text(LONG.replace("epochs = 500", "epochs = 1\nlearning_rate = 1e30"))
    assert cli.run(command(folder, "oof", "mine,long")) == 4
    capsys.readouterr()
    found = told(folder, capsys)
    (failed,) = [one for one in found["members"] if one["name"] == "long"]
    assert (found["state"], failed["state"]) == ("partly", "failed")
    assert failed["error"]
    assert "long failed" in found["summary"]


def test_external_removed_and_predicting_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = arena(tmp_path)
    place = ["--workspace", str(folder / "w")]
    assert cli.run(command(folder, "stack", "mine")) in (0, 4)
    kept = pl.read_parquet(folder / "w" / "oof" / "mine" / "oof.parquet")
    kept.select("id", p_a=pl.col("logp_a").exp(), p_b=pl.col("logp_b").exp()).with_columns(
        p_tie=1 - pl.col("p_a") - pl.col("p_b")
    ).write_csv(folder / "other.csv")
    imported = ["import", "theirs", "--oof", str(folder / "other.csv")]
    assert cli.run([*imported, *place]) in (0, 4)
    assert (
        cli.run(["predict", "--test", str(folder / "test.csv"), "--out", str(folder / "s.csv"), *place]) == 0
    )
    capsys.readouterr()
    found = told(folder, capsys)
    assert found["what"] == "prediction"
    members = {one["name"]: (one["state"], one["folds_done"], one["folds"]) for one in found["members"]}
    assert members == {"mine": ("done", 3, 3), "theirs": ("external", 0, None)}
    assert cli.run(["status", *place]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "theirs" in line)
    assert "another tool's predictions" in line
    assert "folds" not in line
    shutil.rmtree(folder / "w" / "oof" / "mine")
    shutil.rmtree(folder / "w" / "models" / "mine")
    found = told(folder, capsys)
    assert {one["name"]: one["state"] for one in found["members"]} == {
        "mine": "not there",
        "theirs": "external",
    }


def test_where_nothing_is_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", "--workspace", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert cli.run(["status", "--workspace", str(tmp_path / "absent")]) == 1
    assert "is no folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_verbs_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.partition("Commands:")[2].split())
    assert "..." not in text
    for function in cli.VERBS.values():
        assert " ".join((function.__doc__ or "").split("\n\n")[0].split()) in text


def test_stacking_that_did_not_end_is_said(tmp_path: Path) -> None:
    log = tmp_path / "oof" / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    now = "2026-11-26T12:00:00+00:00"
    lines = [
        {"time": now, "kind": "run", "outcome": "started", "what": "training", "pid": 1, "host": "elsewhere"},
        {"time": now, "kind": "run", "outcome": "done"},
        {"time": now, "kind": "ensemble", "outcome": "started"},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert "stacking was begun and did not end" in run_status(tmp_path).notes[0]
    with Workspace(tmp_path).locked("stacking"):
        found = run_status(tmp_path)
        assert found.stacking is not None
        assert (found.stacking.since, found.stacking.share, found.left) == (now, 0.0, None)
        assert (found.state, found.what) == ("running", "stacking")
        with StackingRecorder(Workspace(tmp_path), clock=iter([0.0, 30.0]).__next__) as recorder:
            recorder(0, 100, "trees, fit 1 of 300")
            recorder(60, 100, "trees, fit 40 of 300")
        found = run_status(tmp_path)
        text = status_text(found, summary_line(found))
        assert "now: stacking, 60%, trees, fit 40 of 300, 30 s so far, about 20 s left" in text
        assert "stacking 60%, about 20 s left" in text.splitlines()[-1]
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"time": now, "kind": "ensemble", "outcome": "done"}) + "\n")
    assert run_status(tmp_path).notes == []


def test_folds_that_were_out_of_time_are_not_done_and_an_interrupt_is_no_error(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    place.oof.mkdir()

    def run() -> None:
        with Recorder(place, "training", ["m"], 2) as record:
            for fold in (0, 1):
                record(f"m fold {fold}", 100, 60, PLANNED)
            record("m fold 0", 1, 2, "loss 1.000")
            for fold in (0, 1):
                record.ended(f"m fold {fold}", OutOfTime("stopped"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    found = run_status(place)
    assert (found.state, found.tasks_done, found.tasks, found.share) == ("interrupted", 0, 2, 0.225)
    assert (found.members[0].state, found.members[0].folds_done) == ("unfinished", 0)
    assert found.error is None
    assert "error" not in status_text(found, summary_line(found))
