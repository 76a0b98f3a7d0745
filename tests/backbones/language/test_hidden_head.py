"""The head with a layer between: its arithmetic, and the laws that every head keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base
from safetensors.torch import load_file, save_file
from scipy.special import erf, log_softmax

from arena_ensemble import backbones
from arena_ensemble.backbones.language import peft_export
from arena_ensemble.backbones.language.adapters import trained_parameters
from arena_ensemble.backbones.registry import engine_of
from arena_ensemble.battles import SWAP
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import ArtifactError, OutOfTime, RecipeError
from arena_ensemble.planning import meta_model
from arena_ensemble.recipes import Recipe, recipe_from

HEAD = {"hidden": 7, "dropout": 0.25}
CASES = [
    ("llama", "classify"),
    ("bert", "classify"),
    ("cohere2", "classify"),  # on a head of our own
    ("llama", "reward"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("hidden")
    for kind in {kind for kind, _ in CASES} | {"roberta"}:
        save_base(made / kind, kind)
    return made


def with_head(root: Path, kind: str, backbone: str, **sections: Any) -> Recipe:
    return recipe(root / kind, backbone, head=HEAD, **sections)


def fit(root: Path, chosen: Recipe, folder: Path, **more: Any) -> Any:
    module: Any = backbones.get(chosen.backbone)
    folder.mkdir(parents=True, exist_ok=True)
    module.prepare(battles(), recipe=chosen, cache=root / "cache")
    return module.fit(battles(), recipe=chosen, folder=folder, cache=root / "cache", **more)


@pytest.mark.parametrize(("kind", "backbone"), CASES)
def test_the_laws_of_a_head(root: Path, kind: str, backbone: str, tmp_path: Path) -> None:
    chosen, module = with_head(root, kind, backbone), backbones.get(backbone)
    fitted = fit(root, chosen, tmp_path / "fold")
    rows = battles().without_outcomes()
    log_probs = module.predict(fitted, rows)
    assert log_probs.std(axis=0).min() > 1e-5
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(module.predict(fitted, rows.take(order)), log_probs[order], atol=1e-5)
    np.testing.assert_allclose(module.predict(fitted, rows.take(order[:1])), log_probs[order[:1]], atol=1e-5)
    again = module.load(tmp_path / "fold", recipe=chosen, cache=root / "cache")
    np.testing.assert_array_equal(module.predict(again, rows), log_probs)
    if backbone == "reward":
        np.testing.assert_allclose(
            module.predict(fitted, rows.swapped())[:, list(SWAP)], log_probs, atol=1e-5
        )
    own = [
        name for name in fitted.facts["head_parameters"] if "tie_bias" not in name and "pooler" not in name
    ]
    name = "classifier" if kind == "bert" else "score"
    assert own == [
        f"model.{name}.{part}" for part in ("dense.bias", "dense.weight", "out.bias", "out.weight")
    ]
    tensors = load_file(tmp_path / "fold" / "weights.safetensors")
    assert {tensors[name].dtype for name in own} == {torch.float32}
    del tensors[own[1]]
    save_file(tensors, tmp_path / "fold" / "weights.safetensors")
    with pytest.raises(ArtifactError, match="freshly initialised"):
        module.load(tmp_path / "fold", recipe=chosen, cache=root / "cache")


def test_its_logits_are_those_of_the_formula(root: Path, tmp_path: Path) -> None:
    """Linear, GELU (Hendrycks and Gimpel 2016: x times the normal distribution), linear; in NumPy."""
    fitted = fit(root, with_head(root, "llama", "classify"), tmp_path / "fold")
    sequences = fitted.encoder.joined(fitted.encoder.encode(battles()))
    vectors = fitted.features(sequences).astype(np.float64)
    weights = load_file(tmp_path / "fold" / "weights.safetensors")
    part = {name: weights[f"model.score.{name}"].double().numpy() for name in ("dense.weight", "dense.bias")}
    part |= {name: weights[f"model.score.{name}"].double().numpy() for name in ("out.weight", "out.bias")}
    assert part["dense.weight"].shape == (7, 32)
    units = vectors @ part["dense.weight"].T + part["dense.bias"]
    units *= (1 + erf(units / np.sqrt(2))) / 2
    wanted = log_softmax(units @ part["out.weight"].T + part["out.bias"], axis=1)
    np.testing.assert_allclose(backbones.get("classify").predict(fitted, battles()), wanted, atol=1e-5)


def test_stopped_inside_a_fold_and_resumed_it_is_the_same_bits(root: Path, tmp_path: Path) -> None:
    """Dropout draws on the random state, which a checkpoint keeps."""
    chosen = with_head(root, "llama", "classify", train={"epochs": 3})
    whole = fit(root, chosen, tmp_path / "whole")
    now = [0.0]

    def ticking() -> float:
        now[0] += 1.0
        return now[0]

    clock: Callable[[], float] = ticking
    with pytest.raises(OutOfTime):
        fit(root, chosen, tmp_path / "cut", deadline=Deadline.after(9 / 3600, clock=clock))
    assert list((tmp_path / "cut").glob("checkpoint-*"))
    resumed = fit(root, chosen, tmp_path / "cut", resume=True)
    assert resumed.facts["optimizer_steps"] == whole.facts["optimizer_steps"]
    files = [tmp_path / name / "weights.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_on_a_frozen_base_the_vectors_are_computed_once(root: Path, tmp_path: Path) -> None:
    frozen = with_head(root, "llama", "classify", adapter={"kind": "frozen"}, train={"learning_rate": 0.1})
    fitted = fit(root, frozen, tmp_path / "fold")
    assert fitted.hidden is not None
    assert list(fitted.hidden.glob("*/vectors.npy"))
    kept = backbones.get("classify").predict(fitted, battles())
    fitted.hidden = None
    np.testing.assert_allclose(backbones.get("classify").predict(fitted, battles()), kept, atol=1e-5)


def test_a_head_that_has_a_layer_between_already_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has a layer between already; leave head\.hidden"):
        fit(root, with_head(root, "roberta", "classify"), tmp_path / "fold")


def test_a_second_stage_may_put_it_on_the_first_ones_adapters(root: Path, tmp_path: Path) -> None:
    fit(root, recipe(root / "llama"), tmp_path / "first")
    chosen = with_head(root, "llama", "classify", train={"start": "./first", "learning_rate": 1e-9})
    fitted = fit(root, chosen, tmp_path / "second", start=tmp_path / "first")
    assert {name.split(".")[2] for name in fitted.facts["start"]["fresh"]} == {"dense", "out"}
    before, after = (load_file(tmp_path / name / "weights.safetensors") for name in ("first", "second"))
    for name in (name for name in after if "lora_" in name):
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)


def test_nothing_else_could_load_it_so_it_is_not_exported(root: Path, tmp_path: Path) -> None:
    chosen = with_head(root, "llama", "classify")
    fit(root, chosen, tmp_path / "fold")
    for export in (peft_export.export_peft, peft_export.export_merged):
        with pytest.raises(RecipeError, match=r"head\.hidden = 7 is a layer .* train without head\.hidden"):
            export(
                engine_of("classify"),
                tmp_path / "fold",
                tmp_path / "out",
                recipe=chosen,
                cache=root / "cache",
            )


@pytest.mark.parametrize(("kind", "backbone"), CASES)
def test_the_planner_trains_the_same_weights(root: Path, kind: str, backbone: str, tmp_path: Path) -> None:
    chosen = with_head(root, kind, backbone)
    fitted = fit(root, chosen, tmp_path / "fold")
    config, _ = meta_model.config_of(chosen)
    planned = trained_parameters(meta_model.meta_model(chosen, config, "fp32"))
    shapes = {name: tuple(p.shape) for name, p in trained_parameters(fitted.head_model).items()}
    missing = {name for name in shapes if "pooler" in name}  # of a checkpoint without a pooler
    assert {name: tuple(p.shape) for name, p in planned.items()} == {
        name: shape for name, shape in shapes.items() if name not in missing
    }


def test_recipes_without_it_keep_their_digests() -> None:
    values = {"backbone": "classify", "base": "tiny:encoder"}
    plain, same = recipe_from(values), recipe_from({**values, "head": {"hidden": 0}})
    assert "head" not in plain._identity()
    assert plain.fit_digest() == same.fit_digest()
    assert recipe_from({**values, "head": HEAD}).fit_digest() != plain.fit_digest()
