"""Model families of today under both heads: the adapters sit in the text decoder, move, and come back."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from architectures import battles, recipe
from bases_of_today import SEEING, TEXT_ONLY, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language import adapters
from arena_ensemble.backbones.language.text_decoder import auto_class, text_decoder
from arena_ensemble.battles import SWAP
from arena_ensemble.errors import RecipeError


@pytest.mark.parametrize("head", ["classify", "generate"])
@pytest.mark.parametrize("kind", [*TEXT_ONLY, *SEEING])
def test_a_family_trains_and_comes_back(tmp_path: Path, kind: str, head: str) -> None:
    base = save_base(tmp_path / kind, kind)
    chosen = recipe(base, head, swap="paired", train={"learning_rate": 1e-3})
    module, rows, folder, cache = backbones.get(head), battles(8), tmp_path / "fold", tmp_path / "cache"
    folder.mkdir()
    module.prepare(rows, recipe=chosen, cache=cache)
    fitted = module.fit(rows, recipe=chosen, folder=folder, cache=cache)
    model = fitted.head_model.model
    decoder = {id(parameter) for parameter in text_decoder(model).parameters()}
    low_rank = [parameter for name, parameter in model.named_parameters() if ".lora_" in name]
    assert low_rank
    assert {id(parameter) for parameter in low_rank} <= decoder, "an adapter outside the text decoder"
    assert not adapters.unmoved(fitted.head_model)
    assert "unmoved_adapters" not in fitted.facts
    told = module.predict(fitted, rows)
    assert told.std(axis=0).min() > 1e-4
    loaded = module.load(folder, recipe=chosen, cache=cache)
    np.testing.assert_array_equal(module.predict(loaded, rows), told)
    swapped = module.predict(fitted, rows.swapped())
    np.testing.assert_allclose(module.predict(fitted, rows.swapped().swapped()), told, atol=1e-6)
    assert np.abs(swapped[:, list(SWAP)] - told).max() > 1e-6, "the order of the answers is read"


def test_experts_without_adapters_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from arena_ensemble.backbones.language.opening import open_model

    caplog.set_level(logging.WARNING, logger="arena_ensemble")
    base = save_base(tmp_path / "qwen3_moe", "qwen3_moe")
    member = open_model(recipe(base), cache=tmp_path)
    assert 0.5 < adapters.share_without_adapter(member.head_model.model) < 1
    assert "get no adapter" in caplog.text
    caplog.clear()
    member = open_model(recipe(save_base(tmp_path / "granite", "granite")), cache=tmp_path)
    assert adapters.share_without_adapter(member.head_model.model) == 0
    assert not caplog.text


def test_packing_is_refused_where_rows_would_meet(tmp_path: Path) -> None:
    from arena_ensemble.backbones.language.opening import open_model

    base = save_base(tmp_path / "qwen3_5_text", "qwen3_5_text")
    with pytest.raises(RecipeError, match="leave packing out"):
        open_model(recipe(base, train={"packing": True}), cache=tmp_path)


def test_a_base_that_reads_no_text_is_refused() -> None:
    from types import SimpleNamespace

    with pytest.raises(RecipeError, match="choose another base"):
        auto_class(SimpleNamespace(model_type="vit"), 3)
