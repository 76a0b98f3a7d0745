"""``--dry-run``: nothing is written, what is done is seen, and what runs then is what was planned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts.run_log import LOG, read_log
from arena_ensemble.pipeline.dry_run import plan_run
from arena_ensemble.pipeline.workflow import train_members

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = {}\ninteractions = 0\ninner_folds = 0\n'
PUPIL = (
    'backbone = "classify"\nbase = "tiny:encoder"\n[soft]\nteacher = "mine"\n[prompt]\ntemplate = "short-1"\n'
    'max_tokens = 48\n[adapter]\nkind = "full"\n[tiny]\nhidden = 16\nlayers = 1\n'
)
FOLDS = 3


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    for name, text in sample.files(60, 6, seed=3).items():
        (tmp_path / name).write_text(text)
    for name, text in (("mine", RECIPE.format(60)), ("other", RECIPE.format(40)), ("pupil", PUPIL)):
        path = tmp_path / "w" / "models" / name / "recipe.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def options(arena: Path, members: str) -> list[str]:
    return [
        "--data", str(arena / "train.csv"), "--models", members, "--folds", str(FOLDS), "--jobs", "1",
        "--workspace", str(arena / "w"),
    ]  # fmt: skip


@pytest.mark.parametrize("verb", ["oof", "stack", "submission"])
def test_nothing_is_written(arena: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(arena)
    test = ["--test", str(arena / "test.csv")] if verb == "submission" else []
    assert cli.run([verb, *options(arena, "pupil,mine"), *test, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert everything(arena) == before
    assert sorted(path.name for path in (arena / "w").iterdir()) == ["models"]
    assert (plan["battles"], plan["folds"], plan["test"]) == (60, FOLDS, 6 if test else 0)
    assert [one["label"] for one in plan["tasks"][:FOLDS]] == [f"mine fold {k}" for k in range(FOLDS)]
    assert all(one["state"] == "left" and one["tokens"] > 0 for one in plan["tasks"])
    # one after the other: each begins where the one before it ends, and the last end is the makespan
    assert [one["start"] for one in plan["tasks"][1:]] == pytest.approx(
        [t["end"] for t in plan["tasks"][:-1]]
    )
    assert plan["makespan"] == pytest.approx(plan["tasks"][-1]["end"], abs=0.1)
    assert cli.run([verb, *options(arena, "pupil,mine"), *test, "--dry-run"]) == 0
    assert "6 of 6 tasks are left" in capsys.readouterr().out


def test_what_is_done_is_seen_and_the_run_does_the_rest_in_that_order(
    arena: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place: dict[str, Any] = {"workspace": arena / "w", "n_folds": FOLDS, "jobs": 1}
    train_members(arena / "train.csv", "mine", **place)
    names = ["other", "pupil", "mine"]
    before = everything(arena / "w")
    plan = plan_run(arena / "train.csv", names, **place)
    assert everything(arena / "w") == before
    states = {one.label: one.state for one in plan.tasks}
    assert {label for label, state in states.items() if state == "done"} == {
        f"mine fold {k}" for k in range(3)
    }
    train_members(arena / "train.csv", names, **place)
    lines = read_log(arena / "w" / "oof" / LOG)
    last = max(k for k, one in enumerate(lines) if one["kind"] == "run" and one["outcome"] == "started")
    ran = [f"{o['member']} fold {o['fold']}" for o in lines[last:]
           if (o["kind"], o.get("outcome")) == ("task", "done")]  # fmt: skip
    assert ran == [one.label for one in plan.tasks if one.state != "done"]
    # with a test file the same models predict it, and nothing is trained
    plan = plan_run(arena / "train.csv", names, test=arena / "test.csv", **place)
    assert {one.state for one in plan.tasks} == {"fitted"}
    assert all(one.predicts == ("held-out", "test") for one in plan.tasks)
    again = plan_run(arena / "train.csv", names, retrain="other", **place)
    assert {one.label for one in again.tasks if one.state == "left"} == {f"other fold {k}" for k in range(3)}
    assert {one.state for one in plan_run(arena / "train.csv", names, **place).tasks} == {"done"}
    assert cli.run(["oof", *options(arena, ",".join(names)), "--dry-run"]) == 0
    assert "nothing is left to train" in capsys.readouterr().out


def test_what_is_stacked_is_seen(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says that nothing is left to combine exactly where the run would then combine nothing."""
    truth = ["--truth", str(arena / "truth.csv")]

    def planned(members: str, *more: str) -> tuple[bool, str]:
        capsys.readouterr()
        assert cli.run(["stack", *options(arena, members), *more, "--dry-run"]) == 0
        text = capsys.readouterr().out
        assert cli.run(["stack", *options(arena, members), *more, "--dry-run", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["stacked"], text

    def stackings() -> int:
        lines = read_log(arena / "w" / "oof" / LOG)
        return sum((one.get("kind"), one.get("outcome")) == ("ensemble", "started") for one in lines)

    stacked, text = planned("mine")
    assert not stacked
    assert "then stacking, about" in text
    assert cli.run(["stack", *options(arena, "mine")]) in (0, 4)
    stacked, text = planned("mine")
    assert stacked
    assert "nothing is left to combine" in text
    assert "then stacking" not in text
    for members, more in (("mine,other", []), ("mine", truth), ("mine", ["--retrain", "mine"])):
        assert not planned(members, *more)[0], (members, more)
    assert stackings() == 1
    assert cli.run(["stack", *options(arena, "mine")]) in (0, 4)
    assert stackings() == 1, "what was said to be there was used"
    assert cli.run(["stack", *options(arena, "mine"), *truth]) in (0, 4)
    assert stackings() == 2
    assert planned("mine", *truth)[0]
    assert not planned("mine")[0]


def test_more_workers_end_sooner_and_no_two_tasks_share_one(arena: Path) -> None:
    place: dict[str, Any] = {"workspace": arena / "w", "n_folds": 5}
    names = ["mine", "other"]
    alone = plan_run(arena / "train.csv", names, jobs=1, **place)
    many = plan_run(arena / "train.csv", names, jobs=5, **place)
    assert many.makespan < alone.makespan
    for one in many.tasks:
        assert one.start is not None
        assert sum(t.start <= one.start < t.end for t in many.tasks if t.end and t.start is not None) <= 5


def test_its_errors_are_the_runs(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["oof", *options(arena, "absent"), "--dry-run"]) == 1
    assert "no recipe 'absent'" in capsys.readouterr().err
    for words, message in (
        (["--executor", "ray"], "--dry-run plans for this machine alone"),
        (["--executor", "cloud"], "give local or ray"),
        (["--store", "s3://x"], "of no use without --executor ray"),
    ):
        assert cli.run(["oof", *options(arena, "mine"), "--dry-run", *words]) == 1
        assert message in capsys.readouterr().err
    assert cli.run(["oof", *options(arena, "mine")]) in (0, 4)
    recipe = arena / "w" / "models" / "mine" / "recipe.toml"
    recipe.write_text(RECIPE.format(50))
    assert cli.run(["oof", *options(arena, "mine"), "--dry-run"]) == 1
    assert "another recipe (lexical.max_features was 60, is 50); restore it" in capsys.readouterr().err


def test_after_predict_of_another_file_it_says_what_is_kept(
    arena: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*options(arena, "mine,other"), "--test", str(arena / "test.csv")]
    assert cli.run(["submission", *words]) in (0, 4)
    other = arena / "other.csv"
    other.write_text(sample.files(60, 9, seed=4)["test.csv"])
    predict = ["predict", "--test", str(other), "--workspace", str(arena / "w"), "--jobs", "1"]
    assert cli.run([*predict, "--out", str(arena / "later.csv")]) == 0
    capsys.readouterr()
    assert cli.run(["submission", *words, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {tuple(one["left"]) for one in plan["tasks"]} == {("test",)}
    assert cli.run(["submission", *words, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "mine, other: every fold is trained and kept; left is predicting the 6 battles of" in text
    assert text.count("3 of 3  predict the test file") == 2
    assert cli.run(["stack", *options(arena, "mine,other"), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "nothing is left to train" in text
    assert "every fold is trained and kept" not in text
