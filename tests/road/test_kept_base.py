"""One base for all folds of a member: fewer loads, fewer tokens made, every number the same to the bit."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble.artifacts.cards import REFIT
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones import between_folds
from arena_ensemble.backbones.language import adapters, kept, loading, opening, token_cache
from arena_ensemble.backbones.language.encoder import PromptEncoder
from arena_ensemble.folds import make_folds
from arena_ensemble.pipeline.cross_fit import cross_fit, run_job
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.predictions import Predictions
from arena_ensemble.recipes import Recipe

FOLDS = 3
TRAIN, TEST = battles(18), battles(9, seed=5).without_outcomes()
CASES: dict[str, dict[str, Any]] = {
    "lora": {"swap": "paired", "read_orders": 2, "adapter": {"dropout": 0.2}},
    "dora": {"adapter": {"dora": True}},
    "generate": {"backbone": "generate", "read_orders": 2, "second_order_share": 0.5},
    "reward": {"backbone": "reward"},
    "frozen": {"adapter": {"kind": "frozen"}},
    "frozen-generate": {"backbone": "generate", "adapter": {"kind": "frozen"}},
    "zero-shot": {
        "backbone": "generate",
        "train": {"epochs": 0},
        "generate": {"calibration": "contextual"},
    },
    "bf16": {"train": {"precision": "bf16"}},
    "full": {"adapter": {"kind": "full"}, "train": {"learning_rate": 1e-3}},
    "early-stopping": {"train": {"early_stopping": 1, "epochs": 2, "ema": 0.9}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a base and a tokenizer are loaded, and each text is tokenised."""
    counts: Counter[str] = Counter()
    load_model, load_tokenizer = loading.load_model, loading.load_tokenizer
    plain = token_cache.plain_encoder

    def model(*given: Any, **named: Any) -> Any:
        counts["model"] += 1
        return load_model(*given, **named)

    def tokenizer(*given: Any) -> Any:
        counts["tokenizer"] += 1
        return load_tokenizer(*given)

    def encoder(words: Any) -> Any:
        encode = plain(words)

        def counting(texts: Any) -> Any:
            counts.update(f"text: {text}" for text in texts)
            return encode(texts)

        return counting

    monkeypatch.setattr(loading, "load_model", model)
    monkeypatch.setattr(loading, "load_tokenizer", tokenizer)
    monkeypatch.setattr(token_cache, "plain_encoder", encoder)
    return counts


@contextlib.contextmanager
def _not_kept() -> Iterator[None]:
    yield


def trained(chosen: Recipe, root: Path, *, refit: bool = False) -> None:
    folds = make_folds(TRAIN, n_folds=FOLDS, seed=0)
    result = cross_fit(chosen, TRAIN, folds, workspace=root, test=TEST, jobs=1)
    assert not result.failed
    if refit:
        job = Job(root, TRAIN, folds, TEST, one_model=REFIT)
        assert not run_job(job, {chosen.name: chosen}, jobs=1).failed


def same(a: Predictions, b: Predictions) -> bool:
    swaps = (a.swap_log_probs, b.swap_log_probs)
    equal = swaps[0] is swaps[1] is None or np.array_equal(*swaps)  # type: ignore[arg-type]
    return np.array_equal(a.log_probs, b.log_probs) and equal


def everything(root: Path) -> tuple[list[Predictions], list[dict[str, torch.Tensor]]]:
    """All predictions and all trained weights of the member."""
    member = MemberArtifacts(Workspace(root), "test")
    folders = sorted((root / "models" / "test").glob("fold-*"))
    kept_weights = [f for f in folders if (f / adapters.WEIGHTS).is_file()]
    weights = [adapters.read_weights(folder / adapters.WEIGHTS) for folder in kept_weights]
    return [member.load()[0], *member.load_test()], weights


@pytest.mark.parametrize("case", CASES)
def test_training_and_prediction_of_folds_are_the_same_to_the_bit(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Counter[str], case: str
) -> None:
    chosen = recipe(base, **{key: dict(v) if isinstance(v, dict) else v for key, v in CASES[case].items()})
    trained(chosen, tmp_path / "kept")
    loads, full = dict(counted), case == "full"
    counted.clear()
    with monkeypatch.context() as patch:
        patch.setattr(between_folds, "kept", _not_kept)
        trained(chosen, tmp_path / "plain")
    (predictions, weights), (others, other_weights) = map(everything, (tmp_path / "kept", tmp_path / "plain"))
    assert len(predictions) == 1 + FOLDS
    assert all(same(a, b) for a, b in zip(predictions, others, strict=True))
    assert len(weights) == len(other_weights) == (0 if case == "zero-shot" else FOLDS)
    for mine, plain in zip(weights, other_weights, strict=True):
        assert mine.keys() == plain.keys()
        assert all(torch.equal(value, plain[name]) for name, value in mine.items())
    assert counted["model"] == 2 * FOLDS
    assert loads["model"] == (2 * FOLDS if full else 1)
    assert loads["tokenizer"] < counted["tokenizer"]
    texts = {name: count for name, count in loads.items() if name.startswith("text: ")}
    own = {text for battle in TEST.frame.iter_rows(named=True) for text in battle["response_a"] if text}
    assert all(texts[f"text: {text}"] == 1 for text in own)
    assert max(counted[f"text: {text}"] for text in own) >= FOLDS


def test_test_rows_are_tokenised_once_by_one_base(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Counter[str]
) -> None:
    """Fitted folds predict new rows: one load, one tokenizer, each text once, though both orders are read."""
    chosen = recipe(base, read_orders=2)
    trained(chosen, tmp_path / "w")
    wanted = MemberArtifacts(Workspace(tmp_path / "w"), "test").load_test()
    found = []
    for keeps in (True, False):
        shutil.rmtree(tmp_path / "w" / "oof")
        shutil.rmtree(tmp_path / "w" / "cache", ignore_errors=True)
        counted.clear()
        with monkeypatch.context() as patch:
            if not keeps:
                patch.setattr(between_folds, "kept", _not_kept)
            result = run_job(Job(tmp_path / "w", None, None, TEST), {"test": chosen}, jobs=1)
        assert not result.failed
        assert all(same(*pair) for pair in zip(result.test("test"), wanted, strict=True))
        texts = [count for name, count in counted.items() if name.startswith("text: ")]
        found.append((counted["model"], counted["tokenizer"], max(texts)))
    assert found[0] == (1, 1, 1)
    assert found[1][0] == FOLDS
    assert min(found[1]) >= FOLDS


def test_where_memory_holds_no_copies_the_base_is_loaded_again(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Counter[str]
) -> None:
    chosen = recipe(base)
    trained(chosen, tmp_path / "kept")
    loads = counted["model"]
    monkeypatch.setattr(kept, "free_bytes", lambda device: 0)
    counted.clear()
    trained(chosen, tmp_path / "short")
    assert counted["model"] > loads == 1
    first, second = (everything(tmp_path / name) for name in ("kept", "short"))
    assert all(same(*pair) for pair in zip(first[0], second[0], strict=True))


def test_another_recipe_or_member_gets_a_base_of_its_own(
    base: Path, tmp_path: Path, counted: Counter[str]
) -> None:
    def opened(cache: Path = tmp_path, **settings: Any) -> Any:
        return opening.open_model(recipe(base, **settings), cache=cache)

    with between_folds.kept():
        first = opened()
        again = opened(predict={"tokens": 77}, read_orders=2)
        assert again.head_model is first.head_model
        assert counted["model"] == 1
        for settings in ({"seed": 1}, {"adapter": {"r": 2}}, {"prompt": {"max_tokens": 120}}):
            assert opened(**settings).head_model is not first.head_model
        other = opened()
        for name, value in adapters.trained_parameters(first.head_model).items():
            assert torch.equal(value, adapters.trained_parameters(other.head_model)[name])
    outside, alone = opened(), opened()
    assert outside.head_model is not alone.head_model, "only the pipeline shares a model"
    assert between_folds.shelf() is None


def test_a_run_that_failed_leaves_no_trace(base: Path, tmp_path: Path) -> None:
    """Weights, gradients, merged adapters, mode and random state are those of a model built anew."""
    chosen = recipe(base, swap="paired", adapter={"dropout": 0.3})

    def built(encoder: PromptEncoder) -> tuple[Any, torch.Tensor]:
        torch.manual_seed(chosen.seed)
        member = opening.build_model(encoder, opening.engine_of("classify").build)
        return member, torch.rand(5)

    with torch.random.fork_rng():
        plain, drawn = built(opening.open_encoder(chosen, tmp_path))
        with between_folds.kept():
            encoder = opening.open_encoder(chosen, tmp_path)
            spoiled, _ = built(encoder)
            spoiled.ready()
            spoiled.head_model.train()
            for parameter in spoiled.head_model.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.ones_like(parameter)
                    parameter.data.add_(1.0)
            again, drawn_again = built(encoder)
    assert again.head_model is spoiled.head_model
    assert torch.equal(drawn, drawn_again)
    state = plain.head_model.state_dict()
    for name, value in again.head_model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert not again.head_model.training
    assert all(parameter.grad is None for parameter in again.head_model.parameters())
    assert not any(layer.merged for layer, _ in adapters.merged_layers(again.head_model))
