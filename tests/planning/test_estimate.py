"""Plans against reality: counts, operations, memory; and the facts about this machine."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from arena_ensemble.backbones.language import loading
from arena_ensemble.errors import InputError, RecipeError
from arena_ensemble.planning import estimate, flops, footprint, machine, memory, meta_model, workload
from arena_ensemble.planning.gpus import GIB, GPUS, gpu_named
from arena_ensemble.planning.shapes import SHAPES
from arena_ensemble.recipes import Recipe, recipe_from

# Published totals of the checkpoints (safetensors metadata of each repository; for the encoders, the
# 304M + 131M of DeBERTa-v3-large's model card and the 395M of arXiv:2412.13663, heads left out).
PUBLISHED = {
    "google/gemma-2-9b-it": 9_241_705_984,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    # keras-hub's gemma3_presets.py for 262,144 words; the hub's vocabulary has 64 more
    "google/gemma-3-12b-it": 11_765_788_416 + 64 * 3840,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
}
TINY: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 16, "attn_logit_softcapping": 50.0},
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 16},
    "bert": {},
    "modernbert": {"global_attn_every_n_layers": 3, "local_attention": 16},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 16,
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "type_vocab_size": 0,
    },
}


def tiny_config(kind: str, **more: Any) -> Any:
    values = {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
    }
    return AutoConfig.for_model(kind, **{**values, **TINY[kind], **more})


def a_recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {"backbone": "classify", "base": "some/base", "prompt": {"max_tokens": 128}}
    return recipe_from({**values, **changes}, name="a")


def real_head_model(recipe: Recipe, config: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same scorer with values, through the same code: only the meta device is taken away."""
    config._attn_implementation = "eager"
    meta_model.meta_model(recipe, copy.deepcopy(config), "fp32")  # imports need the real torch.device
    device = torch.device
    monkeypatch.setattr(meta_model.torch, "device", lambda name: device("cpu" if name == "meta" else name))
    head_model = meta_model.meta_model(recipe, config, "fp32")
    monkeypatch.undo()
    for parameter in head_model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return head_model


@pytest.mark.parametrize("base", PUBLISHED)
def test_shapes_have_the_published_number_of_parameters(base: str) -> None:
    recipe = a_recipe(backbone="generate", base=base, train={"epochs": 0})
    config, source = meta_model.config_of(recipe)
    assert source == "table of published shapes"
    head_model = meta_model.meta_model(recipe, config, "bf16")
    assert sum(p.numel() for p in head_model.model.parameters()) == PUBLISHED[base]
    assert all(p.device.type == "meta" for p in head_model.parameters())


def test_encoders_have_the_published_number_of_parameters() -> None:
    def count(base: str) -> list[int]:
        recipe = a_recipe(base=base)
        model = meta_model.meta_model(recipe, meta_model.config_of(recipe)[0], "bf16").model
        sizes = {name: p.numel() for name, p in model.named_parameters() if "lora_" not in name}
        embeddings = sum(n for name, n in sizes.items() if "word_embeddings" in name)
        return [sum(sizes.values()), embeddings]

    total, embeddings = count("microsoft/deberta-v3-large")
    assert round(embeddings / 1e6) == 131
    assert round((total - embeddings) / 1e6) == 304
    assert round(count("answerdotai/ModernBERT-large")[0] / 1e6) in (395, 396)


@pytest.mark.parametrize(
    ("kind", "adapter"), [*((kind, "lora") for kind in TINY), ("llama", "full"), ("deberta-v2", "full")]
)
def test_operations_equal_the_counter_of_torch(
    kind: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = a_recipe(adapter={"kind": adapter, "r": 8}, train={"attention": "eager"})
    config = tiny_config(kind)
    head_model = real_head_model(recipe, config, monkeypatch)
    rows, length = 3, 96
    batch = {"input_ids": torch.ones(rows, length, dtype=torch.long), "last": torch.full((rows,), length - 1)}
    with FlopCounterMode(display=False) as counter:
        logits = head_model(batch)
        forward = counter.get_total_flops()
        logits.sum().backward()
    passes = flops.count(head_model.model, config, causal=head_model.causal, fused=False, checkpointed=False)
    batch_totals = flops.BatchTotals(rows * length, rows * length**2, rows, 1, rows * length)
    assert passes.prediction(batch_totals) == pytest.approx(forward, rel=0.03)
    assert passes.training(batch_totals)[0] == pytest.approx(counter.get_total_flops(), rel=0.04)
    assert passes.training(batch_totals)[0] == passes.training(batch_totals)[1]


def test_lora_costs_two_thirds_of_full_training_and_a_frozen_base_one_third() -> None:
    """Forward 2N; backward 2N for activations and, in full training alone, 2N for weights."""
    config = tiny_config("llama", hidden_size=256, intermediate_size=1024)
    batch_totals = flops.BatchTotals(1024, 0, 8, 1, 1024)

    def operations(kind: str) -> float:
        recipe = a_recipe(adapter={"kind": kind, "r": 1})
        head_model = meta_model.meta_model(recipe, config, "bf16")
        counted = flops.count(head_model.model, config, causal=True, fused=True, checkpointed=False)
        return counted.training(batch_totals)[0]

    assert operations("lora") / operations("full") == pytest.approx(2 / 3, rel=0.05)
    assert operations("frozen") / operations("full") == pytest.approx(1 / 3, rel=0.05)


def test_checkpointing_computes_the_layers_again_and_lower_frozen_layers_nothing() -> None:
    config = tiny_config("llama")
    batch_totals = flops.BatchTotals(1024, 1024 * 128, 8, 1, 1024)

    def counted(checkpointed: bool, first_layer: int = 0) -> tuple[float, float]:
        head_model = meta_model.meta_model(
            a_recipe(adapter={"r": 4, "first_layer": first_layer}), config, "bf16"
        )
        passes = flops.count(head_model.model, config, causal=True, fused=False, checkpointed=checkpointed)
        return passes.training(batch_totals)

    needed, performed = counted(True)
    assert needed == performed - counted(False)[1] + needed - (performed - needed)
    assert counted(False)[0] == needed
    half_needed, half_again = counted(True, first_layer=3)
    assert (half_again - half_needed) == pytest.approx((performed - needed) * 2 / 5, rel=0.01)
    assert half_needed < 0.8 * needed


def test_the_first_deberta_is_planned_too() -> None:
    """Its configuration knows no buckets of positions, as one of the second version with none of them."""
    second = tiny_config("deberta-v2", position_buckets=-1)
    fields = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    fields += ("max_position_embeddings", "relative_attention", "pos_att_type")
    first = AutoConfig.for_model("deberta", **{name: getattr(second, name) for name in fields})
    found = [
        flops.count(
            meta_model.meta_model(a_recipe(base=f"tests/{kind}"), config, "fp32"),
            config, causal=False, fused=False, checkpointed=False,
        )
        for kind, config in (("first", first), ("second", second))
    ]  # fmt: skip
    assert found[0].forward.per_square == found[1].forward.per_square > 0


@pytest.mark.parametrize("kind", ["gemma2", "deberta-v2"])
def test_memory_rehearsed_on_shallow_fakes_equals_that_of_the_real_deep_model(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = a_recipe(
        base=f"tests/{kind}", adapter={"r": 8}, train={"attention": "eager", "batch_tokens": 512}
    )
    config = tiny_config(kind)
    head_model = real_head_model(recipe, config, monkeypatch)
    batch = {"input_ids": torch.ones(4, 128, dtype=torch.long), "last": torch.full((4,), 127)}
    real = memory.measure(head_model, batch, "step", None)
    estimated = footprint.activation_bytes(recipe, config, "fp32", 5)
    assert estimated == pytest.approx(real.kept + real.passing, rel=0.15)


def test_checkpointed_memory_is_that_of_the_real_checkpointed_model(monkeypatch: pytest.MonkeyPatch) -> None:
    train = {"attention": "eager", "batch_tokens": 512, "gradient_checkpointing": True}
    recipe = a_recipe(base="tests/checkpointed", adapter={"r": 8}, train=train)
    config = tiny_config("llama")
    head_model = real_head_model(recipe, config, monkeypatch)
    loading.recompute_activations(head_model.model)
    batch = {"input_ids": torch.ones(4, 128, dtype=torch.long), "last": torch.full((4,), 127)}
    real = memory.measure(head_model, batch, "step", None)
    estimated = footprint.activation_bytes(recipe, config, "fp32", 5)
    assert estimated == pytest.approx(real.kept + real.passing, rel=0.3)


def test_auto_recomputes_where_the_card_wants_it(tmp_path: Path) -> None:
    """Kept whole where it fits, in halves of at least 2,048 tokens else, recomputed as the last way."""
    shape = {"hidden_size": 512, "intermediate_size": 2048, "max_position_embeddings": 512}
    tiny_config("llama", **shape).save_pretrained(tmp_path)
    work = workload.Workload(workload.typical_lengths(400, count=200), 1000)

    def made(memory_bytes: int, checkpointing: Any = "auto") -> Any:
        train = {"gradient_checkpointing": checkpointing, "batch_tokens": 8192}
        recipe = a_recipe(base=str(tmp_path), train=train, prompt={"max_tokens": 512})
        return estimate.estimate(recipe, replace(gpu_named("h100"), memory=memory_bytes), work)

    def choice(found: Any) -> tuple[int, bool]:
        return found.batch_tokens, found.gradient_checkpointing

    roomy, kept, again = made(1 << 40), made(1 << 40, False), made(1 << 40, True)
    assert choice(roomy) == (8192, False)
    assert roomy == kept
    assert (again.fit_seconds, again.train_peak_bytes) > (kept.fit_seconds, 0)
    assert again.train_peak_bytes < kept.train_peak_bytes
    half = made(kept.train_peak_bytes - 1)
    assert choice(half) == (4096, False)
    assert half.fits_training
    assert half.fit_seconds < again.fit_seconds
    quarter = made(half.train_peak_bytes - 1)
    assert choice(quarter) == (2048, False)
    full = made(min(quarter.train_peak_bytes, again.train_peak_bytes) - 1)
    assert choice(full) == (8192, True)
    assert full.train_peak_bytes == again.train_peak_bytes


def test_an_estimate_adds_up_and_follows_the_recipe(tmp_path: Path) -> None:
    work = workload.Workload(workload.typical_lengths(400, count=500), 1000)
    card = gpu_named("h100")
    tiny_config(
        "llama", hidden_size=512, intermediate_size=2048, max_position_embeddings=512
    ).save_pretrained(tmp_path)
    base = {"base": str(tmp_path), "prompt": {"max_tokens": 512}}
    one = estimate.estimate(a_recipe(**base, train={"batch_tokens": 1024}), card, work)
    two = estimate.estimate(
        a_recipe(**base, swap="paired", read_orders=2, train={"batch_tokens": 1024}), card, work
    )
    four = estimate.estimate(
        a_recipe(**base, adapter={"quantise": "4bit"}, train={"batch_tokens": 1024}), card, work
    )
    assert one.facts()["estimate"] is True
    parts = one.weight_bytes + one.trained_bytes + one.gradient_bytes + one.optimizer_bytes
    parts += one.activation_bytes
    assert one.train_peak_bytes == pytest.approx(parts * 1.05 + 0.75 * GIB, rel=1e-3)
    assert one.trained_bytes == 4 * one.trained_parameters
    assert two.fit_seconds == pytest.approx(2 * one.fit_seconds, rel=0.1)
    assert two.read_seconds == pytest.approx(2 * one.read_seconds, rel=1e-6)
    assert one.gpu_hours == pytest.approx(5 * (one.fit_seconds + one.read_seconds) / 3600)
    assert four.weight_bytes < 0.45 * one.weight_bytes
    assert four.trained_parameters == one.trained_parameters
    assert 0.3 < one.implied_mfu <= 0.4
    assert one.notes == ()
    assert any("unpack" in note for note in four.notes)


def test_typical_and_real_lengths() -> None:
    lengths = workload.typical_lengths(830)
    assert lengths.shape[1] == 3
    assert lengths.sum(axis=1).mean() == pytest.approx(830)
    np.testing.assert_array_equal(lengths, workload.typical_lengths(830))


def test_precision_on_a_card_is_the_engines_policy() -> None:
    llama, gemma = SimpleNamespace(model_type="llama"), SimpleNamespace(model_type="gemma3_text")
    auto, fixed = a_recipe(), a_recipe(train={"precision": "bf16"})
    assert [meta_model.dtype_on(GPUS["T4"], auto, c) for c in (llama, gemma)] == ["fp16", "fp32"]
    assert [meta_model.dtype_on(GPUS["L4"], auto, c) for c in (llama, gemma)] == ["bf16", "bf16"]
    assert meta_model.dtype_on(GPUS["T4"], fixed, llama) == "bf16"


def test_a_local_folder_goes_before_the_table(tmp_path: Path) -> None:
    tiny_config("llama").save_pretrained(tmp_path)
    config, source = meta_model.config_of(a_recipe(base=str(tmp_path)))
    assert (config.num_hidden_layers, source) == (5, str(tmp_path))


def test_bases_that_cannot_be_planned_say_so() -> None:
    with pytest.raises(RecipeError, match="built on the spot"):
        meta_model.config_of(a_recipe(base="tiny:decoder"))
    with pytest.raises(RecipeError, match="cannot load its configuration"):
        meta_model.config_of(a_recipe(base="nobody/knows-this"))


def test_cards_by_name() -> None:
    assert gpu_named("a100 80GB").name == "A100-80"
    assert gpu_named("rtx-4090").name == gpu_named("4090").name == "RTX4090"
    assert gpu_named("A100").name == "A100-80"
    with pytest.raises(InputError, match="the table has P100, T4"):
        gpu_named("TPU")
    assert {row.model_type for row in SHAPES.values()} <= {*TINY, "qwen2"}


def test_machine_facts_are_plain() -> None:
    facts = machine.device_facts()
    assert json.loads(json.dumps(facts))["device"] in ("cpu", "cuda")
    assert set(machine.extras()) == set(machine.EXTRAS)
