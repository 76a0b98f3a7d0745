"""Cases 1, 2, 3, 6 and 22 on every road: import and the verbs after it; stack --labels; validate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from external_members import AB, LEFT, RIGHT, SampleArena, softmax
from workspaces import refusal

from arena_ensemble import cli
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.errors import InputError
from arena_ensemble.pipeline import external, imported
from arena_ensemble.pipeline.external_files import NamedFile
from arena_ensemble.pipeline.workflow import build_ensemble, train_members

ROWS, TEST_ROWS = 400, 200


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> SampleArena:
    return SampleArena(tmp_path_factory.mktemp("arena"), ROWS, TEST_ROWS, seed=7)


def training(verb: str, arena: SampleArena, place: Path, models: str, *more: str) -> list[str]:
    return [
        verb, "--data", str(arena.path("train.csv")), "--workspace", str(place), "--models", models,
        "--folds", "3", "--jobs", "1", *more,
    ]  # fmt: skip


def import_member(arena: SampleArena, place: Path, name: str, oof: Path, test: Path | None = None) -> None:
    more = [] if test is None else ["--test", str(test)]
    assert cli.run(["import", name, "--oof", str(oof), *more, "--workspace", str(place)]) == 0


def stacking(arena: SampleArena, out: Path, oof: dict[str, Path], *more: str) -> list[str]:
    files = [text for name, path in oof.items() for text in ("--oof", f"{name}={path}")]
    return ["stack", "--labels", str(arena.path("train.csv")), "--out", str(out), *files, *more]


# ---- case 1: columns that are not where their names say


@pytest.mark.parametrize("order", [AB, LEFT, RIGHT])
def test_columns_of_an_imported_oof_file(
    arena: SampleArena, order: Sequence[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = arena.write("wrong.csv", arena.honest(), order=order)
    right = arena.write("right.csv", arena.honest("test"), "test")
    import_member(arena, tmp_path, "theirs", wrong, right)
    place = tmp_path
    test = ["--test", str(arena.path("test.csv"))]
    for verb, more in (("stack", []), ("submission", test), ("oof", [])):
        line = refusal(training(verb, arena, place, "lexical,theirs", *more), capsys)
        assert "member 'theirs': its columns look exchanged" in line
        assert f"{ROWS} rows" in line
        assert "name the columns rightly" in line
    assert not list(place.glob("models/*/fold-*")), "nothing was trained beside it"
    assert not (place / "submission.csv").exists()
    with pytest.raises(InputError, match="its columns look exchanged"):
        train_members(arena.path("train.csv"), ["theirs"], workspace=place, n_folds=3)
    out = tmp_path / "out"
    assert "its columns look exchanged" in refusal(stacking(arena, out, {"theirs": wrong}), capsys)
    data = external.read_external(arena.path("train.csv"), [NamedFile(wrong, "theirs")])
    with pytest.raises(InputError, match="its columns look exchanged"):
        external.stack_external(data, out)
    validating = ["validate", "--oof", str(wrong), "--labels", str(arena.path("train.csv"))]
    assert "its columns look exchanged" in refusal(validating, capsys)


@pytest.mark.parametrize("before_any_run", [True, False])
@pytest.mark.parametrize("order", [AB, RIGHT])
def test_audit_finds_the_columns(
    arena: SampleArena,
    order: Sequence[int],
    before_any_run: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = arena.write("wrong.csv", arena.honest(), order=order)
    import_member(arena, tmp_path, "theirs", wrong)
    if not before_any_run:
        assert cli.run(training("oof", arena, tmp_path, "theirs")) == 1
    check, code = audit_of(arena, tmp_path, capsys)
    assert code == 1
    assert check["status"] == "FAIL"
    assert "its columns look exchanged" in check["message"]
    wanted = np.array(["A", "B", "tie"])[np.argsort(order)].tolist()
    assert check["evidence"]["theirs"]["better_column_order"] == wanted


def audit_of(
    arena: SampleArena, place: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], int]:
    capsys.readouterr()
    code = cli.run(
        ["audit", "--data", str(arena.path("train.csv")), "--workspace", str(place), "--no-canary",
         "--trust", "theirs,other", "--json"]
    )  # fmt: skip
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    return checks["members"], code


@pytest.mark.parametrize("order", [AB, LEFT, RIGHT])
def test_columns_of_an_imported_test_file(
    arena: SampleArena, order: Sequence[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = arena.write("right.csv", arena.honest())
    wrong = arena.write("wrong.csv", arena.honest("test"), "test", order)
    import_member(arena, tmp_path, "theirs", right, wrong)
    test = ["--test", str(arena.path("test.csv"))]
    for verb in ("submission", "stack"):
        line = refusal(training(verb, arena, tmp_path, "theirs", *test), capsys)
        assert "member 'theirs'" in line
        assert "look exchanged" in line
        assert f"{TEST_ROWS}" in line
        assert "its test file rightly" in line
    assert not (tmp_path / "submission.csv").exists()
    other = arena.write("other.csv", arena.honest(seed=2))
    other_test = arena.write("other_test.csv", arena.honest("test", seed=2), "test")
    third = arena.write("third.csv", arena.honest(seed=3))
    third_test = arena.write("third_test.csv", arena.honest("test", seed=3), "test")
    import_member(arena, tmp_path, "other", other, other_test)
    import_member(arena, tmp_path, "third", third, third_test)
    check, code = audit_of(arena, tmp_path, capsys)
    assert code == 1
    assert "member 'theirs'" in check["message"]
    assert "test predictions" in check["message"]
    tests = ["--test", f"theirs={wrong}", "--test", f"other={other_test}", "--test", f"third={third_test}"]
    files = {"other": other, "theirs": right, "third": third}
    line = refusal(stacking(arena, tmp_path / "out", files, *tests), capsys)
    assert "member 'theirs'" in line
    assert "look exchanged" in line


def test_columns_of_a_test_file_against_the_lengths_of_the_answers(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = arena.write("right.csv", arena.honest())
    wrong = arena.write("wrong.csv", arena.honest("test"), "test", AB)
    texts = ["--text", str(arena.path("train.csv")), "--test-text", str(arena.path("test.csv"))]
    command = stacking(arena, tmp_path / "out", {"theirs": right}, "--test", f"theirs={wrong}", *texts)
    assert "A and B look exchanged in its test predictions" in refusal(command, capsys)


# ---- case 22: labels coded otherwise in all members


def test_all_members_exchanged_alike_are_labels_coded_otherwise(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        name: arena.write(f"{name}.csv", arena.honest(seed=seed), order=AB)
        for seed, name in enumerate(("one", "two", "three"))
    }
    line = refusal(stacking(arena, tmp_path / "out", files), capsys)
    assert "all 3 external members" in line
    assert "labels are coded otherwise" in line
    files["three"] = arena.write("three.csv", arena.honest(seed=2))
    line = refusal(stacking(arena, tmp_path / "out", files), capsys)
    assert "member 'one': its columns look exchanged (and those of two)" in line


def test_an_oof_file_of_one_fold_names_common(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = arena.write("whole.csv", arena.honest())
    part = tmp_path / "part.csv"
    pl.read_csv(path).head(ROWS // 3).write_csv(part)
    line = refusal(stacking(arena, tmp_path / "out", {"theirs": part}), capsys)
    assert f"{ROWS - ROWS // 3} ids are missing" in line
    assert "--common" in line


# ---- case 2: members that know nothing or less


def useless(arena: SampleArena, kind: str) -> Any:
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(ROWS, 3))
    return {
        "constant": np.tile([0.3, 0.3, 0.4], (ROWS, 1)),
        "uniform": np.full((ROWS, 3), 1 / 3),
        "prior": np.tile(np.bincount(arena.votes["train"], minlength=3) / ROWS, (ROWS, 1)),
        "shuffled": arena.honest()[rng.permutation(ROWS)],
        "one row off": np.roll(arena.honest(), 1, axis=0),
        "one class": softmax(np.array([4, 0, 0]) + noise),
        "one hot": np.eye(3)[rng.integers(0, 3, ROWS)],
        "noise": softmax(noise),
        "logits divided by their sum": np.abs(3 * noise) / np.abs(3 * noise).sum(axis=1, keepdims=True),
    }[kind]


KINDS = [
    "constant", "uniform", "prior", "shuffled", "one row off", "one class", "one hot", "noise",
    "logits divided by their sum",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_knows_nothing_is_named(
    arena: SampleArena, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = arena.write("useless.csv", useless(arena, kind))
    command = ["validate", "--oof", str(path), "--labels", str(arena.path("train.csv"))]
    assert cli.run(command) == 4
    assert "member useless " in capsys.readouterr().out
    import_member(arena, tmp_path, "theirs", path)
    capsys.readouterr()
    assert cli.run(training("oof", arena, tmp_path, "theirs", "--json")) == 4
    told = capsys.readouterr()
    assert json.loads(told.out)["alarms"]["theirs"]
    assert "member theirs " in told.err
    run = train_members(arena.path("train.csv"), ["theirs"], workspace=tmp_path, n_folds=3)
    assert run.result.alarms["theirs"]
    check, code = audit_of(arena, tmp_path, capsys)
    assert code == 1
    assert "member 'theirs'" in check["message"]


@pytest.mark.parametrize("seed", range(5))
def test_an_honest_member_is_not_named(
    arena: SampleArena, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = arena.write("honest.csv", arena.honest(seed=seed))
    assert cli.run(["validate", "--oof", str(path), "--labels", str(arena.path("train.csv"))]) == 0
    assert "member honest" not in capsys.readouterr().out
    import_member(arena, tmp_path, "theirs", path)
    check, code = audit_of(arena, tmp_path, capsys)
    assert (check["status"], code) == ("ok", 0)


@pytest.mark.slow
def test_a_useless_member_costs_the_exit_code_at_every_end(
    arena: SampleArena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = arena.write("useless.csv", useless(arena, "shuffled"))
    import_member(arena, tmp_path, "theirs", path)
    assert cli.run(training("stack", arena, tmp_path, "theirs")) == 4
    told = capsys.readouterr().out
    assert told.count("member theirs has a log-loss of") == 1, "named, and once"
    run = train_members(arena.path("train.csv"), ["theirs"], workspace=tmp_path, n_folds=3)
    assert build_ensemble(run).card.alarms["theirs"]


# ---- case 3: a useless member beside an honest one


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noise", "constant", "shuffled"])
def test_the_honest_one_of_two_does_not_look_leaked(
    arena: SampleArena, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "honest": arena.write("honest.csv", arena.honest()),
        "useless": arena.write("useless.csv", useless(arena, kind)),
    }
    assert cli.run(stacking(arena, tmp_path / "out", files, "--json")) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["suspicions"] == []
    assert list(told["ensemble_alarms"]) == ["useless"]


# ---- case 6: readings of rows that were trained on


def in_sample(arena: SampleArena, folds: int) -> pl.DataFrame:
    whole = pl.read_csv(arena.write("one.csv", arena.honest()))
    return pl.concat([whole.with_columns(fold=pl.lit(fold)) for fold in range(folds)])


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("average", [False, True])
def test_a_row_for_every_id_and_fold_is_no_oof_file(
    arena: SampleArena, folds: int, average: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "all.csv"
    in_sample(arena, folds).write_csv(path)
    more = ["--average"] if average else []
    commands = [
        stacking(arena, tmp_path / "out", {"theirs": path}, *more),
        ["import", "theirs", "--oof", str(path), "--workspace", str(tmp_path), *more],
        ["validate", "--oof", str(path), *more],
    ]
    for command in commands:
        line = refusal(command, capsys)
        assert f"{folds * ROWS} rows for {ROWS} ids" in line
        assert "keep for each id the row of the one fold that held it out" in line
    with pytest.raises(InputError, match="rows for"):
        imported.import_member(Workspace(tmp_path), "theirs", path)


@pytest.mark.parametrize("share", [1.0, 0.99, 0.97])
def test_perfection_is_said_aloud(
    arena: SampleArena, share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = np.random.default_rng(2).permutation(ROWS) < round(share * ROWS)
    votes = arena.votes["train"]
    path = arena.write("perfect.csv", softmax(4.0 * np.eye(3)[np.where(right, votes, (votes + 1) % 3)]))
    import_member(arena, tmp_path, "theirs", path)
    assert cli.run(training("oof", arena, tmp_path, "theirs")) == 4
    assert f"is right in {share:.1%} of {ROWS} rows" in capsys.readouterr().out
    check, _ = audit_of(arena, tmp_path, capsys)
    assert check["status"] == "FAIL"
    assert "its training saw these rows" in check["message"]


def test_test_predictions_of_every_fold_stay_welcome(arena: SampleArena, tmp_path: Path) -> None:
    whole = pl.read_csv(arena.write("test_one.csv", arena.honest("test"), "test"))
    path = tmp_path / "test.csv"
    pl.concat([whole.with_columns(fold=pl.lit(fold)) for fold in range(3)]).write_csv(path)
    import_member(arena, tmp_path, "theirs", arena.write("oof.csv", arena.honest()), path)


@pytest.mark.parametrize("order", [AB, RIGHT])
def test_a_teacher_with_exchanged_columns_stops_its_pupil(
    arena: SampleArena, order: Sequence[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = arena.write("teacher.csv", arena.honest(), order=order)
    recipe = tmp_path / "models" / "pupil" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(
        'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'
        f'[soft]\nteacher = "{path}"\n'
    )
    assert cli.run(training("oof", arena, tmp_path, "pupil")) == 4
    assert "(its teacher" in (told := capsys.readouterr().err)
    assert "its columns look exchanged" in told
    in_sample(arena, 3).write_csv(path)
    assert cli.run(training("oof", arena, tmp_path, "pupil")) == 4
    assert "keep for each id the row of the one fold that held it out" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [0, 150])
def test_an_imported_member_without_all_test_predictions_names_the_remedy(
    arena: SampleArena, rows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part.csv"
    pl.read_csv(arena.write("whole.csv", arena.honest("test"), "test")).head(rows).write_csv(part)
    import_member(arena, tmp_path, "theirs", arena.write("oof.csv", arena.honest()), part if rows else None)
    assert cli.run(training("oof", arena, tmp_path, "theirs", "--test", str(arena.path("test.csv")))) == 0
    told = capsys.readouterr().err
    assert "no submission can be written yet" in told
    assert f"import it again with its predictions of all {TEST_ROWS} test battles (--test FILE)" in told
