"""A base's tokenizer with a recipe's template: battles in, rows of token ids out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    template_of,
    turns_of,
)
from ...recipes import Recipe
from .. import between_folds
from ..registry import Head, head_of
from . import loading
from .base_identity import POSITIONS_FROM_PAD, BaseIdentity
from .sequences import TokenSequences
from .template_tokens import encode_literals
from .text_decoder import text_config
from .token_cache import TokenStore

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
        config, tokenizer, store = _opened(source, cache)
        limit = getattr(config, "max_position_embeddings", None)
        if limit and config.model_type in POSITIONS_FROM_PAD:
            limit -= config.pad_token_id + 1
        # relative positions (DeBERTa) have no such limit
        absolute = getattr(config, "position_biased_input", True)
        if limit and absolute and recipe.prompt.max_tokens > limit:
            raise RecipeError(
                f"prompt.max_tokens = {recipe.prompt.max_tokens}: the base {recipe.base!r} reads at most "
                f"{limit} tokens; set prompt.max_tokens = {limit} or less"
            )
        head = head_of(recipe.backbone)
        literals = encode_literals(
            tokenizer, recipe.prompt, causal=head.causal, singles=head.sequences_per_battle == 2
        )
        room_for_texts(literals, recipe.prompt)
        return cls(recipe, source, config, tokenizer, literals, store, cache)

    def base(self) -> BaseIdentity:
        """What the base is made of, wherever it lies."""
        return BaseIdentity.of(Path(self.source.name), self.config)

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
        turns = self.store.look_up(turns_of(battles, template_of(self.recipe.prompt)))
        if self.head.sequences_per_battle == 2:
            return assemble_singles(turns, self.literals, self.recipe.prompt)
        return (assemble(turns, self.literals, self.recipe.prompt),)

    def joined(self, encoded: tuple[Encoded, ...]) -> TokenSequences:
        """The examples that :meth:`encode` gave, of one call or of several one after the other."""
        return TokenSequences.of(*encoded, paired=self.head.sequences_per_battle == 2)


def _opened(source: loading.Source, cache: Path) -> tuple[Any, Any, TokenStore]:
    """Configuration, tokenizer and token ids of a base; opened once where they are kept between folds."""
    shelf = between_folds.shelf()
    where = f"tokens of {source.name} {source.options} in {cache}"
    if shelf is not None and where in shelf:
        opened: tuple[Any, Any, TokenStore] = shelf[where]
        return opened
    config, tokenizer = text_config(loading.load_config(source)), loading.load_tokenizer(source)
    opened = config, tokenizer, TokenStore(tokenizer, cache, remembers=shelf is not None)
    if shelf is not None:
        shelf[where] = opened
    return opened


def identity(encoder: PromptEncoder) -> dict[str, str]:
    """What a fold's weights depend on besides recipe and base: checked when they are read back."""
    return {
        "template": template_digest(encoder.recipe),
        "literals": encoder.literals.digest(),
        "tokenizer": encoder.store.digest,
    }
