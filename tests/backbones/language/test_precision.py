"""What is trained is float32 whatever the base is in; one base at a time; nothing is rounded on the way."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from architectures import battles, recipe, save_base
from safetensors.torch import load_file

from arena_ensemble import backbones
from arena_ensemble.artifacts import fold_file
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.language import adapters, loading
from arena_ensemble.backbones.language.encoder import PromptEncoder
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.trainer import Trainer
from arena_ensemble.errors import RecipeError
from arena_ensemble.pipeline import tasks
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.sample import make_arena


@pytest.mark.parametrize("adapter", [{}, {"dora": True}, {"also": ["embeddings", "norms"]}, {"kind": "full"}])
@pytest.mark.parametrize("head", ["classify", "generate", "reward"])
def test_all_that_is_trained_is_float32_on_a_bf16_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, adapter: dict[str, Any]
) -> None:
    seen: list[Trainer] = []
    run = Trainer.run

    def noted(self: Trainer, **options: Any) -> Any:
        seen.append(self)
        return run(self, **options)

    monkeypatch.setattr(Trainer, "run", noted)
    base = save_base(tmp_path / "base", "llama")
    chosen = recipe(base, head, train={"precision": "bf16"}, adapter=adapter)
    (tmp_path / "fold").mkdir()
    module = backbones.get(head)
    fitted = module.fit(battles(), recipe=chosen, folder=tmp_path / "fold", cache=tmp_path / "cache")
    [trainer] = seen
    assert {p.dtype for p in trainer.named.values()} == {torch.float32}
    moments = {
        v.dtype for s in trainer.optimizer.state.values() for v in s.values() if torch.is_tensor(v) and v.ndim
    }
    assert moments == {torch.float32}
    assert {t.dtype for t in load_file(tmp_path / "fold" / "weights.safetensors").values()} == {torch.float32}
    predicted = module.predict(fitted, battles().without_outcomes())
    assert np.isfinite(predicted).all()
    if adapter.get("kind") != "full":
        layer = fitted.head_model.model.get_submodule("model.layers.0.mlp.up_proj")  # type: ignore[attr-defined]
        assert layer.get_base_layer().weight.dtype is torch.bfloat16, "the frozen base stays small"


def test_a_bf16_base_learns_as_a_float32_one_does(tmp_path: Path) -> None:
    """Small steps: in bf16 they would round to nothing."""
    base, losses = save_base(tmp_path / "base", "llama"), {}
    for precision in ("fp32", "bf16"):
        chosen = recipe(base, train={"precision": precision, "epochs": 10, "learning_rate": 4e-3})
        folder = tmp_path / precision
        folder.mkdir()
        fitted = backbones.get("classify").fit(
            battles(), recipe=chosen, folder=folder, cache=tmp_path / "cache"
        )
        losses[precision] = fitted.facts["epoch_losses"]
    fell = losses["fp32"][0] - losses["fp32"][-1]
    assert fell > 0.05
    assert abs(losses["bf16"][-1] - losses["fp32"][-1]) < 0.2 * fell


def test_full_training_starts_from_the_checkpoint_unrounded(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    chosen = recipe(base, train={"precision": "bf16"}, adapter={"kind": "full"})
    member = open_model(chosen, cache=tmp_path / "cache")
    kept = load_file(base / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert torch.equal(member.head_model.model.model.layers[0].mlp.up_proj.weight, kept)


def test_one_base_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trained model is gone before the kept one is loaded: a 9B base is not held twice."""
    alive: list[int] = []
    known: list[Any] = []
    load = loading.load_model

    def watched(*arguments: Any, **named: Any) -> Any:
        alive.append(sum(one() is not None for one in known))
        model, fresh = load(*arguments, **named)
        known.append(weakref.ref(model))
        return model, fresh

    monkeypatch.setattr(loading, "load_model", watched)
    rows = make_arena(30, seed=1).battles
    folds = fold_file.ensure_folds(Workspace(tmp_path), rows, n_folds=3, seed=0)
    job = Job(tmp_path, rows, folds)
    chosen = recipe(save_base(tmp_path / "base", "llama"))
    tasks.prepare(job, chosen)
    gc.disable()
    try:
        for task in tasks.plan(job, "member", chosen)[:2]:
            tasks.run_fold(job, task)
    finally:
        gc.enable()
    assert len(alive) == 4
    assert alive == [0, 0, 0, 0]


def test_quantised_weights_are_not_merged() -> None:
    """Rounding again to 4 bits would lose the update: such a base keeps its adapter beside it."""
    import peft

    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["0", "1"]), model)
    packed: Any = model[0]
    packed.base_layer.weight = torch.nn.Parameter(
        torch.zeros(32, 1, dtype=torch.uint8), requires_grad=False
    )  # as bitsandbytes keeps four bits
    adapters.merge_adapters(model)
    assert [part.merged for part in model] == [False, True]


def test_an_architecture_without_flash_attention_runs_without(
    tmp_path: Path,
) -> None:
    base = save_base(tmp_path / "base", "deberta-v2")
    chosen = recipe(base)
    policy = loading.Policy(torch.device("cpu"), torch.float32, "flash_attention_2")
    source = loading.source_of(chosen, tmp_path)
    model, _ = loading.load_model(source, chosen, policy, labels=3)
    assert model.config._attn_implementation != "flash_attention_2"
    asked = recipe(base, train={"attention": "flash_attention_2"})
    with pytest.raises(RecipeError, match="does not support Flash Attention"):
        loading.load_model(source, asked, policy, labels=3)


def test_a_decoder_that_looks_both_ways_is_masked(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "gemma3_text")
    config = transformers.AutoConfig.from_pretrained(base)
    config.use_bidirectional_attention = True
    config.save_pretrained(base)
    chosen = recipe(base)
    member = open_model(chosen, cache=tmp_path / "cache")
    assert member.head_model.pools_last
    assert not member.head_model.causal
    module = backbones.get("classify")
    together = module.predict(member, battles().without_outcomes())
    alone = np.concatenate(
        [module.predict(member, battles().take([k]).without_outcomes()) for k in range(len(battles()))]
    )
    np.testing.assert_allclose(together, alone, atol=1e-5)
    with pytest.raises(RecipeError, match="packing needs a causal base"):
        module.fit(
            battles(), recipe=recipe(base, train={"packing": True}), folder=tmp_path, cache=tmp_path / "cache"
        )


def test_roberta_counts_its_positions_from_the_pad_id_on(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "roberta")
    with pytest.raises(RecipeError, match=r"at most 255 tokens"):
        PromptEncoder.open(
            recipe(base, prompt={"max_tokens": 256}),
            loading.source_of(recipe(base), tmp_path),
            tmp_path / "cache",
        )
    chosen = recipe(base, prompt={"max_tokens": 255})
    member = open_model(chosen, cache=tmp_path / "cache")
    ids = torch.full((1, 255), 5)
    assert torch.isfinite(member.head_model({"input_ids": ids, "last": torch.tensor([254])})).all()
