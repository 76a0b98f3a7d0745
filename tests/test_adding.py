"""docs/adding.md is true: every example is applied to a copy of the package, and its own test runs there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "adding.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MOST_FILES = 3
WALLS = (
    "tests/test_architecture.py",
    "tests/test_readme.py",
    "tests/io/test_battle_formats.py",
    "tests/planning/test_every_head.py",
)
"""Tests that would fail if an addition needed a fourth file."""
LEFT_OUT = shutil.ignore_patterns("__pycache__", "fold-*", ".venv", "cache")

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not part of this copy")


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(section: str) -> Iterator[tuple[str, str, str]]:
    """Language, file and content of every fenced block."""
    for language, text in FENCE.findall(section):
        first, _, rest = text.partition("\n")
        yield language, first.removeprefix("# ").removeprefix("--- "), rest


def applied(edit: str, text: str, file: str) -> str:
    """The text after an edit; every place that the edit shows must be there exactly once."""
    for hunk in re.split(r"^@@\n", edit, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        assert all(line[0] in "+- \n" for line in lines), f"{file}: no edit: {hunk}"
        before = "".join(line[1:] if line[0] != "\n" else line for line in lines if line[0] != "+")
        after = "".join(line[1:] if line[0] != "\n" else line for line in lines if line[0] != "-")
        assert text.count(before) == 1, f"{file} holds this {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.mark.parametrize("title", sections())
def test_each_addition_touches_three_files_at_most(title: str) -> None:
    files = {file for _, file, _ in blocks(sections()[title])}
    assert len(files) <= MOST_FILES
    assert sum(file.startswith("tests/") for file in files) == 1


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A copy of the package with every example applied, and the tests that came with them."""
    root = tmp_path_factory.mktemp("adding")
    for name in ("arena_ensemble", "models", "docs", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=LEFT_OUT)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    tests = []
    for section in sections().values():
        for language, file, content in blocks(section):
            path = root / file
            if language == "diff":
                path.write_text(applied(content, path.read_text(encoding="utf-8"), file), encoding="utf-8")
            else:
                assert not path.exists(), f"{file} is there already"
                path.write_text(content, encoding="utf-8")
                tests += [file] if file.startswith("tests/") else []
    return root, tests


def run(copy: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    code = (
        "import sys, arena_ensemble, pytest; print(arena_ensemble.__file__, flush=True); "
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert done.stdout.startswith(str(copy)), "another copy of the package was tested"


@pytest.mark.slow
def test_the_examples_pass_their_own_tests(copy: tuple[Path, list[str]]) -> None:
    root, tests = copy
    assert len(tests) == len(sections())
    run(root, *tests)


@pytest.mark.slow
def test_no_other_file_must_change(copy: tuple[Path, list[str]]) -> None:
    root, _ = copy
    run(root, "-m", "not slow", *WALLS)


def test_an_edit_that_does_not_fit_is_refused() -> None:
    assert applied(" a\n+b\n c\n", "x\na\nc\n", "f") == "x\na\nb\nc\n"
    for text in ("a\n", "a\nc\na\nc\n"):
        with pytest.raises(AssertionError, match="times"):
            applied(" a\n+b\n c\n", text, "f")
