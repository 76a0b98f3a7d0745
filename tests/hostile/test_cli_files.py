"""The table of bad data files through the command line: one line, exit 1, the workspace as it was."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hostile_cases import CASES, Case
from workspaces import RECIPE, refusal, tree

from arena_ensemble import sample
from arena_ensemble.artifacts import atomic


def command(case: Case, path: Path, folder: Path, workspace: Path) -> list[str]:
    """The verb that is given this file."""
    good = folder / "good"
    place = ["--workspace", str(workspace)]
    river = [*place, "--models", "mine", "--jobs", "1"]
    if case.role == "train":
        return ["oof", "--data", str(path), *river]
    if case.role == "test":
        return ["submission", "--data", str(good / "train.csv"), "--test", str(path), *river]
    if case.role == "predictions":
        return ["stack", "--labels", str(good / "train.csv"), "--oof", f"m={path}", "--out",
                str(workspace / "out"), *place]  # fmt: skip
    if case.role == "labels":
        return ["stack", "--labels", str(path), "--oof", f"m={good / 'truth.csv'}", "--out",
                str(workspace / "out"), *place]  # fmt: skip
    test = folder / "three.csv"
    test.write_text('id,prompt,response_a,response_b\n' + "".join(
        f'{k},"[""q""]","[""a""]","[""b""]"\n' for k in (1, 2, 3)
    ))  # fmt: skip
    return ["submission", "--data", str(good / "train.csv"), "--test", str(test),
            "--sample-submission", str(path), *river]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_file_is_one_line_and_exit_1(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "w"
    atomic.write_bytes(workspace / "models" / "mine" / "recipe.toml", RECIPE.encode())
    atomic.write_bytes(workspace / "submission.csv", b"an earlier one\n")
    (tmp_path / "good").mkdir()
    for name, text in sample.files(20, 3, seed=3).items():
        (tmp_path / "good" / name).write_text(text)
    (tmp_path / "data").mkdir()
    path = case.build(tmp_path / "data")
    before = tree(workspace)
    line = refusal(command(case, path, tmp_path, workspace), capsys)
    assert re.search(case.message, line), line
    assert tree(workspace) == before
