"""Model families of today under both heads: the adapters sit in the text decoder, move, and come back."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import architectures
import numpy as np
import pytest
import torch
import transformers
from architectures import battles, recipe
from bases_of_today import SEEING, TEXT_ONLY, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language import adapters
from arena_ensemble.backbones.language.inference import predict_logits
from arena_ensemble.backbones.language.model import MemberModel
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.sequences import TokenSequences
from arena_ensemble.backbones.language.text_decoder import auto_class, reads_both_ways, text_decoder
from arena_ensemble.battles import SWAP
from arena_ensemble.errors import RecipeError

BOTH = [(kind, head) for kind in (*TEXT_ONLY, *SEEING) for head in ("classify", "generate")]
BOTH.remove(("modernbert-decoder", "generate"))


@pytest.mark.parametrize(("kind", "head"), BOTH, ids=["-".join(both) for both in BOTH])
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


@pytest.mark.parametrize("kind", [*TEXT_ONLY, *SEEING])
def test_logits_are_those_of_plain_transformers_row_by_row(tmp_path: Path, kind: str) -> None:
    """Padded rows without a mask, the last layer where it is read: against one whole row at a time, eager."""
    base = save_base(tmp_path / kind, kind)
    loader = auto_class(transformers.AutoConfig.from_pretrained(base), None)[0]
    plain = loader.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    vectors: list[torch.Tensor] = []
    plain.get_output_embeddings().register_forward_pre_hook(lambda _, given: vectors.append(given[0][0, -1]))
    for head in ("classify", "generate"):
        if (kind, head) not in BOTH:
            continue
        member = open_model(recipe(base, head), cache=tmp_path / "cache")
        sequences = member.encoder.joined(member.encoder.encode(battles(6)))
        found = torch.from_numpy(
            predict_logits(
                member.head_model,
                sequences,
                policy=member.policy,
                pad_id=member.encoder.pad_id,
                batch_tokens=9999,
            )
        )
        vectors.clear()
        rows = [
            sequences.tokens[a:b] for a, b in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
        ]
        with torch.no_grad():
            logits = [plain(input_ids=torch.tensor(row[None]).long()).logits[0, -1] for row in rows]
        if head == "generate":
            expected = torch.stack(logits)[:, member.head_model.verdicts]
        elif kind == "modernbert-decoder":  # its output layer stands on another layer
            expected = torch.cat([_alone(member, sequences, k) for k in range(len(rows))])
        else:
            expected = torch.stack(vectors) @ member.head_model.model.score.weight.T
        assert expected.std() > 1e-3, "constant answers would pass"
        torch.testing.assert_close(found.float(), expected.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head", ["classify", "reward"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "modernbert", "eurobert"])
def test_encoders_have_the_logits_of_their_own_class_row_by_row(tmp_path: Path, kind: str, head: str) -> None:
    base = architectures.save_base(tmp_path / kind, kind)
    member = open_model(recipe(base, head), cache=tmp_path / "cache")
    model: Any = member.head_model.model
    outputs = 3 if head == "classify" else 2
    plain: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=outputs, attn_implementation="eager"
    )
    own, theirs = dict(model.named_parameters()), dict(plain.eval().named_parameters())
    for name in {name.removeprefix("model.") for name in member.head_parameters} & own.keys():
        own[name].data.mul_(10)  # as it is drawn it hardly says anything
        theirs[name].data.copy_(own[name])
    sequences = member.encoder.joined(member.encoder.encode(battles(6)))
    found = predict_logits(
        member.head_model, sequences, policy=member.policy, pad_id=member.encoder.pad_id, batch_tokens=9999
    )
    bounds = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    rows = [torch.tensor(sequences.tokens[a:b][None]).long() for a, b in bounds]
    with torch.no_grad():
        each = torch.cat([plain(input_ids=row).logits for row in rows])
    if head == "reward":
        first, second = each.chunk(2)
        half, tau = (first[:, 0] - second[:, 0]) / 2, first[:, 1] + second[:, 1]
        each = torch.stack([half, -half, tau], dim=1)
    assert each.std(dim=0).max() > 1e-3, "constant answers would pass"
    np.testing.assert_allclose(found, each.double(), atol=1e-5)


def test_an_encoder_of_tokens_mean_logits_learns(tmp_path: Path) -> None:
    chosen, module = recipe(architectures.save_base(tmp_path / "base", "eurobert")), backbones.get("classify")
    (tmp_path / "fold").mkdir()
    module.prepare(battles(8), recipe=chosen, cache=tmp_path)
    fitted = module.fit(battles(8), recipe=chosen, folder=tmp_path / "fold", cache=tmp_path)
    assert not adapters.unmoved(fitted.head_model)
    again = module.load(tmp_path / "fold", recipe=chosen, cache=tmp_path)
    np.testing.assert_array_equal(module.predict(again, battles(8)), module.predict(fitted, battles(8)))


def _alone(member: MemberModel, sequences: TokenSequences, row: int) -> torch.Tensor:
    ids = torch.tensor(sequences.tokens[sequences.offsets[row] : sequences.offsets[row + 1]][None]).long()
    model: Any = member.head_model.model
    return model(input_ids=ids)[:, -1]


def test_modernberts_decoder_is_refused_under_the_generation_head(tmp_path: Path) -> None:
    chosen = recipe(save_base(tmp_path / "base", "modernbert-decoder"), "generate")
    backbones.get("generate").prepare(battles(4), recipe=chosen, cache=tmp_path)
    with pytest.raises(RecipeError, match="use backbone = 'classify'"):
        backbones.get("generate").fit(battles(4), recipe=chosen, folder=tmp_path, cache=tmp_path)


@pytest.mark.parametrize(
    ("kind", "without", "adapted"),
    [
        ("nemotron_h", "mixer.out_proj", "mixer.in_proj"),
        ("glm4_moe", "experts", "shared_experts.down_proj"),
        ("glm4_moe", "experts", "layers.0.mlp.down_proj"),
    ],
)
def test_adapters_sit_where_they_are_run_and_nowhere_else(
    tmp_path: Path, kind: str, without: str, adapted: str
) -> None:
    """A Mamba mixer hands its output layer's weight to a kernel; PEFT exchanged dense layers for experts."""
    model = open_model(recipe(save_base(tmp_path / kind, kind)), cache=tmp_path).head_model.model
    names = {name.partition(".lora_A.")[0] for name, _ in model.named_parameters() if ".lora_A." in name}
    assert any(name.endswith(adapted) for name in names)
    assert not any(name.endswith(without) for name in names)


def test_experts_without_adapters_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    base = save_base(tmp_path / "qwen3_5_text", "qwen3_5_text")
    with pytest.raises(RecipeError, match="leave packing out"):
        open_model(recipe(base, train={"packing": True}), cache=tmp_path)


def test_gemma_whose_image_tokens_alone_look_ahead_is_causal() -> None:
    def asked(kind: str, both: object) -> bool:
        return reads_both_ways(SimpleNamespace(model_type=kind, use_bidirectional_attention=both))

    assert not asked("gemma4_text", "vision")
    assert not asked("gemma3_text", False)
    assert not reads_both_ways(SimpleNamespace(model_type="llama"))
    assert asked("gemma4_text", "all")
    assert asked("gemma3_text", True)
    with pytest.raises(RecipeError, match=r"PaliGemma.*choose a base that reads text"):
        asked("gemma", True)


def test_a_base_that_reads_no_text_is_refused() -> None:
    with pytest.raises(RecipeError, match="choose another base"):
        auto_class(SimpleNamespace(model_type="vit"), 3)
