"""Damaged artifacts: an error that names the file, or the very same numbers made again. Never others."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspaces import Arena, Tree, arena, refusal, restore, tree, unchanged

from arena_ensemble import cli

__all__ = ["arena", "unchanged"]

CUTS = [k / 20 for k in range(20)]
FLIPS = [0.02, 0.3, 0.5, 0.7, 0.98]

ALWAYS_ERRORS = [
    "oof/folds.parquet",
    "oof/folds.json",
    "oof/mine/card.json",
    "oof/ensemble/card.json",
    "oof/ensemble/stacker.json",
    "oof/ensemble/table.json",
    "oof/ensemble/oof.parquet",
    "models/mine/fold-0/card.json",
    "models/mine/fold-1/vocabulary.json",
    "models/mine/fold-2/weights.safetensors",
]
MADE_AGAIN = ["oof/mine/oof.parquet", "oof/mine/test.parquet", "oof/mine/test.json"]


def damaged(content: bytes, how: str, where: float) -> bytes:
    place = int(where * len(content))
    if how == "cut":
        return content[:place]
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


DAMAGES = [("cut", cut) for cut in CUTS] + [("flip", flip) for flip in FLIPS]


@pytest.mark.parametrize("name", ALWAYS_ERRORS)
def test_a_damaged_artifact_is_one_clear_error(
    arena: Arena, unchanged: Tree, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = arena.workspace / name
    # without --strict a fold's files cost that fold alone (tests/road/test_survival.py)
    command = arena.predict("--strict") if name.startswith("models") else arena.submission()
    for how, where in DAMAGES:
        path.write_bytes(damaged(unchanged[name], how, where))
        before = tree(arena.workspace)
        line = refusal(command, capsys, (1, 4))
        assert path.name in line or str(Path(name).parent) in line or "fold file" in line, (how, where, line)
        after = tree(arena.workspace)
        new: set[str] = set()
        if command[0] == "predict":  # the other folds, and the prior
            new = {f"oof/mine/test-{k}.{kind}" for k in range(3) for kind in ("parquet", "json")}
            new |= {"submission.csv", "oof/submission.json"}
        assert {k for k in before | after if before.get(k) != after.get(k)} <= new, (how, where)


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE_AGAIN)
def test_a_damaged_table_that_can_be_made_again_is_made_again_to_the_byte(
    arena: Arena, unchanged: Tree, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = arena.workspace / name
    for how, where in [*DAMAGES[::5], DAMAGES[-1]]:
        path.write_bytes(damaged(unchanged[name], how, where))
        assert cli.run(arena.submission()) == 0, (how, where)
        told = capsys.readouterr().err
        after = tree(arena.workspace)
        assert {k for k in unchanged if unchanged[k] != after[k]} <= {"oof/mine/card.json"}, (how, where)
        if name.endswith("parquet"):
            assert told.count(f"{path.name}: truncated or edited") == 1, "named once, however often looked at"
        restore(arena.workspace, unchanged)


@pytest.mark.parametrize("name", ALWAYS_ERRORS + MADE_AGAIN)
def test_a_missing_artifact_is_an_error_or_made_again(
    arena: Arena, unchanged: Tree, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (arena.workspace / name).unlink()
    code = cli.run(
        arena.predict("--strict", "--out", str(arena.folder / "p.csv"))
        if "models" in name
        else arena.submission()
    )
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    if code:
        assert code in (1, 4), told.err
        assert sum(line.startswith("error: ") for line in told.err.splitlines()) == 1
    else:
        assert (arena.workspace / "submission.csv").read_bytes() == unchanged["submission.csv"]
