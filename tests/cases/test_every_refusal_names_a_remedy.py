"""Every refusal of the readers says what to do: walked over the bad files, and over the source itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hostile_cases import CASES, Case

import arena_ensemble.io
from arena_ensemble.errors import ArenaError
from arena_ensemble.io import read_battles, read_labels, read_predictions, write_submission

SOURCES = sorted(Path(arena_ensemble.io.__path__[0]).glob("*.py"))
REMEDY = re.compile(
    r"\b(add|allow|average|check|clip|close|copy|divide|fetch|fill|give|keep|leave|make|mark|mend|name|number|"
    r"predict|put|remove|rename|save|say|separate|take|unpack|use|write)\b"
)
"""What a user can do, in the imperative."""


def spoken(node: ast.expr, constants: dict[str, str]) -> str:
    """The text of a message, its values left out; constants of the module are looked up."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(spoken(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return spoken(node.value, constants)
    if isinstance(node, ast.Name) and node.id in ("problem", "problems"):
        return "mend"  # a RowProblem, passed on: its own message is walked too
    if isinstance(node, ast.Name):
        return constants.get(node.id, "…")
    if isinstance(node, ast.IfExp):
        return f"{spoken(node.body, constants)} / {spoken(node.orelse, constants)}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return constants.get(node.func.id, "…")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
        return spoken(node.args[0], constants)
    if isinstance(node, ast.BinOp):
        return spoken(node.left, constants) + spoken(node.right, constants)
    return "…"


def refusals() -> list[tuple[str, str]]:
    """(file:line, message) of every ``raise InputError`` and ``raise RowProblem`` of the room."""
    found: list[tuple[str, str]] = []
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    constants: dict[str, str] = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            for target in targets:
                if isinstance(target, ast.Name) and node.value is not None:  # type: ignore[attr-defined]
                    text = spoken(node.value, constants)  # type: ignore[attr-defined]
                    constants[target.id] = f"{constants.get(target.id, '')} {text}"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):  # a function that makes a message
                returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
                constants[node.name] = " / ".join(spoken(value, constants) for value in returned)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = getattr(node.exc.func, "id", "")
                if name in ("InputError", "RowProblem") and node.exc.args:
                    found.append((f"{path.name}:{node.lineno}", spoken(node.exc.args[0], constants)))
    return found


@pytest.mark.parametrize(("place", "message"), refusals(), ids=lambda text: text[:40])
def test_every_message_in_the_source_has_a_remedy(place: str, message: str) -> None:
    assert REMEDY.search(message), f"{place}: {message}"


def test_the_walk_finds_the_refusals() -> None:
    assert len(refusals()) > 80
    assert not REMEDY.search("x.csv row 3: the file is binary (a NUL byte at 5)")


def use(case: Case, path: Path, folder: Path) -> None:
    """Give the file to the reader that its role says."""
    import numpy as np
    import polars as pl

    if case.role in ("train", "test"):
        read_battles(path, need_outcomes=case.role == "train")
    elif case.role == "predictions":
        read_predictions(path, oof=True)
    elif case.role == "labels":
        read_labels(path)
    else:
        even = np.full((3, 3), np.log(1 / 3))
        write_submission(folder / "submission.csv", pl.Series([1, 2, 3]), even, sample=path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_bad_file_is_refused_with_a_remedy(case: Case, tmp_path: Path) -> None:
    path = case.build(tmp_path)
    try:
        use(case, path, tmp_path)
    except ArenaError as error:
        message = str(error).replace(str(tmp_path), "")
        assert REMEDY.search(message), message
    else:
        assert "groups of battles" in case.message  # the folds refuse it, not the reader
