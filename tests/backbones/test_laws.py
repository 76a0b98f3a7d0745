"""Every registered head keeps the laws of a backbone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from head_contract import check_head

from arena_ensemble import backbones
from arena_ensemble.backbones import HEADS, Head
from arena_ensemble.backbones.lexical import model as lexical


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_every_head_keeps_the_laws(name: str, tmp_path: Path) -> None:
    check_head(name, tmp_path)


def test_a_head_that_looks_at_outcomes_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(fitted: Any, battles: Any) -> Any:
        found = lexical.predict(fitted, battles)
        return found if not battles.labelled else found[:, [2, 1, 0]]

    peeking = SimpleNamespace(prepare=lexical.prepare, fit=lexical.fit, load=lexical.load, predict=predict)
    monkeypatch.setitem(HEADS, "peeking", Head("nowhere", needs_base=False, swap_equivariant=True))
    monkeypatch.setattr(backbones, "get", lambda name: peeking)
    with pytest.raises(AssertionError, match="an outcome was looked at"):
        check_head("peeking", tmp_path)
