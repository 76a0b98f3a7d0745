"""A member on a fleet: the planner's own seconds, and nothing but what the fleet adds to them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from arena_ensemble.cli import run
from arena_ensemble.errors import InputError
from arena_ensemble.planning import fleet_plan
from arena_ensemble.planning.fleet import Fleet, Stage, Storage
from arena_ensemble.planning.fleet_plan import OBJECT_STORE, best_chunk_rows, driver_of, member_plan, stage_of
from arena_ensemble.planning.gpus import gpu_named
from arena_ensemble.planning.lengths import BYTES_PER_TOKEN
from arena_ensemble.planning.session import plan_session
from arena_ensemble.planning.workload import Workload, typical_lengths
from arena_ensemble.recipes import Recipe, recipe_from

SHAPE = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
ROWS = 10**9
WORK = Workload(typical_lengths(100, count=50), ROWS)
CARD = gpu_named("L4")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("base")
    AutoConfig.for_model("llama", **SHAPE).save_pretrained(folder)
    values: dict[str, Any] = {"backbone": "classify", "base": str(folder), "prompt": {"max_tokens": 128}}
    return recipe_from(values, name="small")


def test_a_stage_is_the_planners_session(small: Recipe) -> None:
    plan = member_plan(small, CARD, WORK)
    assert plan == plan_session(small, CARD, 1, WORK, 1.0)[0]
    stage = stage_of(plan, WORK, 4096)
    assert stage.row_seconds * ROWS == pytest.approx(plan.order_seconds)
    assert stage.load_seconds == plan.load_seconds
    assert stage.read_bytes == pytest.approx(100 * BYTES_PER_TOKEN)
    assert stage_of(plan, WORK, 4096, passes=10).row_seconds == pytest.approx(10 * stage.row_seconds)


def test_one_node_that_stays_adds_what_is_around_the_chunks(small: Recipe) -> None:
    store = replace(OBJECT_STORE, stall_share=0.0)
    found = fleet_plan.plan_fleet(small, CARD, WORK, Fleet(1, start_seconds=60.0), 1_000_000, store)
    moved = ROWS * (found.stage.read_bytes + found.stage.write_bytes) / store.bytes_per_second
    driver = driver_of(1_000_000)
    around = 2 * store.latency + driver.hand_out_seconds + driver.note_seconds
    expected = 60.0 + found.plan.load_seconds + found.plan.order_seconds + moved + 1000 * around
    assert found.outcome.seconds == pytest.approx(expected)
    assert found.best_chunk_rows is None
    facts = found.facts()
    assert facts["estimate"] is True
    assert json.loads(json.dumps(facts)) == facts


def test_the_driver_reads_what_it_hands_out() -> None:
    few, many = driver_of(1_000), driver_of(1_001_000)
    grown = many.hand_out_seconds - few.hand_out_seconds
    assert grown == pytest.approx(10**6 * fleet_plan.HAND_OUT_ROW_SECONDS)
    assert few.note_seconds == many.note_seconds


def test_rarer_losses_allow_longer_chunks() -> None:
    stage = Stage("member", 10**6, 1, 0.1)
    fleets = [Fleet(1, vanish=rate) for rate in (0.01, 0.1, 1.0)]
    seldom, often, always = (best_chunk_rows(stage, one, Storage(latency=0.1)) or 0 for one in fleets)
    # Young: the root of the time between losses
    assert seldom / often == pytest.approx(10**0.5, rel=0.02)
    assert often / always == pytest.approx(10**0.5, rel=0.02)


def test_more_chunks_than_can_be_simulated_are_refused(small: Recipe) -> None:
    with pytest.raises(InputError, match="--chunk-rows 1,000 or more"):
        fleet_plan.plan_fleet(small, CARD, WORK, Fleet(1), 10)


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "cost.md"
    if not page.is_file():
        pytest.skip("docs/ is not part of this copy")
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    exec(compile(block, str(page), "exec"), {})
    assert "computing" in capsys.readouterr().out


@pytest.fixture
def place(small: Recipe, tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(f'backbone = "classify"\nbase = "{small.base}"\n')
    return tmp_path


def test_doctor_plans_a_fleet(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "--plan", "--models", "small", "--workspace", str(place), "--card", "L4x4"]
    words += ["--nodes", "16", "--spot-rate", "0.5", "--rows", "100000000"]
    assert run([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    (one,) = facts["plans"]
    assert (facts["nodes"], facts["cards"], facts["spot_rate"]) == (16, 4, 0.5)
    assert facts["price"] == pytest.approx(4 * 0.404)
    assert one["dollars"] == pytest.approx(one["node_seconds"] / 3600 * facts["price"])
    assert one["chunks"] == 24_415
    # so small a model waits for the process that reads the file
    assert one["shares"]["driver"] > one["shares"]["compute"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "IT IS WHAT LIMITS" in out
    assert "SkyPilot" in out
    assert run([*words, "--price", "2.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["price"] == 2.5
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == facts


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "0"], "--nodes 0"),
        (["--nodes", "2", "--hours", "9"], "not both"),
        (["--nodes", "2", "--spot-rate", "-1"], "--spot-rate"),
        (["--nodes", "2", "--card", "P100"], "--price"),
        (["--nodes", "2", "--price", "0"], "--price"),
    ],
)
def test_a_fleet_that_makes_no_sense_is_refused(
    place: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--plan", "--models", "small", "--workspace", str(place), *words]) == 1
    assert message in capsys.readouterr().err
