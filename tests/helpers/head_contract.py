"""The laws that every backbone head must keep, checked on a few battles of the sample arena."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble import backbones
from arena_ensemble.battles import SWAP, Battles
from arena_ensemble.recipes import Recipe, recipe_from
from arena_ensemble.sample import make_arena

SMALL: dict[str, Any] = {
    "prompt": {"template": "short-1", "max_tokens": 128},
    "train": {"learning_rate": 5e-3, "batch_rows": 8},
    "tiny": {"hidden": 16, "layers": 1, "vocabulary": 512},
    "lexical": {"max_features": 200, "interactions": 8, "inner_folds": 0},
}


def small_recipe(name: str, **more: Any) -> Recipe:
    """A recipe of the head of that name that is fitted in about a second, on a tiny base if it needs one."""
    head = backbones.head_of(name)
    base = "" if not head.needs_base else "tiny:decoder" if head.causal else "tiny:encoder"
    return recipe_from({"backbone": name, "base": base, **SMALL, **more}, name=name)


def check_head(name: str, folder: Path, battles: Battles | None = None) -> None:
    """Fit, load and predict with the head of that name; assert the laws of `backbones.base.Backbone`.

    Predictions are distributions, differ between battles, depend on no outcome and on no other row, are the
    same bits after loading, and are swap-equivariant where the registry says so.
    """
    rows = make_arena(40, seed=5).battles if battles is None else battles
    recipe, module = small_recipe(name), backbones.get(name)
    fitted_folder = folder / "fold"
    fitted_folder.mkdir()
    module.prepare(rows, recipe=recipe, cache=folder)
    fitted = module.fit(rows, recipe=recipe, folder=fitted_folder, cache=folder)
    new = rows.without_outcomes()
    log_probs = module.predict(fitted, new)
    assert log_probs.shape == (len(rows), 3)
    assert log_probs.dtype == np.float64
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-6)
    assert log_probs[:, 0].std() > 1e-6, "a constant would keep every law below"
    np.testing.assert_array_equal(module.predict(fitted, rows), log_probs, err_msg="an outcome was looked at")
    loaded = module.load(fitted_folder, recipe=recipe, cache=folder)
    np.testing.assert_array_equal(module.predict(loaded, new), log_probs, err_msg="load differs from fit")
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(module.predict(fitted, new.take(order)), log_probs[order], atol=1e-5)
    if backbones.head_of(name).swap_equivariant:
        swapped = module.predict(fitted, new.swapped())
        np.testing.assert_allclose(swapped[:, list(SWAP)], log_probs, atol=1e-5)
