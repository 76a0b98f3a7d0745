"""``--models auto``: by what the machine is and how many battles there are; nothing that would take hours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.pipeline import auto_members
from arena_ensemble.pipeline.auto_members import CARD_SECONDS, CPU_SECONDS, choose_members, with_chosen
from arena_ensemble.planning.costs import Texts
from arena_ensemble.planning.gpus import gpu_named
from arena_ensemble.planning.here import Machine
from arena_ensemble.planning.lengths import sampled_lengths
from arena_ensemble.sample import make_arena

TWO_CORES = Machine(2, 16 * 2**30)
CARD = Machine(8, 64 * 2**30, gpu_named("H100"), 1)


def test_few_battles_have_all_small_members_and_many_have_what_half_an_hour_holds(tmp_path: Path) -> None:
    battles = make_arena(40, seed=1).battles
    few = choose_members(Workspace(tmp_path), battles, n_folds=5, machine=TWO_CORES)
    assert few.chosen == list(auto_members.ON_A_CPU)
    counts = []
    for rows in (1_000, 30_000, 57_477, 4_000_000):
        texts = Texts(sampled_lengths(battles) * 5, rows, 0, 5)
        plan = auto_members._chosen(
            Workspace(tmp_path), auto_members.ON_A_CPU, texts, TWO_CORES, 2, CPU_SECONDS
        )
        assert plan.chosen[0] == "lexical"
        assert plan.seconds <= CPU_SECONDS or plan.chosen == ["lexical"]
        counts.append(len(plan.chosen))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


def test_the_same_battles_and_machine_give_the_same_members(tmp_path: Path) -> None:
    battles = make_arena(60, seed=2).battles
    plans = [choose_members(Workspace(tmp_path), battles, n_folds=3, machine=TWO_CORES) for _ in range(2)]
    assert plans[0] == plans[1]


def test_on_a_card_a_base_that_is_not_on_the_disk_is_named_and_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    battles = make_arena(40, seed=1).battles
    monkeypatch.setattr(auto_members.hub, "check_base", lambda recipe: None)
    here = {"answerdotai/ModernBERT-large", "Qwen/Qwen2.5-7B-Instruct"}
    monkeypatch.setattr(auto_members.hub, "weight_bytes", lambda one: 1 if one.base in here else None)
    names = ("lexical", "gemma-2-9b-classify", "qwen2.5-7b-classify", "qwen2.5-7b-4bit", "modernbert-large")
    monkeypatch.setattr(auto_members, "ON_A_CARD", names)
    plan = choose_members(Workspace(tmp_path), battles, n_folds=5, machine=CARD)
    assert plan.chosen == ["lexical", "qwen2.5-7b-classify", "modernbert-large"]
    why = {one.name: one.why for one in plan.candidates}
    assert "hf download google/gemma-2-9b-it" in why["gemma-2-9b-classify"]
    assert why["qwen2.5-7b-4bit"] == "another member has its base"
    small = Machine(8, 64 * 2**30, gpu_named("T4"), 1)
    plan = choose_members(Workspace(tmp_path), battles, n_folds=5, machine=small)
    assert "qwen2.5-7b-classify" not in plan.chosen
    assert any("needs about" in one.why for one in plan.candidates)
    assert plan.seconds <= CARD_SECONDS


def test_a_card_without_bases_is_no_reason_to_have_no_members(tmp_path: Path) -> None:
    plan = choose_members(Workspace(tmp_path), make_arena(40, seed=1).battles, n_folds=5, machine=CARD)
    assert plan.chosen[0] == "lexical"
    assert len(plan.chosen) > 1


def test_names_beside_auto_stay_where_they_are() -> None:
    assert with_chosen(["mine", "auto", "lexical"], ["lexical", "x"]) == ["mine", "lexical", "x"]


def test_without_models_the_plan_is_shown_and_kept_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_members, "machine_here", lambda: TWO_CORES)
    for name, text in sample.files(40, 5, seed=1).items():
        (tmp_path / name).write_text(text)
    command = ["oof", "--data", str(tmp_path / "train.csv"), "--workspace", str(tmp_path / "w"), "--dry-run"]
    facts = []
    for models in ([], ["--models", "auto"]):
        assert cli.run([*command, *models, "--json"]) == 0
        captured = capsys.readouterr()
        facts.append(json.loads(captured.out))
        assert "members for 2 cores, 16 GiB, no GPU and 40 battles" in captured.err
    assert facts[0]["members"] == facts[1]["members"] == facts[0]["auto"]["chosen"]
