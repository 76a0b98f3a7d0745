"""The planner asks the registry: every head can be planned, an unknown one is an error."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig

from arena_ensemble.backbones import HEADS, head_of
from arena_ensemble.backbones.language.backbone import LanguageModel
from arena_ensemble.backbones.language.heads import ClassificationHeadModel
from arena_ensemble.errors import RecipeError
from arena_ensemble.planning import estimate, meta_model, workload
from arena_ensemble.planning.gpus import GPUS
from arena_ensemble.recipes import Recipe, recipe_from

SHAPE = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    AutoConfig.for_model("llama", **SHAPE).save_pretrained(tmp_path)
    return tmp_path


def a_recipe(head: str, base: Path, **more: Any) -> Recipe:
    return recipe_from(
        {"backbone": head, "base": str(base), "prompt": {"max_tokens": 128}, **more}, name=head
    )


def planned(recipe: Recipe) -> estimate.Estimate:
    work = workload.Workload(workload.typical_lengths(100, count=50), 200)
    return estimate.estimate(recipe, GPUS["L4"], work)


@pytest.mark.parametrize("name", [name for name, head in HEADS.items() if head.needs_base])
def test_every_registered_head_can_be_planned(name: str, base: Path) -> None:
    plan = planned(a_recipe(name, base))
    assert plan.trained_parameters > 0
    assert plan.fit_seconds > 0
    assert plan.read_seconds > 0
    causal = head_of(name).causal
    assert (plan.full_vocabulary_logit_bytes > 0) == causal, (
        "only a causal model has logits of the vocabulary"
    )
    labels = head_of(name).labels
    outputs = [
        n for n, _ in meta_model.meta_model(a_recipe(name, base), _config(base), "fp32").named_modules()
    ]
    assert any(n.endswith("score") for n in outputs) == (labels is not None)


def _config(base: Path) -> Any:
    return AutoConfig.from_pretrained(base)


@pytest.mark.parametrize("name", [name for name, head in HEADS.items() if not head.needs_base])
def test_a_head_without_a_base_needs_no_plan(name: str) -> None:
    recipe = recipe_from({"backbone": name}, name=name)
    with pytest.raises(RecipeError, match="no plan is needed"):
        planned(recipe)


def test_a_head_unknown_to_the_registry_is_refused(base: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"backbone = 'clasify'.*nearest is 'classify'.*there are: classify, "
    ):
        a_recipe("clasify", base)
    stranger = a_recipe("classify", base).model_copy(update={"backbone": "stranger"})
    with pytest.raises(RecipeError, match="unknown backbone 'stranger'"):
        meta_model.meta_model(stranger, _config(base), "fp32")
    with pytest.raises(RecipeError, match="unknown backbone 'stranger'"):
        planned(stranger)


def test_a_new_head_is_a_module_and_an_entry(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a contributor adds: recipes take it and the planner plans it, with no other file changed."""
    engine = LanguageModel(lambda model, recipe, tokenizer: ClassificationHeadModel(model))
    monkeypatch.setitem(sys.modules, "toy_head", SimpleNamespace(engine=engine))
    monkeypatch.setitem(HEADS, "toy", dataclasses.replace(HEADS["classify"], module="toy_head"))
    toy, known = planned(a_recipe("toy", base)), planned(a_recipe("classify", base))
    assert dataclasses.replace(toy, name="classify") == known
    monkeypatch.setitem(sys.modules, "toy_head", SimpleNamespace())
    with pytest.raises(RecipeError, match="stands on no language model"):
        planned(a_recipe("toy", base))


def test_facts_of_the_head_decide_what_recipes_may_say(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="is for backbone 'generate', 'reward' only"):
        a_recipe("classify", base, train={"epochs": 0})
    monkeypatch.setitem(HEADS, "toy", dataclasses.replace(HEADS["classify"], zero_shot=True))
    assert a_recipe("toy", base, train={"epochs": 0}).train.epochs == 0
    monkeypatch.setitem(HEADS, "toy", dataclasses.replace(HEADS["classify"], causal=True))
    with pytest.raises(RecipeError, match="causal base"):
        recipe_from({"backbone": "toy", "base": "tiny:encoder"})
