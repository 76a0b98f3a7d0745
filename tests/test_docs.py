"""docs/python.md is true: its blocks run one after the other, as a notebook's cells would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from arena_ensemble.io import check_submission, read_battles

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not part of this copy")


@pytest.mark.slow
def test_every_python_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # a block that writes beside itself writes here
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    namespace: dict[str, Any] = {}
    page = PAGE.read_text(encoding="utf-8")
    found = list(re.finditer(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE))
    assert len(found) >= 5
    for block in found:
        line = page[: block.start(1)].count("\n")  # so that a traceback names the line of the page
        exec(compile("\n" * line + block.group(1), str(PAGE), "exec"), namespace)
    work = namespace["work"]
    test = read_battles(work / "test.csv")
    check_submission(work / "submission.csv", test.ids)
    assert namespace["probs"].shape == (2, 3)
    assert namespace["calibrated"].shape == (150, 3)
    out = capsys.readouterr().out
    assert "ensemble" in out
    assert "the nearest packaged recipe is 'lexical'" in out
