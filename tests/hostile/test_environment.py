"""Hostile surroundings: no space, no permission, no home, no output, no UTF-8, no network."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from workspaces import RECIPE, Arena, Tree, arena, refusal, tree, unchanged

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic, cards
from arena_ensemble.artifacts.cards import FoldCard

__all__ = ["arena", "unchanged"]

NOBODY = 65534


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Every write past ``size`` bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def powerless() -> Iterator[None]:
    """Root sees no permission; be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that nobody may enter and read (pytest's own may be root's alone)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("size", [0, 16, 200, 700, 1500, 3000])
def test_a_full_disk_is_a_clear_error_and_a_rerun_goes_on(
    arena: Arena, tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    atomic.write_bytes(tmp_path / "models" / "mine" / "recipe.toml", RECIPE.encode())
    before = tree(tmp_path)
    with largest_file(size):
        line = refusal(arena.train("oof", workspace=tmp_path), capsys, (1, 4))
    assert "File too large" in line
    after = tree(tmp_path)
    assert before.items() <= after.items()
    assert not list(tmp_path.rglob("*.tmp-*"))
    for path in tmp_path.glob("models/*/fold-?/card.json"):
        card = cards.read_card(path.parent, FoldCard)
        assert card is not None
        assert cards.is_whole(path.parent, card)


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_earlier_submission_alone(
    arena: Arena, unchanged: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(arena.workspace / "oof" / "ensemble")
    before = tree(arena.workspace)
    with largest_file(900):
        assert "File too large" in refusal(arena.submission(), capsys)
    assert tree(arena.workspace) == before


@pytest.mark.slow
def test_a_full_tmpfs_is_a_clear_error(
    arena: Arena, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=28k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root)")
    try:
        atomic.write_bytes(tmp_path / "models" / "mine" / "recipe.toml", RECIPE.encode())
        line = refusal(arena.train("oof", workspace=tmp_path), capsys, (4,))
        assert "No space left on device" in line
        subprocess.run(["mount", "-o", "remount,size=8m", str(tmp_path)], check=True)
        assert cli.run(arena.train("oof", workspace=tmp_path)) == 0
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        before = tree(tmp_path)
        line = refusal(arena.train("stack", workspace=tmp_path), capsys)
        assert "Read-only file system" in line
        assert tree(tmp_path) == before
    finally:
        subprocess.run(["umount", str(tmp_path)], check=False)


def test_a_folder_without_permission_is_a_clear_error(
    open_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in sample.files(30, 5, seed=3).items():
        (open_folder / name).write_text(text)
    workspace = open_folder / "w"
    atomic.write_bytes(workspace / "models" / "mine" / "recipe.toml", RECIPE.encode())
    workspace.chmod(0o555)
    data = str(open_folder / "train.csv")
    before = tree(workspace)
    with powerless():
        line = refusal(["oof", "--data", data, "--models", "mine", "--workspace", str(workspace)], capsys)
        assert "Permission denied" in line
        line = refusal(["sample", "--rows", "5", "--out", str(open_folder / "new")], capsys)
        assert "Permission denied" in line
        absent = ["oof", "--data", data, "--models", "mine", "--workspace", str(open_folder / "x" / "y")]
        assert "Permission denied" in refusal(absent, capsys)
    assert tree(workspace) == before
    (open_folder / "secret.csv").write_text("x")
    (open_folder / "secret.csv").chmod(0)
    with powerless():
        line = refusal(["validate", str(open_folder / "secret.csv")], capsys)
    assert "may not be read; check its permissions" in line


def test_an_artifact_that_may_not_be_read_is_a_clear_error(
    open_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Arena(open_folder)
    assert cli.run(made.train("oof")) == 0
    for path in (made.workspace, *made.workspace.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    for name in ("oof/folds.parquet", "oof/folds.json", "oof/mine/card.json", "oof/mine/oof.parquet"):
        path = made.workspace / name
        path.chmod(0)
        with powerless():
            line = refusal(made.train("oof"), capsys)
        assert path.name in line
        assert "Permission denied" in line
        path.chmod(0o666)


@pytest.mark.parametrize("place", ["a file", "a dangling link", "/dev/null", "/proc"])
def test_a_workspace_that_is_no_folder_is_a_clear_error(
    arena: Arena, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(place) if place.startswith("/") else tmp_path / "w"
    if place == "a file":
        path.write_text("precious")
    if place == "a dangling link":
        path.symlink_to(tmp_path / "no" / "where")
    command = arena.train("oof", workspace=path)
    command[command.index("mine")] = "lexical"
    assert "cannot write" in refusal(command, capsys)
    if place == "a file":
        assert path.read_text() == "precious"


def run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-m", "arena_ensemble", *arguments],
        text=True, check=False, **{"stderr": subprocess.PIPE, **options},  # type: ignore[call-overload]
    )  # fmt: skip
    return done


def test_an_ascii_locale_ends_no_run(arena: Arena, unchanged: Tree) -> None:
    plain = {
        **os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = run(arena.submission(), env=plain, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert "The ensemble scores" in done.stdout
    assert tree(arena.workspace) == unchanged


def test_no_home_no_stdout_no_stderr(arena: Arena, unchanged: Tree) -> None:
    bare = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    code = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", code, sys.executable, "-m", "arena_ensemble", *arena.submission()]
    assert subprocess.run(command, env=bare, check=False).returncode == 0
    assert tree(arena.workspace) == unchanged


def test_a_reader_that_goes_away_and_a_full_output(arena: Arena) -> None:
    read, write = os.pipe()
    os.close(read)
    done = run(["validate", str(arena.folder / "train.csv")], stdout=write)
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == ""
    with open("/dev/full", "w") as full:
        done = run(["validate", str(arena.folder / "train.csv"), "--json"], stdout=full)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_with_odd_bytes_are_read_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9 \n.csv")
    odd.write_text(sample.files(10, 5, seed=1)["train.csv"])
    assert cli.run(["validate", str(odd), "--json"]) == 0
    assert "caf" in capsys.readouterr().out
