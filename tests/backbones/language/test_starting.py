"""A second stage: what a fold starts from, and what is refused as a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language import adapters
from arena_ensemble.errors import ArtifactError, RecipeError
from arena_ensemble.recipes import Recipe, recipe_from


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and a fold of the classification head trained on it."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("start")
    save_base(root / "base", "llama")
    fit(root, recipe(root / "base"), "first")
    return root


def fit(root: Path, chosen: Recipe, name: str, **more: Any) -> Any:
    module: Any = backbones.get(chosen.backbone)
    (root / name).mkdir()
    module.prepare(battles(), recipe=chosen, cache=root / "c")
    return module.fit(battles(), recipe=chosen, folder=root / name, cache=root / "c", **more)


def weights(root: Path, name: str) -> dict[str, torch.Tensor]:
    return adapters.read_weights(root / name / adapters.WEIGHTS)


def starting(root: Path, head: str = "classify", **sections: Any) -> Recipe:
    train = {"start": "./first", "learning_rate": 1e-9, **sections.pop("train", {})}
    return recipe(root / "base", head, train=train, **sections)


def test_a_second_stage_starts_where_the_first_ended(first: Path) -> None:
    fit(first, starting(first), "second", start=first / "first")
    before, after = weights(first, "first"), weights(first, "second")
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, before[name], atol=1e-6, rtol=0)
    assert any(tensor.abs().max() > 0 for name, tensor in before.items() if "lora_B" in name)


def test_without_epochs_the_start_is_the_member(first: Path) -> None:
    fitted = fit(first, starting(first, train={"epochs": 0}), "same", start=first / "first")
    module: Any = backbones.get("classify")
    own = module.load(first / "first", recipe=recipe(first / "base"), cache=first / "c")
    np.testing.assert_array_equal(module.predict(fitted, battles()), module.predict(own, battles()))


def test_another_head_keeps_the_adapters_and_starts_fresh_itself(first: Path) -> None:
    fitted = fit(first, starting(first, "reward"), "rewarded", start=first / "first")
    assert fitted.facts["start"]["fresh"] == ["model.score.weight", "tie_bias"]
    before, after = weights(first, "first"), weights(first, "rewarded")
    for name in (name for name in after if "lora_" in name):
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    with pytest.raises(ArtifactError, match="'tie_bias' is missing"):
        fit(first, starting(first, "reward", train={"epochs": 0}), "none", start=first / "first")


def test_starts_that_do_not_fit_are_refused(first: Path) -> None:
    with pytest.raises(RecipeError, match=r"under \[adapter\] write r = 4"):
        fit(first, starting(first, adapter={"r": 2}), "smaller", start=first / "first")
    save_base(first / "other", "qwen2")
    other = recipe(first / "other", train={"start": "./first"})
    with pytest.raises(RecipeError, match="trained on another base"):
        fit(first, other, "elsewhere", start=first / "first")
    with pytest.raises(ArtifactError, match="neither a PEFT adapter"):
        fit(first, starting(first), "nowhere", start=first / "base")
    with pytest.raises(RecipeError, match="not 'lexical'"):
        recipe_from({"backbone": "lexical", "train": {"start": "member:x"}})


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own call
def test_a_reward_model_of_one_output_becomes_the_reward_heads_score(first: Path) -> None:
    """delta is the difference of its two scores, calibrated: PEFT's own model is the oracle."""
    torch.manual_seed(4)
    whole = transformers.AutoModelForSequenceClassification.from_pretrained(first / "base", num_labels=1)
    settings = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj"], task_type="SEQ_CLS", init_lora_weights=False
    )
    theirs = peft.get_peft_model(whole, settings).eval()
    theirs.save_pretrained(first / "rm")
    chosen = starting(first, "reward", train={"epochs": 0, "start": "./rm"})
    fitted = fit(first, chosen, "rm-fold", start=first / "rm")
    predicted = backbones.get("reward").predict(fitted, battles())
    again = backbones.get("reward").load(first / "rm-fold", recipe=chosen, cache=first / "c")
    np.testing.assert_array_equal(backbones.get("reward").predict(again, battles()), predicted)
    sides, margin = fitted.encoder.encode(battles()), fitted.facts["margin"]
    np.testing.assert_allclose(predicted[:, 2] - predicted[:, :2].mean(axis=1), margin["g"], atol=1e-5)
    for k in (0, 5):
        scores = []
        for rows in sides:
            ids = torch.from_numpy(rows.tokens[rows.offsets[k] : rows.offsets[k + 1]].astype(np.int64))[None]
            with torch.inference_mode():
                scores.append(theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.item())
        delta = predicted[k, 0] - predicted[k, 1]
        np.testing.assert_allclose(delta, margin["a"] * (scores[0] - scores[1]), atol=1e-5)
