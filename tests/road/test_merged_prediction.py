"""``predict.merge``: adapters added to a base of 16 bits, measured first, taken back to the bit."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from architectures import battles, recipe, save_base
from trained_member import Trained
from workspaces import refusal

from arena_ensemble import backbones
from arena_ensemble.artifacts.cards import AVERAGED, EquivalenceCheck
from arena_ensemble.backbones import between_folds
from arena_ensemble.backbones.language import adapters, kept
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.errors import MemberError, RecipeError
from arena_ensemble.pipeline import equivalence
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.pipeline.streaming import predict_shards
from arena_ensemble.predictions import Floats
from arena_ensemble.recipes import Recipe, load_recipe, recipe_from

ROWS = battles(9, seed=5).without_outcomes()
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"{kind}, classify": (kind, "classify", {}) for kind in ("bert", "deberta-v2", "modernbert", "gpt2")},
    **{f"{kind}, generate": (kind, "generate", {}) for kind in ("llama", "gpt2", "phi3", "gemma2")},
    "qwen3, reward": ("qwen3", "reward", {}),
    "rslora": ("llama", "classify", {"rslora": True}),
    "dora": ("llama", "classify", {"dora": True}),
    "dora, transposed": ("gpt2", "classify", {"dora": True}),
    "attention alone": ("qwen2", "classify", {"target": "attention"}),
    "upper layers": ("mistral", "classify", {"first_layer": 1}),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("bases")


def of(bases: Path, case: str, **predict: Any) -> Recipe:
    kind, head, adapter = CASES[case]
    base = bases / kind
    if not base.exists():
        save_base(base, kind)
    return recipe(base, head, train={"precision": "bf16"}, adapter=adapter, predict=predict)


def moved(module: torch.nn.Module) -> None:
    """Give every adapter an update, as training does."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in adapters.trained_parameters(module).items():
            if ".lora_B." in name:
                weight.normal_(std=0.05)


def sum_of(layer: Any, weight: torch.Tensor) -> torch.Tensor:
    """The layer's weight with its update, in float64."""
    [name] = layer.active_adapters
    a, b = (part[name].weight.detach().double() for part in (layer.lora_A, layer.lora_B))
    update = layer.scaling[name] * (b @ a)
    exact = weight.detach().double() + (update.T if layer.fan_in_fan_out else update)
    if name not in layer.lora_variant:
        return exact
    axis = 0 if layer.fan_in_fan_out else 1  # DoRA gives every output its magnitude
    magnitude = layer.lora_magnitude_vector[name].weight.detach().double()
    return exact * (magnitude / exact.norm(dim=axis)).unsqueeze(axis)


@pytest.mark.parametrize("case", CASES)
def test_the_sum_is_rounded_once_and_taken_back_to_the_bit(bases: Path, tmp_path: Path, case: str) -> None:
    chosen = of(bases, case, merge=True)
    with between_folds.kept():
        member = open_model(chosen, cache=tmp_path)
        before = {name: value.clone() for name, value in member.head_model.state_dict().items()}
        moved(member.head_model)
        rows = member.encoder.joined(member.encoder.encode(ROWS))
        apart = member.log_probs(rows)
        layers = adapters.merged_layers(member.head_model)
        assert layers
        assert {weight.dtype for _, weight in layers} == {torch.bfloat16}
        wanted = [sum_of(layer, weight) for layer, weight in layers]
        merged = member.ready(rounded=True)
        assert merged.running["adapters"] == "merged in bfloat16"
        for (layer, _), exact in zip(layers, wanted, strict=True):
            weight = layer.get_base_layer().weight
            assert layer.merged
            assert weight.dtype is torch.bfloat16
            half_a_step = exact.abs() * 2.0**-8 + 1e-6
            assert bool(((weight.detach().double() - exact).abs() <= half_a_step).all())
        together = merged.log_probs(rows)
        assert not np.array_equal(together, apart)
        assert equivalence.differences(apart, together)["mean_kl"] < 0.005
        again = open_model(chosen, cache=tmp_path)
        assert again.head_model is member.head_model
        assert "adapters" not in again.running
        for name, value in again.head_model.state_dict().items():
            assert torch.equal(value, before[name]), name
        moved(again.head_model)
        np.testing.assert_array_equal(again.log_probs(rows), apart)


def test_copies_lie_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    card, main = torch.device("cuda", 0), torch.device("cpu")
    free = {"cuda": 0, "cpu": 0}
    monkeypatch.setattr(kept, "free_bytes", lambda device: free[device.type])
    assert kept.room_for(1, card) is None
    free["cpu"] = 20
    assert kept.room_for(10, card) == main
    assert kept.room_for(11, card) is None
    free["cuda"] = 20
    assert kept.room_for(10, card) == card


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"adapter": {"quantise": "4bit"}}, r"few bits of a quantised base; .* predict.quantise = 'none'"),
        ({"predict": {"quantise": "8bit"}}, "few bits of a quantised base"),
        ({"adapter": {"kind": "full"}}, "is for adapter.kind = 'lora'"),
        ({"loader": "unsloth"}, "loader = 'transformers'"),
        ({"machine": {"processes": 2}}, "machine.processes = 1"),
        ({"backbone": "generate", "train": {"epochs": 0}}, "leave it out"),
    ],
)
def test_where_nothing_can_be_merged_it_is_refused_and_auto_does_not(
    values: dict[str, Any], remedy: str
) -> None:
    plain: dict[str, Any] = {"backbone": "classify", "base": "org/name", **values}
    with pytest.raises(RecipeError, match=remedy):
        recipe_from({**plain, "predict": {**plain.get("predict", {}), "merge": True}})
    auto = recipe_from({**plain, "predict": {**plain.get("predict", {}), "merge": "auto"}})
    assert not auto.merges
    assert auto.prediction_numbers() == recipe_from(plain).prediction_numbers()


def test_a_base_that_is_dequantised_for_prediction_takes_them() -> None:
    values = {"backbone": "classify", "base": "org/name", "adapter": {"quantise": "4bit"}}
    chosen = recipe_from({**values, "predict": {"quantise": "none", "merge": True}})
    assert chosen.merges
    assert chosen.digest() != recipe_from(values).digest()
    assert chosen.fit_digest() == recipe_from(values).fit_digest()


def predict(trained: Trained, more: str = "", **options: Any) -> list[Floats]:
    """Each fold model's log-probabilities."""
    trained.predicted(more, **options)
    return [part.log_probs for part in trained.member.load_test()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.set_num_threads(1)
    return Trained(tmp_path_factory.mktemp("merged"), test_rows=30, train='precision = "bf16"\n')


@pytest.fixture
def trained(made: Trained) -> Iterator[Trained]:
    yield made
    made.recipe.write_text(made.text)


def merging(value: str, more: str = "") -> str:
    return f"[predict]\nmerge = {value}\n{more}"


@pytest.mark.parametrize("value", ["true", '"auto"'])
def test_it_is_measured_in_each_fold_and_noted(trained: Trained, value: str) -> None:
    plain, files = predict(trained), sorted(trained.member.models.rglob("*.safetensors"))
    content = [path.read_bytes() for path in files]
    assert trained.checks() == {}
    merged = predict(trained, merging(value))
    assert all(0 < np.abs(a - b).max() < 0.2 for a, b in zip(merged, plain, strict=True))
    found = trained.checks()
    assert list(found) == ["0", "1", "2"]
    for one in found.values():
        assert 0 < one.mean_kl < 0.005
        assert (one.trained["adapters"], one.running["adapters"]) == ("beside the base", "merged in bfloat16")
    assert [path.read_bytes() for path in files] == content, "the fold keeps its adapters"
    np.testing.assert_array_equal(predict(trained), plain, "predictions of the other kind are not reused")


def test_above_the_tolerance_auto_leaves_them_and_true_is_refused(
    trained: Trained, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plain = predict(trained)
    with caplog.at_level(logging.INFO, logger="arena_ensemble"):
        auto = predict(trained, merging('"auto"', "tolerance = 0.0\n"))
    np.testing.assert_array_equal(auto, plain)
    assert trained.checks() == {}
    left = [line for line in caplog.messages if "adapters stay beside the base" in line]
    assert len(left) == 3
    assert "mine fold-0" in left[0]
    assert "mean KL" in left[0]
    trained.recipe.write_text(trained.text + merging("true", "tolerance = 0.0\n"))
    shutil.rmtree(trained.member.predictions)
    command = ["predict", "--test", str(trained.test), "--workspace", str(trained.workspace), "--strict"]
    line = refusal(command, capsys, codes=(1, 2, 3, 4))
    assert "adapters beside the base → merged in bfloat16 changes its predictions too much" in line
    assert "set merge = false in [predict], or raise predict.tolerance" in line


def test_what_overflows_when_it_is_merged_stays_beside_the_base(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A sum beyond float16 gives NaN and no divergence to compare."""
    plain, merge = predict(trained), adapters.merge_adapters

    def overflow(module: torch.nn.Module) -> None:
        merge(module)
        layer, _ = adapters.merged_layers(module)[0]
        layer.get_base_layer().weight.data.fill_(torch.inf)

    monkeypatch.setattr(adapters, "merge_adapters", overflow)
    with caplog.at_level(logging.INFO, logger="arena_ensemble"):
        auto = predict(trained, merging('"auto"'))
    np.testing.assert_array_equal(auto, plain)
    assert sum("stay beside the base: " in line and "NaN" in line for line in caplog.messages) == 3
    with pytest.raises(MemberError, match=r"merged in bfloat16: .* NaN .*; set merge = false in \[predict\]"):
        predict(trained, merging("true"))


def test_what_cannot_be_measured_is_not_merged(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(trained.member.models / "fold-0", tmp_path / "fold-0"))
    (folder / equivalence.CHECK).unlink()
    card = trained.member.fold_card(0)
    backbone, found = backbones.get("classify"), {}

    def loaded(value: str) -> tuple[Any, EquivalenceCheck | None]:
        trained.recipe.write_text(trained.text + merging(value))
        chosen = load_recipe(trained.recipe)
        return equivalence.load(folder, card, backbone, chosen, cache=tmp_path / "cache")

    for value in ("false", '"auto"'):
        with caplog.at_level(logging.INFO, logger="arena_ensemble"):
            fitted, check = loaded(value)
        assert check is None
        found[value] = backbone.predict(fitted, ROWS)
    np.testing.assert_array_equal(found["false"], found['"auto"'])
    assert "cannot be measured, since the fold keeps no rows for it" in caplog.text
    with pytest.raises(MemberError, match=r"cannot be measured.* set merge = false in \[predict\]"):
        loaded("true")


def test_predict_proba_and_chunks_are_of_merged_adapters_too(trained: Trained, tmp_path: Path) -> None:
    plain = Ensemble.load(trained.workspace).predict_proba(trained.test)
    trained.recipe.write_text(trained.text + merging("true"))
    ensemble = Ensemble.load(trained.workspace)
    merged = ensemble.predict_proba(trained.test)
    done = predict_shards(ensemble, trained.test, tmp_path / "o", workspace=trained.workspace, jobs=1)
    found = pl.read_parquet(done.files).drop("id").to_numpy()
    apart = float(np.abs(merged - plain).max())
    assert 0 < apart < 0.1
    np.testing.assert_allclose(found, merged, atol=apart / 10)


def test_an_average_is_measured_unmerged_and_merged_when_it_predicts(trained: Trained) -> None:
    predict(trained, merging("true"), use_folds="averaged")
    found = trained.checks()
    assert list(found) == ["averaged"]
    assert found["averaged"].running["adapters"] == "merged in bfloat16"
    card = trained.member.fold_card(AVERAGED)
    assert card is not None
    assert "adapters" not in card.facts
    shutil.rmtree(trained.member.models / "averaged")
