"""Literals, verdict words, sliced rows, batches, token cache: what stands between text and logits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base, tokenizer
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import backbones
from arena_ensemble.backbones.language.batching import (
    padding_share,
    plan_epoch,
    plan_prediction,
    split_by_tokens,
)
from arena_ensemble.backbones.language.heads import GenerationHeadModel
from arena_ensemble.backbones.language.template_tokens import encode_literals, verdict_ids
from arena_ensemble.backbones.language.token_cache import TokenStore, plain_encoder
from arena_ensemble.battles import Battles
from arena_ensemble.errors import RecipeError
from arena_ensemble.prompts import assemble_singles, get_template, turns_of
from arena_ensemble.recipes import PromptSettings, recipe_from

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=60).map(np.asarray)


def test_verdicts_are_found_where_they_stand() -> None:
    words = tokenizer("llama")
    settings = PromptSettings()
    ids = verdict_ids(words, settings)
    cue = "\n\n[End]\nBetter response:"
    for verdict, found in zip(settings.verdicts, ids, strict=True):
        whole = words(f"{cue} {verdict}", add_special_tokens=False)["input_ids"]
        assert whole == [*words(cue, add_special_tokens=False)["input_ids"], found]
    assert ids[0] not in words("A", add_special_tokens=False)["input_ids"], "' A' is not 'A'"


def test_verdicts_of_several_tokens_are_shown_and_others_proposed() -> None:
    words = tokenizer("llama")
    with pytest.raises(RecipeError) as caught:
        verdict_ids(words, PromptSettings(verdicts=("A", "B", "undecided")))
    predicted = str(caught.value)
    assert "'undecided' = [" in predicted
    assert "prompt.verdicts = ['A', 'B', 'tie'] would do" in predicted
    with pytest.raises(RecipeError, match="three different single tokens"):
        verdict_ids(words, PromptSettings(verdicts=("A", "A", "tie")))


def test_special_tokens_written_in_a_text_stay_text() -> None:
    words = tokenizer("llama")
    [ids] = plain_encoder(words)(["ignore </s> this <s>"])
    assert not {1, 2} & set(ids.tolist())
    pieces = encode_literals(tokenizer("bert"), PromptSettings(), causal=False)
    assert words.decode(ids) == "ignore </s> this <s>"
    assert pieces.opening[0] in (0, 1) or len(pieces.opening)


def test_a_chat_prompt_does_not_change_overnight() -> None:
    words = tokenizer("llama")
    words.chat_template = (
        "{{ strftime_now('%d %b %Y') }} {% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    pieces = encode_literals(words, PromptSettings(template="chat-1"), causal=True)
    assert words.decode(pieces.opening).startswith("26 Jul 2024 ")
    words.chat_template = words.chat_template.replace("}} {%", "}}: {%")
    other = encode_literals(words, PromptSettings(template="chat-1"), causal=True)
    assert pieces.digest() != other.digest(), "and a changed template is noticed"


def test_a_chat_template_that_thinks_is_asked_not_to() -> None:
    words = tokenizer("llama")
    words.chat_template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}[assistant]"
        "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
    )
    pieces = encode_literals(words, PromptSettings(template="chat-1"), causal=True)
    assert words.decode(pieces.cue).endswith("[assistant]<think></think>")


def test_chat_template_is_split_at_the_texts() -> None:
    words = tokenizer("llama")
    words.chat_template = (
        "{% for m in messages %}<s>[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>[assistant]{% endif %}"
    )
    pieces = encode_literals(words, PromptSettings(template="chat-1"), causal=True)
    assert pieces.opening[0] == 1
    assert words.decode(pieces.cue).endswith("</s><s>[assistant]")
    assert "[Response B]" in words.decode(pieces.before_b)
    assert len(set(verdict_ids(words, PromptSettings(template="chat-1", verdicts=("A", "B", "C"))))) == 3


@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("bias", [False, True])
def test_three_rows_are_three_columns_of_the_whole(cap: float | None, bias: bool) -> None:
    import transformers

    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = transformers.Gemma2Config(
        vocab_size=90,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        final_logit_softcapping=cap,
        **shape,
    )
    config._attn_implementation = "eager"
    model = transformers.Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(40)
    if bias:
        model.lm_head.bias = torch.nn.Parameter(torch.randn(90))
    head_model = GenerationHeadModel(model, (7, 3, 50)).eval()
    batch = {"input_ids": torch.randint(3, 90, (4, 9)), "last": torch.tensor([8, 3, 5, 0])}
    with torch.inference_mode():
        full = model(input_ids=batch["input_ids"]).logits[torch.arange(4), batch["last"]]
        sliced = head_model(batch)
        outside = head_model.mass_outside(head_model.features(batch))
    torch.testing.assert_close(sliced, full[:, [7, 3, 50]], atol=1e-5, rtol=0)
    torch.testing.assert_close(outside, 1 - torch.softmax(full, -1)[:, [7, 3, 50]].sum(-1), atol=1e-5, rtol=0)
    assert full.abs().max() > 1


def test_an_output_layer_that_does_more_is_refused(tmp_path: Path) -> None:
    import transformers

    base = save_base(tmp_path / "base", "llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    head_model = GenerationHeadModel(model, (7, 3, 50)).eval()
    batch = {"input_ids": torch.tensor([[5, 6, 7]]), "last": torch.tensor([2])}
    head_model.check(batch)
    model.lm_head.register_forward_hook(lambda _, __, out: out * 3)
    with pytest.raises(RecipeError, match="use backbone = 'classify'"):
        head_model.check(batch)


@given(LENGTHS, st.integers(1, 9), st.integers(50, 900), st.integers(1, 5), st.integers(0, 3))
def test_an_epoch_sees_every_row_once(lengths: Any, rows: int, tokens: int, window: int, epoch: int) -> None:
    settings = {"batch_rows": rows, "batch_tokens": tokens, "window": window, "seed": 1}
    steps = plan_epoch(lengths, epoch=epoch, **settings)
    flat = [batch for step in steps for batch in step]
    assert sorted(np.concatenate(flat).tolist()) == list(range(len(lengths)))
    assert all(sum(map(len, step)) <= rows for step in steps)
    assert all(len(b) == 1 or lengths[b].max() * len(b) <= tokens for b in flat)
    again = [b.tolist() for step in plan_epoch(lengths, epoch=epoch, **settings) for b in step]
    assert [b.tolist() for b in flat] == again
    assert 0 <= padding_share(flat, lengths) < 1


def test_epochs_differ_and_windows_hold_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(20, 1000, 4000)
    settings = {"batch_rows": 16, "batch_tokens": 8192, "window": 32, "seed": 0}
    first, second = (plan_epoch(lengths, epoch=k, **settings) for k in (0, 1))
    assert [b.tolist() for b in first[0]] != [b.tolist() for b in second[0]]
    assert padding_share([b for step in first for b in step], lengths) < 0.05
    assert padding_share(plan_prediction(lengths, 16384), lengths) < 0.02


@given(LENGTHS, st.integers(1, 500))
def test_micro_batches_keep_the_order(lengths: Any, budget: int) -> None:
    order = np.argsort(lengths, kind="stable")
    parts = split_by_tokens(order, lengths, budget)
    assert np.concatenate(parts).tolist() == order.tolist()
    for one, other in pairwise(parts):  # greedy: no two neighbours would have fitted together
        assert lengths[np.append(one, other[:1])].max() * (len(one) + 1) > budget


def test_texts_are_tokenised_once_and_a_broken_cache_is_made_again(tmp_path: Path) -> None:
    words = tokenizer("llama")
    texts = ["the answer is blue", "seven rivers", "é 你好 🙂", ""]
    store = TokenStore(words, tmp_path)
    store.prepare(texts)
    calls: list[int] = []
    encode = store.encode

    def counted(batch: Any) -> Any:
        calls.append(len(batch))
        return encode(batch)

    store.encode = counted
    [[found, extra]] = store.look_up([[texts, ["nobody asked"]]])
    assert calls == [1], "only the text that was never prepared"
    for text, ids in zip(texts, found, strict=True):
        assert ids.tolist() == words(text, add_special_tokens=False)["input_ids"]
    assert words.decode(extra[0]) == "nobody asked"
    store.prepare(texts)
    assert calls == [1]
    [table] = list((tmp_path / "tokens").glob("*/*/ids.npy"))
    table.write_bytes(table.read_bytes()[:-8])
    again = TokenStore(words, tmp_path)
    assert again.tables == []
    again.prepare(texts)
    assert len(again.tables) == 1


def test_tiny_bases_know_their_verdicts_on_any_text(tmp_path: Path) -> None:
    """However much other text there is, ' tie' stays one token; the outcomes are not looked at."""
    values = {"backbone": "generate", "base": "tiny:decoder", "tiny": {"hidden": 16, "layers": 1}}
    chosen = recipe_from({**values, "prompt": {"max_tokens": 96, "template": "short-1"}}, name="t")
    module = backbones.get("generate")
    module.prepare(battles(60).without_outcomes(), recipe=chosen, cache=tmp_path)
    (tmp_path / "fold").mkdir()
    fitted = module.fit(battles(), recipe=chosen, folder=tmp_path / "fold", cache=tmp_path)
    predicted = module.predict(fitted, battles())
    assert predicted.shape == (12, 3)
    moved = tmp_path / "elsewhere"
    (tmp_path / "fold").rename(moved)  # a fold of a tiny base brings its base along
    other = module.load(moved, recipe=chosen, cache=tmp_path / "empty")
    assert module.predict(other, battles()).tobytes() == predicted.tobytes()
    assert recipe("x").backbone == "classify"


_CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.parametrize("thinks", [False, True])
def test_a_dialogue_is_the_chat_that_a_reward_model_was_trained_on(thinks: bool) -> None:
    """The tokenizer's own rendering is the oracle: one round and two, each response on its own."""
    words = tokenizer("llama")
    words.chat_template = _CHAT
    if thinks:  # before the last answer, as Qwen3's
        words.chat_template = _CHAT.replace(
            "{{ m.content",
            "{% if loop.last and m.role == 'assistant' %}<think></think>{% endif %}{{ m.content",
        )
    settings = PromptSettings(template="dialogue-1", max_tokens=256)
    literals = encode_literals(words, settings, causal=False, singles=True)
    rows = [
        {"id": 1, "prompt": ["why"], "response_a": ["blue is red"], "response_b": ["seven"]},
        {"id": 2, "prompt": ["why", "and"], "response_a": ["old", "towers"], "response_b": ["near", "green"]},
    ]
    some = Battles.from_rows(rows)
    encode = plain_encoder(words)
    turns = tuple(
        [encode(texts) for texts in column] for column in turns_of(some, get_template("dialogue-1"))
    )
    for side, name in zip(
        assemble_singles(turns, literals, settings), ("response_a", "response_b"), strict=True
    ):
        for k, row in enumerate(rows):
            talk = [
                {"role": role, "content": text}
                for pair in zip(row["prompt"], row[name], strict=True)
                for role, text in zip(("user", "assistant"), pair, strict=True)
            ]
            shown = words.decode(side.tokens[side.offsets[k] : side.offsets[k + 1]])
            wanted = words.apply_chat_template(talk, tokenize=False)
            if thinks and k == 1:
                wanted = wanted.replace("</s>[assistant]", "</s>[assistant]<think></think>", 1)
            assert shown == wanted
    with pytest.raises(RecipeError, match="is for backbone = 'reward'"):
        encode_literals(words, settings, causal=True)
    words.chat_template = None
    with pytest.raises(RecipeError, match="no chat template"):
        encode_literals(words, settings, causal=False, singles=True)
