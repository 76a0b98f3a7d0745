"""Packs for Kaggle, for a Python of their own."""

from __future__ import annotations

from pathlib import Path

from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.kaggle.pack import Pack, PackOptions, write_pack


def packed(work: Path, folder: Path, **options: object) -> Pack:
    return write_pack(Workspace(work), folder, PackOptions(**options), python="3.11")  # type: ignore[arg-type]


def text(pack: Pack, name: str) -> str:
    return (pack.folder / "dataset" / name).read_text()
