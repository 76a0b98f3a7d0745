"""A published reward model as base: transformers' own scores are the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language import loading
from arena_ensemble.backbones.language.model import MemberModel
from arena_ensemble.backbones.language.notices import quiet
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.calibration import fit_symmetric
from arena_ensemble.errors import RecipeError
from arena_ensemble.losses import log_loss

KINDS = ("llama", "qwen2", "gpt2", "bert", "roberta", "deberta-v2", "modernbert", "cohere2")
REWARD: Any = backbones.get("reward")


def reward_model(folder: Path, kind: str) -> Path:
    """A tiny random sequence classifier of one output; one that transformers has no class for by hand."""
    base = save_base(folder / "base", kind)
    target = folder / "scored"
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(7)
        if kind == "cohere2":
            from safetensors.torch import load_file, save_file

            whole = transformers.AutoModelForCausalLM.from_pretrained(base)
            whole.save_pretrained(target)
            tensors = load_file(target / "model.safetensors")
            tensors["score.weight"] = torch.randn(1, whole.config.hidden_size)
            save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        else:
            model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
            for parameter in model.parameters():  # a score of .02 would be near nothing
                parameter.data *= 1 if parameter.shape[0] > 1 else 30
            model.save_pretrained(target)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(target)
    return target


def scores(base: Path, kind: str, member: MemberModel) -> np.ndarray[Any, Any]:
    """s(A) - s(B) of each battle, by transformers alone, a sequence at a time."""
    with quiet():
        if kind == "cohere2":
            from safetensors.torch import load_file

            body = transformers.AutoModel.from_pretrained(base).eval()
            row = load_file(base / "model.safetensors")["score.weight"]

            def score(ids: torch.Tensor, segments: torch.Tensor) -> float:
                return float((body(input_ids=ids).last_hidden_state[0, -1] @ row.T).item())
        else:
            model = transformers.AutoModelForSequenceClassification.from_pretrained(base).eval()
            # the true last token is pooled, whichever the pad token is
            model.config.pad_token_id = model.config.pad_token_id if member.head_model.segment_ids else -1

            def score(ids: torch.Tensor, segments: torch.Tensor) -> float:
                more = {} if not hasattr(model.config, "type_vocab_size") else {"token_type_ids": segments}
                mask = torch.ones_like(ids)
                return float(model(input_ids=ids, attention_mask=mask, **more).logits.item())

    found = np.empty((len(battles()), 2))
    ids_of = member.head_model.segment_ids or [0, 0, 0]
    for side, table in enumerate(member.encoder.encode(battles())):
        for k in range(len(found)):
            at = slice(table.offsets[k], table.offsets[k + 1])
            ids = torch.from_numpy(table.tokens[at].astype(np.int64))[None]
            segments = torch.tensor(ids_of)[torch.from_numpy(table.segments[at].astype(np.int64))][None]
            with torch.inference_mode():
                found[k, side] = score(ids, segments)
    return found[:, 0] - found[:, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_of_the_base_is_where_the_head_starts(kind: str, tmp_path: Path) -> None:
    base = reward_model(tmp_path, kind)
    chosen = recipe(base, "reward")
    REWARD.prepare(battles(), recipe=chosen, cache=tmp_path / "cache")
    member = open_model(chosen, cache=tmp_path / "cache")
    predicted = REWARD.predict(member, battles())
    oracle = scores(base, kind, member)
    assert np.abs(oracle).max() > 1e-3
    np.testing.assert_allclose(predicted[:, 0] - predicted[:, 1], oracle, atol=2e-5)
    np.testing.assert_allclose(predicted[:, 2], (predicted[:, 0] + predicted[:, 1]) / 2, atol=1e-6)
    assert member.facts["score"] == "the base's own"
    head = {name: p for name, p in member.head_model.named_parameters() if name in member.head_parameters}
    assert all(p.dtype == torch.float32 and p.requires_grad for p in head.values())


@pytest.mark.parametrize("kind", ["llama", "roberta"])
def test_without_training_it_is_the_reward_model_calibrated_on_training_rows(
    kind: str, tmp_path: Path
) -> None:
    base = reward_model(tmp_path, kind)
    train, rows = battles(40, seed=1), battles()
    raw = REWARD.predict(open_model(recipe(base, "reward"), cache=tmp_path / "cache"), train)
    chosen = recipe(base, "reward", train={"epochs": 0})
    (tmp_path / "fold-0").mkdir()
    REWARD.prepare(train, recipe=chosen, cache=tmp_path / "cache")
    fitted = REWARD.fit(train, recipe=chosen, folder=tmp_path / "fold-0", cache=tmp_path / "cache")
    margin = fit_symmetric(raw, train.outcomes())
    np.testing.assert_allclose(
        [fitted.facts["margin"][name] for name in "acg"], [margin.a, margin.c, margin.g], atol=1e-6
    )
    predicted = REWARD.predict(fitted, rows)
    oracle = scores(base, kind, fitted)
    np.testing.assert_allclose(predicted[:, 0] - predicted[:, 1], margin.a * oracle, atol=2e-5)
    y = train.outcomes()
    assert log_loss(REWARD.predict(fitted, train), y) < log_loss(raw, y)
    assert not (tmp_path / "fold-0" / "weights.safetensors").exists()
    again = REWARD.load(tmp_path / "fold-0", recipe=chosen, cache=tmp_path / "cache")
    np.testing.assert_array_equal(REWARD.predict(again, rows), predicted)
    swapped = REWARD.predict(again, rows.swapped())
    np.testing.assert_allclose(swapped[:, [1, 0, 2]], predicted, atol=1e-6)


def test_held_out_votes_do_not_move_the_margin(tmp_path: Path) -> None:
    """The calibration is of the rows that it is given, and of the voted ones among them."""
    base = reward_model(tmp_path, "llama")
    chosen, found = recipe(base, "reward", train={"epochs": 0}), []
    REWARD.prepare(battles(), recipe=chosen, cache=tmp_path / "cache")
    voted = battles(20, seed=2)
    unvoted = battles(6, seed=3).without_outcomes()
    from arena_ensemble.battles import Battles

    rows = [
        *voted.frame.to_dicts(),
        *({**row, "id": f"u{row['id']}", "outcome": None} for row in unvoted.frame.to_dicts()),
    ]
    rows = [{**row, "id": str(row["id"])} for row in rows]
    for name, some in (("one", rows[:20]), ("two", rows)):
        (tmp_path / name).mkdir()
        train = Battles.from_rows(some)
        soft = np.full((len(train), 3), np.log(1 / 3))
        fitted = REWARD.fit(
            train, recipe=chosen, folder=tmp_path / name, cache=tmp_path / "cache", soft_targets=soft
        )
        found.append(fitted.facts["margin"])
    for name in "acg":
        assert found[0][name] == pytest.approx(found[1][name], abs=1e-9)


def test_a_base_without_a_score_cannot_be_used_as_it_is(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    two = tmp_path / "two"
    with torch.random.fork_rng(), quiet():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        model.save_pretrained(two)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(two)
    for folder in (base, two):
        chosen = recipe(folder, "reward", train={"epochs": 0})
        REWARD.prepare(battles(), recipe=chosen, cache=tmp_path / "cache")
        with pytest.raises(RecipeError, match="no head of one output; give a reward model"):
            open_model(chosen, cache=tmp_path / "cache")
        trained = open_model(recipe(folder, "reward"), cache=tmp_path / "cache")
        assert "score" not in trained.facts


def test_training_goes_on_from_the_score_and_is_kept(tmp_path: Path) -> None:
    base = reward_model(tmp_path, "llama")
    chosen = recipe(base, "reward", train={"learning_rate": 1e-9})
    REWARD.prepare(battles(), recipe=chosen, cache=tmp_path / "cache")
    before = REWARD.predict(open_model(chosen, cache=tmp_path / "cache"), battles())
    (tmp_path / "fold-0").mkdir()
    fitted = REWARD.fit(battles(), recipe=chosen, folder=tmp_path / "fold-0", cache=tmp_path / "cache")
    np.testing.assert_allclose(REWARD.predict(fitted, battles()), before, atol=1e-5)
    again = REWARD.load(tmp_path / "fold-0", recipe=chosen, cache=tmp_path / "cache")
    np.testing.assert_array_equal(REWARD.predict(again, battles()), REWARD.predict(fitted, battles()))


def test_in_sixteen_bits_the_score_is_not_rounded(tmp_path: Path) -> None:
    base = reward_model(tmp_path, "llama")
    for epochs in (0, 1):
        chosen = recipe(base, "reward", train={"epochs": epochs, "precision": "bf16"})
        REWARD.prepare(battles(), recipe=chosen, cache=tmp_path / "cache")
        member = open_model(chosen, cache=tmp_path / "cache")
        weight = member.head_model.model.get_submodule("score").weight
        source = loading.Source(str(base))
        exact = recipe(base, "classify")
        policy = loading.choose_policy(exact, loading.load_config(source))
        with quiet():
            model = transformers.AutoModelForSequenceClassification.from_pretrained(base, dtype=policy.dtype)
        torch.testing.assert_close(weight[:1].detach(), model.score.weight.detach(), atol=0, rtol=0)
        assert np.isfinite(REWARD.predict(member, battles())).all()
