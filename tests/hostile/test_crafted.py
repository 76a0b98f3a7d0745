"""Artifacts that somebody made on purpose: good hashes over bad content, links, names that climb."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from crafted_artifacts import CASES
from workspaces import Arena, Tree, arena, refusal, tree, unchanged

from arena_ensemble.artifacts import atomic, cards
from arena_ensemble.artifacts.cards import Card
from arena_ensemble.errors import ArtifactError
from arena_ensemble.stacking import Stacker
from arena_ensemble.stacking.boosting import BoostingCandidate
from arena_ensemble.stacking.design import make_design
from arena_ensemble.stacking.selection import Decision
from arena_ensemble.stacking.serialization import FittedStacker, to_files

__all__ = ["arena", "unchanged"]


@pytest.mark.parametrize("name", CASES)
def test_a_crafted_artifact_is_refused(
    arena: Arena, unchanged: Tree, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = CASES[name]
    change(arena)
    before = tree(arena.workspace)
    reads_models = any(word in name for word in ("weights", "vocabulary", "intercept", "a fold behind"))
    # without --strict the other folds predict (tests/road/test_survival.py)
    command = arena.predict("--strict") if reads_models else arena.submission()
    line = refusal(command, capsys, (1, 4))
    assert re.search(message, line), line
    after = tree(arena.workspace)
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    shards = {f"oof/mine/test-{k}.{kind}" for k in (0, 2) for kind in ("parquet", "json")}
    assert changed <= shards | {
        "submission.csv",
        "oof/submission.json",
    }  # the prior stands until a member ends


@pytest.fixture(scope="module")
def trees() -> dict[str, bytes]:
    """The files of a stacker that chose LightGBM."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, size=400)
    probs = rng.dirichlet([2, 2, 2], size=400)
    design = make_design({"m": probs}, None, n=400)
    model = BoostingCandidate("trees", features=False).fit(design, y, 0)
    decision = Decision({"trees": (0, 0)}, {"trees": 1.0}, {}, {"trees": 1.0}, {})
    return to_files(FittedStacker({"trees": model}, {"trees": True}, decision, design.members, (), ()))


@pytest.mark.slow
def test_a_lightgbm_text_is_parsed_only_behind_its_hash(trees: dict[str, bytes]) -> None:
    texts = [name for name in trees if name.endswith(".txt")]
    assert texts
    Stacker.restore(trees)
    for name in texts[:2]:
        content = trees[name]
        bad = [content[: k * len(content) // 20] for k in range(20)]
        bad += [content[:k] + bytes([content[k] ^ 1]) + content[k + 1 :] for k in (9, 300, len(content) - 9)]
        for text in bad:
            with pytest.raises(ArtifactError, match=f"{name} was truncated or edited"):
                Stacker.restore({**trees, name: text})
        with pytest.raises(ArtifactError, match=f"lacks {name}"):
            Stacker.restore({key: value for key, value in trees.items() if key != name})


def test_nothing_is_written_through_a_link(
    arena: Arena, unchanged: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = arena.folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep me")
    for place in (arena.workspace / "oof" / "new", arena.workspace / "models" / "new2"):
        place.symlink_to(outside)
    frame = pl.read_parquet(arena.workspace / "oof" / "mine" / "oof.parquet")
    frame.write_parquet(arena.folder / "theirs.parquet")
    line = refusal(
        ["import", "new", "--oof", str(arena.folder / "theirs.parquet"), "--workspace", str(arena.workspace)],
        capsys,
    )
    assert "is a symbolic link" in line
    assert [p.name for p in outside.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", ".", "", "ensemble", "x" * 65, "a\\b", "con\n"])
def test_an_import_under_an_odd_name_is_refused(
    arena: Arena, unchanged: Tree, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    oof = str(arena.workspace / "oof" / "mine" / "oof.parquet")
    line = refusal(["import", "--oof", oof, "--workspace", str(arena.workspace), "--", name], capsys)
    assert "is no member name" in line
    assert tree(arena.workspace) == unchanged


def test_an_import_over_a_trained_member_is_refused(
    arena: Arena, unchanged: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    oof = str(arena.workspace / "oof" / "mine" / "oof.parquet")
    line = refusal(["import", "mine", "--oof", oof, "--workspace", str(arena.workspace)], capsys)
    assert "was trained here" in line
    assert tree(arena.workspace) == unchanged


def test_names_inside_a_card_cannot_leave_its_folder(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "a" / "deep" / "x.json", b"{}")
    cards.write_card(tmp_path / "a", Card(), ["deep/x.json"])
    assert cards.read_card(tmp_path / "a", Card) is not None
