"""The audit names what leaks and fails closed; what is clean passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble import backbones, cli, prompts, sample
from arena_ensemble.artifacts import atomic, files
from arena_ensemble.battles import Battles
from arena_ensemble.folds import make_folds
from arena_ensemble.pipeline import leak_audit
from arena_ensemble.pipeline.audit_check import Check
from arena_ensemble.predictions import normalised
from arena_ensemble.sample import make_arena

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'
BATTLES = make_arena(120, seed=5).battles
FOLD = make_folds(BATTLES, n_folds=3).fold


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    for name, text in sample.files(80, 6, seed=3).items():
        (folder / name).write_text(text)
    for name in ("mine", "yours"):
        atomic.write_bytes(folder / "w" / "models" / name / "recipe.toml", RECIPE.encode())
    assert cli.run(
        ["stack", "--data", str(folder / "train.csv"), "--workspace", str(folder / "w"), "--models",
         "mine,yours", "--folds", "3", "--jobs", "1"]
    ) == 0  # fmt: skip
    return folder


def audited(
    folder: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    capsys.readouterr()
    code = cli.run(
        ["audit", "--data", str(folder / "train.csv"), "--workspace", str(folder / "w"), "--json", *more]
    )
    told = json.loads(capsys.readouterr().out)
    assert told["clean"] == (code == 0) == (not told["failed"])
    return code, {check["name"]: check for check in told["checks"]}


@pytest.mark.slow
def test_a_clean_workspace_passes_every_check_and_is_left_alone(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in (workspace / "w").rglob("*") if p.is_file()}
    code, checks = audited(workspace, capsys)
    assert code == 0
    assert {check["status"] for check in checks.values()} == {"ok"}
    assert list(checks) == [
        "groups", "near-duplicates", "provenance", "members", "canary", "template", "refit gap",
    ]  # fmt: skip
    assert {p: p.read_bytes() for p in (workspace / "w").rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_an_import_is_unproven_until_somebody_vouches_for_it(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = workspace / "w" / "oof" / "mine" / "oof.parquet"
    assert cli.run(["import", "theirs", "--oof", str(source), "--workspace", str(workspace / "w")]) == 0
    code, checks = audited(workspace, capsys, "--no-canary")
    assert code == 1
    assert "member theirs is external: nothing shows" in checks["provenance"]["message"]
    assert audited(workspace, capsys, "--no-canary", "--trust", "theirs")[0] == 0


def test_random_folds_are_named_with_evidence(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    battles = pl.read_csv(workspace / "train.csv")
    pl.DataFrame({"id": battles["id"], "fold": np.arange(len(battles)) % 3}).write_csv(workspace / "f.csv")
    repeated = pl.concat([battles, battles.head(9).with_columns(pl.col("id") + 10**9)])
    repeated.write_csv(workspace / "again.csv")
    more = pl.DataFrame({"id": repeated["id"], "fold": np.arange(len(repeated)) % 3})
    more.write_csv(workspace / "f.csv")
    arguments = ["--data", str(workspace / "again.csv"), "--fold-file", str(workspace / "f.csv")]
    code, checks = audited(workspace, capsys, *arguments, "--no-canary")
    assert code == 1
    assert checks["groups"]["status"] == "FAIL"
    example = checks["groups"]["evidence"]["examples"][0]
    assert example["folds"][0] != example["folds"][1]
    assert str(example["ids"][0]) in checks["groups"]["message"]
    for change, message in (
        (more.head(5), "has the fold None, expected a number"),
        (more.with_columns(fold=pl.lit("x")), "has the fold 'x', expected a number"),
        (more.rename({"fold": "part"}), "lacks the columns fold"),
    ):
        change.write_csv(workspace / "f.csv")
        assert cli.run(["audit", *arguments]) == 1
        assert message in capsys.readouterr().err


class Peeking:
    """Reads the outcomes that it is to predict."""

    def fit(self, train: Battles, **others: Any) -> None:
        assert len(train)

    def predict(self, fitted: Any, battles: Battles) -> Any:
        return normalised(np.eye(3)[battles.outcomes()])


def test_the_canary_sings_when_a_member_sees_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "get", lambda name: Peeking())
    check = statuses(leak_audit.run_checks(BATTLES, None, FOLD, None))
    assert check["canary"] == "FAIL"


def test_a_template_that_reads_votes_or_names_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = prompts.turns_of

    def telling(battles: Battles, template: prompts.Template) -> Any:
        prompt, a, b = honest(battles, template)
        shown = [[*turns[:-1], f"{turns[-1]} {v}"] for turns, v in zip(a, battles.outcomes(), strict=True)]
        return prompt, shown, b

    assert statuses(leak_audit.run_checks(BATTLES, None, FOLD, None, canary=False))["template"] == "ok"
    monkeypatch.setattr(prompts, "turns_of", telling)
    assert statuses(leak_audit.run_checks(BATTLES, None, FOLD, None, canary=False))["template"] == "FAIL"


def test_a_template_that_names_a_competitor_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    named = Battles(BATTLES.frame.with_columns(model_a=pl.lit("gpt-4-turbo")))
    bad = prompts.Template(
        name="bad-1", opening="You are GPT-4-turbo.", before_a="A:", before_b="B:", cue="?"
    )
    monkeypatch.setitem(prompts.TEMPLATES, "bad-1", bad)
    checks = leak_audit.run_checks(named, None, FOLD, None, canary=False)
    (found,) = [check for check in checks if check.name == "template"]
    assert found.status == "FAIL"
    assert "'gpt-4-turbo' in bad-1" in found.message


@pytest.mark.slow
def test_a_card_that_tells_another_loss_than_its_rows_is_caught(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, name in (("mine", "provenance"), ("ensemble", "refit gap")):
        path = workspace / "w" / "oof" / place / "card.json"
        before = path.read_bytes()
        card = {**json.loads(before), "log_loss": 0.5}
        del card["card_sha256"]
        path.write_text(json.dumps({**card, "card_sha256": files.digest_json(card)}))
        code, checks = audited(workspace, capsys, "--no-canary", "--trust", "theirs")
        path.write_bytes(before)
        assert code == 1
        assert checks[name]["status"] == "FAIL"
        assert "another log-loss than its rows" in checks[name]["message"]


def test_members_without_a_fold_file_are_refused(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "oof" / "m").mkdir(parents=True)
    (tmp_path / "oof" / "m" / "card.json").write_text("{}")
    assert cli.run(["audit", "--data", str(workspace / "train.csv"), "--workspace", str(tmp_path)]) == 1
    assert "holds members and no fold file" in capsys.readouterr().err
