"""What of a test file fits in a session that only predicts: laws of the schedule, and the 9B on two T4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

from arena_ensemble.cli import run
from arena_ensemble.errors import InputError
from arena_ensemble.planning import session
from arena_ensemble.planning.gpus import GPUS, gpus_named
from arena_ensemble.planning.session import SessionPlan, plan_session, session_seconds
from arena_ensemble.planning.workload import Workload, typical_lengths
from arena_ensemble.recipes import Recipe, load_recipe, packaged_recipe, recipe_from

SHAPE = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
SECONDS = st.floats(0.1, 1e5)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("base")
    AutoConfig.for_model("llama", **SHAPE).save_pretrained(folder)
    values: dict[str, Any] = {"backbone": "classify", "base": str(folder), "prompt": {"max_tokens": 128}}
    return recipe_from(values, name="small")


def planned(recipe: Recipe, hours: float, card: str = "T4", rows: int = 10**6) -> list[SessionPlan]:
    work = Workload(typical_lengths(100, count=50), rows)
    return plan_session(recipe, *gpus_named(card), work, hours)


def test_cards_are_counted_by_their_name() -> None:
    assert gpus_named("T4x2") == (GPUS["T4"], 2)
    assert gpus_named("l4 x 4") == (GPUS["L4"], 4)
    assert gpus_named("P100") == (GPUS["P100"], 1)
    assert gpus_named("RTX4090") == (GPUS["RTX4090"], 1)
    assert gpus_named("RTX4090x2") == (GPUS["RTX4090"], 2)
    for wrong in ("T4x0", "T4x99", "abacusx2"):
        with pytest.raises(InputError, match="the table has"):
            gpus_named(wrong)


@given(SECONDS, SECONDS, st.integers(1, 10), st.integers(1, 8))
def test_no_card_waits_and_no_work_is_lost(load: float, work: float, folds: int, cards: int) -> None:
    seconds = session_seconds(load, work, folds, cards)
    least = folds * work / cards + load
    assert least * (1 - 1e-9) <= seconds <= folds * (load + work) / cards + folds * load + 1e-6
    assert seconds <= session_seconds(load, work, folds + cards, cards)
    if cards == 1:
        assert seconds == pytest.approx(folds * (load + work))
    if folds % cards == 0:
        assert seconds == pytest.approx(folds // cards * (load + work))


def test_more_hours_and_more_cards_fit_more(small: Recipe) -> None:
    def reach(hours: float, card: str) -> tuple[int, int]:
        (one,) = planned(small, hours, card)
        assert one.folds_both <= one.folds <= 5
        assert 0 <= one.second_order_share <= 1
        return one.folds, one.folds_both

    (one,) = planned(small, 1.0)
    per_fold = (one.load_seconds + one.order_seconds) / 3600

    def long_enough(fold_models: float) -> float:
        return (session.START_SECONDS / 3600 + fold_models * per_fold) / (1 - session.MARGIN_SHARE)

    steps = [reach(long_enough(1.05 * k), "T4") for k in range(1, 12, 2)]
    assert steps == sorted(steps)
    assert steps[0][0] == 1
    assert steps[-1] == (5, 5)
    assert reach(long_enough(1.05), "T4x2") >= reach(long_enough(1.05), "T4")
    assert reach(long_enough(0.5), "T4") == (0, 0)


def test_the_second_order_is_what_the_rest_of_the_time_holds(small: Recipe) -> None:
    (one,) = planned(small, 1.0)
    five = 5 * (one.load_seconds + one.order_seconds)
    half = one.load_seconds + five + 2.5 * one.order_seconds
    hours = (half + session.START_SECONDS) / 3600 / (1 - session.MARGIN_SHARE)
    (found,) = planned(small, hours)
    assert found.folds == 5
    assert found.second_order_share == pytest.approx(0.5, abs=0.01)


def test_a_9b_trained_elsewhere_predicts_in_nine_hours_on_two_t4() -> None:
    path = packaged_recipe("gemma-2-9b-classify")
    assert path is not None
    work = Workload(typical_lengths(830), 25_000)
    plans = plan_session(load_recipe(path), *gpus_named("T4x2"), work, 9.0)
    half, eight = plans[:2]
    assert (half.quantise, half.fits_card, half.folds) == ("none", False, 0)
    assert half.peak_bytes > 18.4e9  # 9.24 billion weights in 16 bits
    assert (eight.quantise, eight.dtype, eight.fits_card) == ("8bit", "fp16", True)
    assert eight.folds >= 1
    assert [plan.quantise for plan in plan_session(load_recipe(path), GPUS["L4"], 4, work, 9.0)] == ["none"]


def test_the_command_names_its_assumptions_and_what_to_change(
    small: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "models" / "small" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(f'backbone = "classify"\nbase = "{small.base}"\n[prompt]\nmax_tokens = 128\n')
    command = ["doctor", "--plan", "--models", "small", "--card", "T4x2", "--workspace", str(tmp_path)]
    assert run([*command, "--hours", "9", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["estimate"], facts["cards"], facts["rows"]) == (True, 2, 25_000)
    (one,) = facts["sessions"]
    assert one["folds_both"] == 5
    assert run([*command, "--hours", "9"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "5 of 5 fold models predict in time in one order, and in both orders" in shown
    for word in ("16.8 TFLOP/s", "830 tokens per battle", "200 MB/s", "5 minutes until", "no bf16"):
        assert word in shown
    assert run([*command, "--hours", "0.05"]) == 0
    assert "ONE FOLD MODEL DOES NOT FIT" in capsys.readouterr().out
    assert run([*command, "--hours", "-1"]) == 1
