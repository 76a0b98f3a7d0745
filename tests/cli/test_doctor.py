"""The verb doctor: what it reports of this machine, and plans as a person asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena_ensemble.cli import run


def test_doctor_says_that_this_machine_is_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json", "--workspace", str(tmp_path)]) == 0
    facts = json.loads(capsys.readouterr().out)
    named = {check["name"]: check for check in facts["checks"]}
    assert facts["ready"]
    assert {"python", "torch", "transformers", "device", "disk", "recipes", "members made"} <= named.keys()
    assert "modernbert-large" in named["recipes"]["value"]


def test_doctor_names_what_is_broken_and_how_to_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "recipe.toml").write_text('backbone = "clasify"\n')
    (tmp_path / "oof" / "old").mkdir(parents=True)
    (tmp_path / "oof" / "old" / "card.json").write_text('{"files": {"oof.parquet": "0"}}')
    assert run(["doctor", "--workspace", str(tmp_path)]) == 1
    report = capsys.readouterr().out
    assert "recipe mine" in report
    assert "clasify" in report
    assert "oof/old" in report
    assert "not ready" in report


def test_plan_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = ["sample", "--rows", "40", "--test-rows", "2", "--out", str(tmp_path / "s")]
    assert run(sample) == 0
    capsys.readouterr()
    arguments = [
        "doctor",
        "--plan",
        "--models",
        "modernbert-large",
        "--card",
        "L4",
        "--workspace",
        str(tmp_path),
    ]
    assert run([*arguments, "--data", str(tmp_path / "s" / "train.csv"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    (one,) = facts["recipes"]
    assert facts["estimate"] is True
    assert (facts["card"], facts["rows"], one["name"]) == ("L4", 40, "modernbert-large")
    assert one["fits_training"]
    assert run([*arguments, "--rows", "1000", "--tokens", "500"]) == 0
    assert "ESTIMATES" in capsys.readouterr().out
    assert run([*arguments, "--card", "abacus"]) == 1
    assert run([*arguments, "--utilisation", "40"]) == 1
    assert "between 0 and 1" in capsys.readouterr().err
