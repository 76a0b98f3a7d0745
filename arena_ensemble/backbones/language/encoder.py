"""A base's tokenizer with a recipe's template: battles in, rows of token ids out; the inner hold-out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...battles import Battles
from ...errors import RecipeError
from ...prompts import (
    Encoded,
    TokenizedTemplate,
    assemble,
    assemble_singles,
    room_for_texts,
    template_digest,
    turns_of,
)
from ...prompts import get_template as template_of
from ...recipes import Recipe
from ..registry import Head, head_of
from . import loading
from .sequences import TokenSequences
from .template_tokens import encode_literals
from .token_cache import TokenStore

_INNER_SHARE: Final = 0.125
_FROM_PAD: Final = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer")
"""Architectures that count positions from the pad id on."""
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PromptEncoder:
    """A base's tokenizer with a recipe's template: battles in, rows of token ids out."""

    recipe: Recipe
    source: loading.Source
    config: Any
    tokenizer: Any
    literals: TokenizedTemplate
    store: TokenStore
    cache: Path

    @classmethod
    def open(cls, recipe: Recipe, source: loading.Source, cache: Path) -> PromptEncoder:
        """Load configuration and tokenizer, and check that the window fits the base.

        Raises
        ------
        RecipeError
            No such base, a window that it cannot take, or a template that leaves no room.
        """
        config = loading.load_config(source)
        limit = getattr(config, "max_position_embeddings", None)
        if limit and config.model_type in _FROM_PAD:
            limit -= config.pad_token_id + 1
        # relative positions (DeBERTa) have no such limit
        absolute = getattr(config, "position_biased_input", True)
        if limit and absolute and recipe.prompt.max_tokens > limit:
            raise RecipeError(
                f"prompt.max_tokens = {recipe.prompt.max_tokens}: the base {recipe.base!r} reads at most "
                f"{limit} tokens; set prompt.max_tokens = {limit} or less"
            )
        tokenizer = loading.load_tokenizer(source)
        literals = encode_literals(tokenizer, recipe.prompt, causal=head_of(recipe.backbone).causal)
        room_for_texts(literals, recipe.prompt)
        return cls(recipe, source, config, tokenizer, literals, TokenStore(tokenizer, cache), cache)

    @property
    def pad_id(self) -> int:
        """Any id will do: what is padded is masked or stands behind every real token.

        It must have an embedding, though, which a pad token that was only added to the tokenizer lacks.
        """
        size = getattr(self.config, "vocab_size", None)
        for name in ("pad_token_id", "eos_token_id"):
            found = getattr(self.tokenizer, name, None)
            if found is not None and (size is None or found < size):
                return int(found)
        return 0

    @property
    def head(self) -> Head:
        """The facts about the recipe's head."""
        return head_of(self.recipe.backbone)

    def encode(self, battles: Battles) -> tuple[Encoded, ...]:
        """One table of rows, or two (of A, of B) where the head scores each response on its own."""
        turns = self.store.look_up(turns_of(battles, template_of(self.recipe.prompt.template)))
        if self.head.sequences_per_battle == 2:
            return assemble_singles(turns, self.literals, self.recipe.prompt)
        return (assemble(turns, self.literals, self.recipe.prompt),)

    def joined(self, encoded: tuple[Encoded, ...]) -> TokenSequences:
        """The examples that :meth:`encode` gave, of one call or of several one after the other."""
        return TokenSequences.of(*encoded, paired=self.head.sequences_per_battle == 2)


def identity(encoder: PromptEncoder) -> dict[str, str]:
    """What a fold's weights depend on besides the recipe: checked when they are read back."""
    return {
        "template": template_digest(encoder.recipe),
        "literals": encoder.literals.digest(),
        "tokenizer": encoder.store.digest,
        "base_model": loading.fingerprint(encoder.source),
    }


def inner_split(train: Battles, recipe: Recipe) -> tuple[Rows, Rows]:
    """Rows to learn from and rows to stop by: whole prompts, chosen by a hash of the first turn."""
    rows = np.arange(len(train))
    if not recipe.train.early_stopping:
        return rows, rows[:0]
    draws = []
    for turns in train.frame["prompt"].to_list():
        first = " ".join((turns[0] if turns and turns[0] else "").lower().split())
        mark = hashlib.blake2b(f"{recipe.seed}|{first}".encode("utf-8", "replace"), digest_size=8).digest()
        draws.append(int.from_bytes(mark, "big") / 2**64)
    held = np.asarray(draws) < _INNER_SHARE
    if not held.any() or held.all():
        raise RecipeError("train.early_stopping: too few different prompts to hold any out; set it to 0")
    return rows[~held], rows[held & train.frame["outcome"].is_not_null().to_numpy()]  # a vote to stop by
