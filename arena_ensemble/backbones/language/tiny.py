"""Small bases built on the spot: a real transformers architecture, a tokenizer, both from text alone.

``tiny:encoder`` is a BERT whose segment embeddings say whose text a token is; ``tiny:decoder`` is a
GPT-2, which adds the embedding of a segment's marker to each of its tokens. Both are saved as any
checkpoint is and read back through the path that a hub id takes. They are meant for rehearsal and for
texts of which there are only some hundred: two layers, some ten thousand weights outside the
embeddings. No outcome is read here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import torch

from ...artifacts import atomic
from ...errors import ArtifactError
from ...prompts import template_of
from ...recipes import Recipe
from ..base import Progress
from .loading import Source
from .notices import quiet

_VERSION: Final = 1
_SPECIAL: Final = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[PROMPT]", "[SIDE A]", "[SIDE B]")
_LITERAL_REPEATS: Final = 200
"""At least so often stands a literal in the tokenizer's text; else as often as there are texts."""


def base_digest(recipe: Recipe, text_digest: str) -> str:
    """What a tiny base depends on: its shape, the literals around the texts, the texts, the seed."""
    value = [_VERSION, recipe.base, recipe.tiny.model_dump(), recipe.seed, text_digest]
    value += [recipe.prompt.model_dump()["template"], recipe.prompt.max_tokens, recipe.prompt.verdicts]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def build(recipe: Recipe, texts: Iterable[str], folder: Path) -> None:
    """Make tokenizer and model and write them to ``folder`` (whole or absent)."""
    tokenizer = _tokenizer(recipe, texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = _encoder(recipe, tokenizer) if recipe.base == "tiny:encoder" else _decoder(recipe, tokenizer)
    with atomic.new_folder(folder, keep_existing=True) as partial, quiet():  # no bar for one small file
        tokenizer.save_pretrained(partial)
        model.save_pretrained(partial)


def _tokenizer(recipe: Recipe, texts: Iterable[str]) -> Any:
    """Byte-level byte-pair encoding; the template's literals are in its text, so they cost few tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    template = template_of(recipe.prompt)
    literals = [template.opening, template.before_a, template.before_b, template.before_response]
    literals += [template.turn, template.marker, template.empty, template.cue]
    literals += [template.cue + template.gap + word for word in recipe.prompt.verdicts]

    def corpus() -> Iterator[str]:
        count = 0
        for count, text in enumerate(texts, start=1):  # noqa: B007
            yield text
        for literal in literals:  # as in the rows: literals and verdicts become few, whole tokens
            yield from [literal] * max(_LITERAL_REPEATS, count)

    pairs = ByteLevelBPETokenizer()
    pairs.train_from_iterator(
        corpus(),
        vocab_size=recipe.tiny.vocabulary,
        min_frequency=2,
        special_tokens=list(_SPECIAL),
        show_progress=False,
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    if recipe.base == "tiny:decoder":
        names |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=pairs._tokenizer, **names)


def _encoder(recipe: Recipe, tokenizer: Any) -> Any:
    from transformers import BertConfig, BertForMaskedLM

    shape = recipe.tiny
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=2 * shape.hidden,
        max_position_embeddings=recipe.prompt.max_tokens,
        type_vocab_size=3,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=0.0,
        initializer_range=shape.hidden**-0.5,
        segment_ids=[0, 1, 2],
    )
    model = BertForMaskedLM(config)
    with torch.no_grad():  # words first: places start faint, or they drown a few hundred rows' signal
        model.bert.embeddings.position_embeddings.weight.mul_(0.2)
    return model


def _decoder(recipe: Recipe, tokenizer: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = recipe.tiny
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=shape.hidden,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_inner=2 * shape.hidden,
        n_positions=recipe.prompt.max_tokens,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        resid_pdrop=shape.dropout,
        embd_pdrop=shape.dropout,
        attn_pdrop=0.0,
        initializer_range=shape.hidden**-0.5,
        segment_ids=tokenizer.convert_tokens_to_ids(["[PROMPT]", "[SIDE A]", "[SIDE B]"]),
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        model.transformer.wpe.weight.mul_(0.2)
    return model


def _pointer(recipe: Recipe, cache: Path) -> Path:
    return cache / "tiny" / f"{base_digest(recipe, '')[:16]}.json"


def prepare(
    recipe: Recipe,
    cache: Path,
    texts: Callable[[], Iterable[str]],
    on_progress: Progress | None,
) -> Source:
    """Build the base for these texts unless it is there, and note it as this recipe's base."""
    state = hashlib.sha256()
    for text in texts():
        state.update(hashlib.blake2b(text.encode("utf-8", "replace")).digest())
    name = base_digest(recipe, state.hexdigest())[:16]
    folder = cache / "tiny" / name
    if not (folder / "config.json").is_file():
        if on_progress:
            on_progress(0, 1, "building the tiny base")
        build(recipe, texts(), folder)
    atomic.write_json(_pointer(recipe, cache), {"base": name})
    return Source(str(folder))


def prepared(recipe: Recipe, cache: Path) -> Source:
    """The base that :func:`prepare` noted for this recipe.

    Raises
    ------
    ArtifactError
        There is none.
    """
    try:
        name = json.loads(_pointer(recipe, cache).read_text())["base"]
    except (OSError, ValueError, KeyError):
        raise ArtifactError(
            f"{cache / 'tiny'}: the base {recipe.base!r} is not built; call prepare() with all battles first"
        ) from None
    return Source(str(cache / "tiny" / name))
