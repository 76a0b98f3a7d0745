"""Folds' weights as one model: its update is the mean of the updates, and equal folds are their average."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import backbones
from arena_ensemble.backbones.language import averaging
from arena_ensemble.errors import ArtifactError, RecipeError
from arena_ensemble.recipes import Recipe, recipe_from


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 99),
)
def test_the_joined_update_is_the_mean_of_the_updates(
    count: int, rank: int, inputs: int, outputs: int, rslora: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    parts = [
        {
            "model.layers.0.q_proj.lora_A.default.weight": torch.randn(rank, inputs, generator=random),
            "model.layers.0.q_proj.lora_B.default.weight": torch.randn(outputs, rank, generator=random),
            "model.score.weight": torch.randn(3, inputs, generator=random),
            "tie_bias": torch.randn((), generator=random),
        }
        for _ in range(count)
    ]
    values = {
        "backbone": "classify",
        "base": "org/name",
        "adapter": {"r": rank, "alpha": 7.0, "rslora": rslora},
    }
    plain = recipe_from(values)
    wide = averaging.averaged_recipe(plain, count)
    found = averaging.average_weights(parts)

    def scale(one: Recipe) -> float:
        return one.adapter.alpha / (math.sqrt(one.adapter.r) if rslora else one.adapter.r)

    def update(weights: Any, by: float) -> np.ndarray[Any, Any]:
        a, b = (weights[f"model.layers.0.q_proj.lora_{k}.default.weight"].double().numpy() for k in "AB")
        return by * (b @ a)

    assert wide.adapter.r == rank * count
    mean = np.mean([update(part, scale(plain)) for part in parts], axis=0)
    np.testing.assert_allclose(update(found, scale(wide)), mean, atol=1e-6 * max(1.0, np.abs(mean).max()))
    for name in ("model.score.weight", "tie_bias"):
        mean = np.mean([part[name].double().numpy() for part in parts], axis=0)
        np.testing.assert_allclose(found[name].double().numpy(), mean, atol=1e-6)


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lora": ("llama", "classify", {}),
    "rslora": ("llama", "generate", {"adapter": {"rslora": True, "also": ["norms"]}}),
    "reward": ("llama", "reward", {}),
    "encoder": ("bert", "classify", {}),
    "frozen": ("llama", "generate", {"adapter": {"kind": "frozen"}}),
    "full": ("llama", "classify", {"adapter": {"kind": "full"}}),
    "layer between": ("llama", "classify", {"head": {"hidden": 5}}),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("averages")
    for kind in {kind for kind, _, _ in CASES.values()}:
        save_base(made / kind, kind)
    return made


def fit(root: Path, chosen: Recipe, folder: Path, seed: int = 0) -> Any:
    module: Any = backbones.get(chosen.backbone)
    folder.mkdir(parents=True)
    module.prepare(battles(), recipe=chosen, cache=root / "cache")
    return module.fit(battles(seed=seed), recipe=chosen, folder=folder, cache=root / "cache")


def averaged(root: Path, chosen: Recipe, folders: list[Path], target: Path) -> Any:
    target.mkdir()
    averaging.write_average(folders, target, chosen)
    wide = averaging.averaged_recipe(chosen, len(folders))
    return backbones.get(chosen.backbone).load(target, recipe=wide, cache=root / "cache")


@pytest.mark.parametrize("case", CASES)
def test_the_average_of_equal_folds_is_the_fold(root: Path, case: str, tmp_path: Path) -> None:
    kind, head, sections = CASES[case]
    chosen, module = recipe(root / kind, head, **sections), backbones.get(head)
    fitted = fit(root, chosen, tmp_path / "fold-0")
    folders = [tmp_path / "fold-0"]
    folders += [Path(shutil.copytree(folders[0], tmp_path / f"fold-{k}")) for k in (1, 2)]
    one = averaged(root, chosen, folders, tmp_path / "averaged")
    wanted = module.predict(fitted, battles())
    assert wanted.std(axis=0).min() > 1e-5
    np.testing.assert_allclose(module.predict(one, battles()), wanted, atol=1e-5)


def test_a_linear_model_averages_its_logits_exactly(root: Path, tmp_path: Path) -> None:
    """On a frozen base logits are linear in what is trained: the mean of the folds' logits is the oracle."""
    chosen = recipe(root / "llama", adapter={"kind": "frozen"}, train={"learning_rate": 0.05, "epochs": 3})
    module: Any = backbones.get("classify")
    folders = [tmp_path / f"fold-{k}" for k in range(3)]
    fits = [fit(root, chosen, folder, seed=k) for k, folder in enumerate(folders)]
    parts = [module.predict(one, battles()) for one in fits]
    assert np.abs(parts[0] - parts[1]).max() > 1e-3, "equal folds would show nothing"
    mean = np.mean(parts, axis=0)
    mean -= np.log(np.exp(mean).sum(axis=1, keepdims=True))
    one = averaged(root, chosen, folders, tmp_path / "averaged")
    np.testing.assert_allclose(module.predict(one, battles()), mean, atol=1e-5)


def test_the_mean_of_adapters_lies_nearer_the_mean_than_a_fold_does(root: Path, tmp_path: Path) -> None:
    chosen = recipe(root / "llama", train={"learning_rate": 3e-3, "epochs": 3})
    module: Any = backbones.get("classify")
    folders = [tmp_path / f"fold-{k}" for k in range(3)]
    parts = [module.predict(fit(root, chosen, f, seed=k), battles()) for k, f in enumerate(folders)]
    mean = np.mean(parts, axis=0)
    mean -= np.log(np.exp(mean).sum(axis=1, keepdims=True))
    one = module.predict(averaged(root, chosen, folders, tmp_path / "averaged"), battles())
    spread = max(np.abs(part - mean).max() for part in parts)
    assert np.abs(one - mean).max() < 0.5 * spread


def test_a_member_that_is_not_trained_averages_what_was_fitted_for_it(root: Path, tmp_path: Path) -> None:
    train = {"epochs": 0}
    chosen = recipe(root / "llama", "generate", train=train, generate={"calibration": "batch"})
    module: Any = backbones.get("generate")
    folders = [tmp_path / f"fold-{k}" for k in range(2)]
    fits = [fit(root, chosen, folder, seed=k) for k, folder in enumerate(folders)]
    shifts = [one.shift for one in fits]
    assert np.abs(shifts[0] - shifts[1]).max() > 1e-4
    one = averaged(root, chosen, folders, tmp_path / "averaged")
    np.testing.assert_allclose(one.shift, np.mean(shifts, axis=0))
    mean = np.mean([module.predict(part, battles()) for part in fits], axis=0)
    mean -= np.log(np.exp(mean).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(module.predict(one, battles()), mean, atol=1e-6)


def test_what_has_no_average_is_refused(root: Path, tmp_path: Path) -> None:
    dora = recipe(root / "llama", adapter={"dora": True})
    with pytest.raises(RecipeError, match=r"dora are no sums.*--use-folds 0,2"):
        averaging.write_average([tmp_path], tmp_path, dora)
    one = {"model.score.weight": torch.ones(3, 4)}
    with pytest.raises(ArtifactError, match="different weights"):
        averaging.average_weights([one, {}])
    with pytest.raises(ArtifactError, match="differs in shape"):
        averaging.average_weights([one, {"model.score.weight": torch.ones(3, 5)}])
    plain = recipe(root / "llama")
    fit(root, plain, tmp_path / "fold-0")
    other = Path(shutil.copytree(tmp_path / "fold-0", tmp_path / "fold-1"))
    record = json.loads((other / "base.json").read_text())
    more = {**record, "explicit": [*record["explicit"], "of_another_version"]}
    (other / "base.json").write_text(json.dumps(more))  # the same base, read by another version
    (tmp_path / "mean").mkdir()
    averaging.write_average([tmp_path / "fold-0", other], tmp_path / "mean", plain)
    record["tensors"].popitem()
    (other / "base.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="different bases or prompts"):
        averaging.write_average([tmp_path / "fold-0", other], tmp_path, plain)
