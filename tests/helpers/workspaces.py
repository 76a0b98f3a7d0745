"""A small finished workspace, snapshots of it, and the one-line error of a command that must fail."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic, cards, files, run_log

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'
LOCK = ".arena-lock"
NEVER_THE_SAME = (LOCK, run_log.LOG)

Tree = dict[str, bytes]


def tree(folder: Path) -> Tree:
    """Every file below a folder but lock and event log, by relative path; a link by where it points."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = b"-> " + str(path.readlink()).encode()
        elif path.is_file() and path.name not in NEVER_THE_SAME:
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def restore(folder: Path, before: Tree) -> None:
    """Put a workspace back to what :func:`tree` saw."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = str(path.relative_to(folder))
        if path.is_symlink() or (path.is_file() and name not in before and path.name not in NEVER_THE_SAME):
            path.unlink()
        elif path.is_dir() and not any(key.startswith(name + "/") for key in before):
            shutil.rmtree(path)
    for name, content in before.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


class Arena:
    """Sample data, a finished workspace, and commands on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workspace = folder, folder / "w"
        for name, text in sample.files(60, 8, seed=3).items():
            (folder / name).write_text(text)
        (folder / "new.csv").write_text(sample.files(2, 7, seed=4)["test.csv"])
        atomic.write_bytes(self.workspace / "models" / "mine" / "recipe.toml", RECIPE.encode())

    def train(self, verb: str, *more: str, workspace: Path | None = None) -> list[str]:
        return [
            verb, "--data", str(self.folder / "train.csv"), "--workspace", str(workspace or self.workspace),
            "--models", "mine", "--folds", "3", "--jobs", "1", *more,
        ]  # fmt: skip

    def submission(self, *more: str) -> list[str]:
        return self.train("submission", "--test", str(self.folder / "test.csv"), *more)

    def predict(self, *more: str) -> list[str]:
        new = str(self.folder / "new.csv")
        return ["predict", "--test", new, "--workspace", str(self.workspace), "--jobs", "1", *more]

    def edit_card(self, folder: str, change: Callable[[dict[str, object]], None]) -> None:
        """Change a card as somebody would who also mends its hash."""
        path = self.workspace / folder / cards.CARD
        card = json.loads(path.read_text())
        change(card)
        del card["card_sha256"]
        path.write_text(json.dumps({**card, "card_sha256": files.digest_json(card)}))

    def swap_file(self, folder: str, name: str, content: bytes) -> None:
        """Put another content under a good hash, as somebody hostile would."""
        (self.workspace / folder / name).write_bytes(content)
        self.edit_card(folder, lambda card: card["files"].update({name: digest(content)}))  # type: ignore[attr-defined]

    def swap_noted(self, path: str, content: bytes) -> None:
        """The same for a table whose hash lies in the JSON beside it."""
        place = self.workspace / path
        place.write_bytes(content)
        note = place.with_suffix(".json")
        note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": digest(content)}))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def table_bytes(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str], codes: tuple[int, ...] = (1,)) -> str:
    """Run a command that must fail; returns its one ``error:`` line (or the named member's)."""
    capsys.readouterr()
    code = cli.run(arguments)
    told = capsys.readouterr()
    assert code in codes, (code, told.err)
    assert "Traceback" not in told.err
    lines = [line for line in told.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, told.err
    assert len(lines[0]) < 700
    return lines[0]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    """A finished workspace: one quick lexical member, its ensemble, its submission."""
    made = Arena(tmp_path_factory.mktemp("arena"))
    assert cli.run(made.submission()) == 0
    return made


@pytest.fixture
def unchanged(arena: Arena) -> Iterator[Tree]:
    """The workspace before the test; put back afterwards."""
    before = tree(arena.workspace)
    yield before
    restore(arena.workspace, before)
