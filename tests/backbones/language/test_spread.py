"""One model over two processes (gloo on the CPU): what one process predicts, keeps and resumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import backbones
from arena_ensemble.backbones.language import spread
from arena_ensemble.backbones.language.backbone import LanguageModel
from arena_ensemble.battles import Battles
from arena_ensemble.errors import RecipeError
from arena_ensemble.recipes import Recipe, recipe_from
from arena_ensemble.sample import make_arena

BATTLES = make_arena(50, seed=5).battles
TRAIN, NEW = BATTLES.take(np.arange(40)), BATTLES.take(np.arange(40, 50)).without_outcomes()


def recipe_of(processes: int, **values: Any) -> Recipe:
    settings: dict[str, Any] = {
        "backbone": "classify",
        "base": "tiny:decoder",
        "prompt": {"max_tokens": 96},
        "tiny": {"hidden": 32},
        "train": {"batch_rows": 7, "batch_tokens": 256, "learning_rate": 1e-2, "checkpoint_every": 3},
        "machine": {"processes": processes},
    }
    return recipe_from({**settings, **values}, name="m")


class Interrupted(Exception):
    """Raised by a test's own callback."""


def fitted(place: Path, recipe: Recipe, *, stop_after: int | None = None, resume: bool = False) -> Any:
    """The member trained in ``place``; stopped by its progress callback after so many steps."""
    backbone = backbones.get(recipe.backbone)
    cache, folder = place / "cache", place / "fold-0.partial"
    cache.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    backbone.prepare(TRAIN.without_outcomes(), recipe=recipe, cache=cache)

    def on_progress(done: float, total: float, text: str) -> None:
        if stop_after is not None and text.startswith("loss") and done >= stop_after:
            raise Interrupted

    return backbone.fit(
        TRAIN, recipe=recipe, folder=folder, cache=cache, resume=resume, on_progress=on_progress
    )


def predicted(place: Path, recipe: Recipe, battles: Battles = NEW) -> Any:
    """What the fold in ``place`` predicts, loaded anew."""
    backbone = backbones.get(recipe.backbone)
    return backbone.predict(
        backbone.load(place / "fold-0.partial", recipe=recipe, cache=place / "cache"), battles
    )


def check_same(place: Path, alone: Path, fits: tuple[Any, Any]) -> None:
    """What two processes left in ``place`` is what one left in ``alone``, up to the order of sums."""
    both, one = (fit.facts for fit in fits)
    for name in ("optimizer_steps", "training_tokens", "batch_tokens", "last_layer", "parameters"):
        assert both[name] == one[name], name
    assert fits[0].running == fits[1].running
    np.testing.assert_allclose(both["epoch_losses"], one["epoch_losses"], atol=1e-5)
    assert both["processes"] == 2
    assert both["shard_bytes"] <= 0.55 * 4 * (one["parameters"] - one["trained_parameters"])
    folders = [root / "fold-0.partial" for root in (place, alone)]
    files = [
        sorted(str(p.relative_to(f)) for p in f.rglob("*") if "checkpoint" not in str(p)) for f in folders
    ]
    assert files[0] == files[1]
    weights = [LanguageModel.weights_of(folder) for folder in folders]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[1].items():
        torch.testing.assert_close(weights[0][name], tensor, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_two_processes_learn_resume_and_predict_what_one_does(tmp_path: Path) -> None:
    one, two = recipe_of(1), recipe_of(2)
    alone = fitted(tmp_path / "one", one)
    expected = predicted(tmp_path / "one", one)
    with pytest.raises(Interrupted):
        fitted(tmp_path / "two", two, stop_after=4)
    assert [p.name for p in (tmp_path / "two" / "fold-0.partial").glob("checkpoint-*")] == ["checkpoint-3"]
    shutil.copytree(tmp_path / "two", tmp_path / "then-one")
    both = fitted(tmp_path / "two", two, resume=True)
    check_same(tmp_path / "two", tmp_path / "one", (both, alone))
    np.testing.assert_allclose(both.predict(NEW), expected, atol=1e-5)
    np.testing.assert_allclose(both.predict(NEW.take(np.arange(1))), expected[:1], atol=1e-5)
    np.testing.assert_allclose(predicted(tmp_path / "two", one), expected, atol=1e-5)
    fitted(tmp_path / "then-one", one, resume=True)
    np.testing.assert_allclose(predicted(tmp_path / "then-one", one), expected, atol=1e-5)


@pytest.mark.slow
def test_a_generation_head_is_checked_and_trained_in_shards(tmp_path: Path) -> None:
    one, two = (recipe_of(n, backbone="generate") for n in (1, 2))
    alone, both = fitted(tmp_path / "one", one), fitted(tmp_path / "two", two)
    check_same(tmp_path / "two", tmp_path / "one", (both, alone))
    assert both.facts["mass_outside_verdicts"] == pytest.approx(
        alone.facts["mass_outside_verdicts"], abs=1e-5
    )
    np.testing.assert_allclose(both.predict(NEW), predicted(tmp_path / "one", one), atol=1e-5)


@given(st.integers(1, 9), st.integers(1, 4))
def test_shares_are_all_rows_once_and_outputs_keep_their_order(count: int, processes: int) -> None:
    rows = np.arange(100, 100 + count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "inside", lambda: True)
        patch.setattr(spread, "size", lambda: processes)
        shares = []
        for rank in range(processes):
            patch.setattr(spread, "rank", lambda rank=rank: rank)
            shares.append(spread.share(rows))
        assert all(len(part) for part in shares), "every process runs along"
        real = [spread.real_rows(part) for part in shares]
        counted = np.concatenate([part for part, counts in real if counts])
        assert sorted(counted.tolist()) == rows.tolist()
        assert all(set(part.tolist()) <= set(rows.tolist()) for part, _ in real)

        def gather(parts: list[torch.Tensor], mine: torch.Tensor) -> None:
            for part, (own, _) in zip(parts, real, strict=True):
                part.zero_()
                part[: len(own)] = torch.from_numpy(own)[:, None]

        patch.setattr(spread.dist, "all_gather", gather)
        patch.setattr(spread, "rank", lambda: 0)
        found = spread.whole(torch.from_numpy(real[0][0])[:, None], count)
        assert found[:, 0].tolist() == rows.tolist()


def test_alone_nothing_is_shared_out() -> None:
    rows = np.arange(5)
    assert spread.share(rows) is rows
    assert spread.real_rows(rows) == (rows, True)
    assert (spread.size(), spread.rank(), spread.first(), spread.agreed(True)) == (1, 0, True, True)
    assert spread.gathered("x") == ["x"]


@pytest.mark.parametrize(
    "values", [{"adapter": {"kind": "full"}}, {"adapter": {"quantise": "4bit"}}, {"loader": "unsloth"}]
)
def test_trained_or_quantised_bases_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"machine.processes = 2 spreads frozen weights: set adapter.kind"):
        recipe_of(2, **values)


def test_the_number_of_processes_is_in_no_digest() -> None:
    assert recipe_of(2).digest() == recipe_of(1).digest()
    assert recipe_of(2).fit_digest() == recipe_of(1).fit_digest()
