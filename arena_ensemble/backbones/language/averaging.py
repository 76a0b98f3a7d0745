"""One model from the folds' models: the mean of their weight updates, exactly.

A LoRA update is ``s B A``. Averaging A and B apart is not averaging the update; stacking them is:
``mean_k s B_k A_k = s [B_1/K … B_K/K] [A_1; …; A_K]``, an adapter of rank ``K r``. All else that is trained
(head, norms, embeddings, or every weight) is averaged as it is (Wortsman et al. 2022, arXiv:2203.05482).
Whether the mean of the weights predicts like the mean of the predictions has to be measured.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ...errors import ArtifactError, RecipeError
from ...recipes import Recipe
from . import adapters, fold_record
from .base_identity import BaseIdentity

_A: Final = re.compile(r"\.lora_A\.")
_B: Final = re.compile(r"\.lora_B\.")
_SAME: Final = ("template", "literals", "tokenizer")
_BASE: Final = "base"


def average_weights(parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The weights of K models as those of one whose low-rank updates have rank ``K r``.

    Parameters
    ----------
    parts
        Of each model the trained weights by name: ``lora_A`` (r, inputs), ``lora_B`` (outputs, r), others.

    Raises
    ------
    ArtifactError
        The models do not have the same weights.
    """
    if any(part.keys() != parts[0].keys() for part in parts):
        raise ArtifactError("the folds' models have different weights; train the member anew with --retrain")
    found = {}
    for name, first in parts[0].items():
        each = [part[name] for part in parts]
        if any(tensor.shape != first.shape for tensor in each):
            raise ArtifactError(
                f"{name} differs in shape between folds; train the member anew with --retrain"
            )
        if _A.search(name):
            found[name] = torch.cat([tensor.float() for tensor in each], dim=0)
        elif _B.search(name):
            found[name] = torch.cat([tensor.float() / len(parts) for tensor in each], dim=1)
        else:
            total = torch.zeros_like(first, dtype=torch.float64)
            for tensor in each:
                total += tensor
            found[name] = (total / len(parts)).to(first.dtype)
    return found


def averaged_recipe(recipe: Recipe, count: int) -> Recipe:
    """The recipe that loads the mean of ``count`` folds: its rank, and alpha for the same scale."""
    adapter = recipe.adapter
    if adapter.kind != "lora" or not recipe.has_weights:
        return recipe
    alpha = adapter.alpha * (math.sqrt(count) if adapter.rslora else count)
    wide = adapter.model_copy(update={"r": adapter.r * count, "alpha": alpha})
    return recipe.model_copy(update={"adapter": wide})


def write_average(folders: Sequence[Path], target: Path, recipe: Recipe) -> dict[str, Any]:
    """Write the mean of fitted folds into ``target``, as a fold of :func:`averaged_recipe`; its settings.

    Raises
    ------
    RecipeError
        The updates are no sums (DoRA).
    ArtifactError
        A fold is broken, or the folds stand on different bases or prompts.
    """
    if recipe.has_weights and recipe.adapter.kind == "lora" and recipe.adapter.dora:
        raise RecipeError(
            f"member {recipe.name!r}: the updates of adapter.dora are no sums, so their mean is no adapter; "
            "predict with all folds, or with some (--use-folds 0,2)"
        )
    kept = [fold_record.read_settings(folder) for folder in folders]
    bases = [BaseIdentity.read(folder / adapters.BASE_RECORD, remedy="train anew") for folder in folders]
    if any(bases[0].difference(one) for one in bases) or any(
        one.get(name) != kept[0].get(name) for one in kept for name in _SAME
    ):
        raise ArtifactError(
            f"member {recipe.name!r}: its folds stand on different bases or prompts; train it anew with "
            f"--retrain {recipe.name}"
        )
    settings = dict(kept[0])
    if recipe.has_weights:
        from safetensors.torch import save_file

        parts = [adapters.read_weights(folder / adapters.WEIGHTS) for folder in folders]
        save_file(average_weights(parts), str(target / adapters.WEIGHTS))
    for name in ("shift", "margin"):  # of a member that is not trained: both are added to what it predicts
        if settings.get(name) is not None:
            settings[name] = _mean([one[name] for one in kept])
    settings["adapter"] = averaged_recipe(recipe, len(folders)).adapter.model_dump(mode="json")
    if (folders[0] / _BASE).is_dir():
        shutil.copytree(folders[0] / _BASE, target / _BASE, dirs_exist_ok=True)
    shutil.copyfile(folders[0] / adapters.BASE_RECORD, target / adapters.BASE_RECORD)
    write_settings(target, settings)
    return settings


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a fitted fold."""
    text = json.dumps(settings, indent=1, ensure_ascii=False)
    (folder / adapters.SETTINGS).write_text(text, encoding="utf-8")


def _mean(values: Sequence[Any]) -> Any:
    """Of lists of numbers, or of dictionaries of them, the mean, place by place."""
    if isinstance(values[0], dict):
        return {name: float(np.mean([one[name] for one in values])) for name in values[0]}
    return np.mean(values, axis=0).tolist()
