"""Tiny random models of real architectures, saved as checkpoints are; battles and recipes to use on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

from arena_ensemble.backbones.language.notices import quiet
from arena_ensemble.battles import Battles
from arena_ensemble.recipes import Recipe, recipe_from

WORDS = [
    *("the", "answer", "is", "blue", "green", "red", "because", "seven", "rivers", "meet", "near"),
    *("old", "towers", "and", "nobody", "asked", "why"),
]
ENCODERS = ("bert", "deberta-v2", "modernbert")
DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt2")

_DECODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_ENCODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
_SPECIAL: dict[str, dict[str, Any]] = {
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
        "position_biased_input": False,
        "pooler_hidden_size": 32,
    },
    "eurobert": {"num_key_value_heads": 4},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 16},
    "mistral": {"sliding_window": 24, "head_dim": 8},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 24, "query_pre_attn_scalar": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 24, "query_pre_attn_scalar": 8},
    "gpt2": {},
}


def _encodes(kind: str) -> bool:
    return kind in (*ENCODERS, "roberta", "eurobert")


def battles(n: int = 12, *, seed: int = 0) -> Battles:
    """Short battles of very different lengths."""
    random = torch.Generator().manual_seed(seed)

    def words(least: int, most: int) -> str:
        count = int(torch.randint(least, most, (1,), generator=random))
        return " ".join(WORDS[int(k)] for k in torch.randint(0, len(WORDS), (count,), generator=random))

    return Battles.from_rows(
        [
            {
                "id": k,
                "prompt": [words(1, 8)],
                "response_a": [words(1, 30)] if k != 3 else [None],
                "response_b": [words(1, 30), words(1, 9)] if k == 5 else [words(1, 30)],
                "outcome": k % 3,
            }
            for k in range(n)
        ]
    )


def tokenizer(kind: str, *, pad: bool | str = True) -> Any:
    """A small byte-level tokenizer; ``pad`` may be False (none) or ``"eos"``."""
    pairs = ByteLevelBPETokenizer()
    lines = [" ".join(WORDS), "Better response: A", "Better response: B", "Better response: tie"] * 30
    pairs.train_from_iterator(
        lines,
        vocab_size=400,
        min_frequency=2,
        special_tokens=["[PAD]", "<s>", "</s>"],
        show_progress=False,
    )
    names: dict[str, str] = {"bos_token": "<s>", "eos_token": "</s>"}
    if _encodes(kind):
        names = {"cls_token": "<s>", "sep_token": "</s>"}
    if pad:
        names["pad_token"] = "</s>" if pad == "eos" else "[PAD]"
    return transformers.PreTrainedTokenizerFast(tokenizer_object=pairs._tokenizer, **names)


def save_base(folder: Path, kind: str, *, pad: bool | str = True, padding_side: str = "right") -> Path:
    """Write a tiny random base of that architecture."""
    words = tokenizer(kind, pad=pad)
    words.padding_side = padding_side
    shape = {} if kind == "gpt2" else dict(_ENCODER if _encodes(kind) else _DECODER)
    if kind == "gpt2":
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    ids = {"pad_token_id": words.pad_token_id, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "modernbert":
        ids |= {"cls_token_id": 1, "sep_token_id": 2}
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=len(words), **{**shape, **_SPECIAL.get(kind, {}), **ids}
    )
    loader = transformers.AutoModelForMaskedLM if _encodes(kind) else transformers.AutoModelForCausalLM
    return save_random(loader, config, words, folder)


def save_random(loader: Any, config: Any, words: Any, folder: Path) -> Path:
    """A checkpoint of seeded random weights, with its tokenizer."""
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(3)
        model = loader.from_config(config)
        with torch.no_grad():  # random weights of 0.02 hardly say anything: make differences visible
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(6)
        model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def recipe(base: Path | str, backbone: str = "classify", **sections: Any) -> Recipe:
    """A short training run on a base."""
    train = {"epochs": 1, "learning_rate": 1e-2, "batch_rows": 4, "warmup": 0.0, **sections.pop("train", {})}
    prompt = {"max_tokens": 128, **sections.pop("prompt", {})}
    adapter = {"r": 4, "alpha": 8, **sections.pop("adapter", {})}
    values = {"backbone": backbone, "base": str(base), "train": train, "prompt": prompt, "adapter": adapter}
    return recipe_from({**values, **sections}, name="test")
