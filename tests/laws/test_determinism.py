"""Same seed, data and thread count on one machine: the same bytes. Nothing more is promised."""

from __future__ import annotations

from pathlib import Path

import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic

TINY = """backbone = "classify"
base = "tiny:encoder"
swap = "augment"
[prompt]
template = "short-1"
max_tokens = 96
[train]
batch_rows = 8
[tiny]
hidden = 16
layers = 1
vocabulary = 300
"""
LEXICAL = 'backbone = "lexical"\n[lexical]\nmax_features = 100\ninteractions = 32\n'
CARDS = ("card.json", ".arena-lock")
"""They tell seconds and times, which differ."""
FACTS = ("settings.json",)
"""It holds the fit's seconds beside what was learned."""


def contents(folder: Path) -> dict[str, bytes]:
    """What a run made, by relative path, but the files that tell the time."""
    wanted = [folder / "submission.csv", *(folder / "oof").rglob("*"), *(folder / "models").rglob("*")]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in wanted
        if path.is_file() and path.name not in (*CARDS, *FACTS)
    }


@pytest.mark.slow
def test_two_workspaces_hold_the_same_bytes(tmp_path: Path) -> None:
    for name, text in sample.files(45, 4, seed=3).items():
        (tmp_path / name).write_text(text)
    made = []
    for place in ("one", "two"):
        for name, recipe in (("tiny", TINY), ("words", LEXICAL)):
            atomic.write_bytes(tmp_path / place / "models" / name / "recipe.toml", recipe.encode())
        assert cli.run(
            ["submission", "--data", str(tmp_path / "train.csv"), "--test", str(tmp_path / "test.csv"),
             "--workspace", str(tmp_path / place), "--models", "tiny,words", "--folds", "3", "--jobs", "1"]
        ) == 0  # fmt: skip
        made.append(contents(tmp_path / place))
    assert made[0].keys() == made[1].keys()
    assert {"submission.csv", "oof/tiny/oof.parquet", "oof/ensemble/stacker.json"} <= made[0].keys()
    assert any(name.endswith("weights.safetensors") for name in made[0])
    differing = [name for name in made[0] if made[0][name] != made[1][name]]
    assert differing == ["oof/events.jsonl"], "the log of the run has times; nothing else differs"
