"""Before anything is trained: does a row's answer depend on the row alone, whatever stands beside it?

Rows are padded to one length, decoders get no mask, the last layer is computed where it is read. That is
exact for attention, for convolutions and states that look back, and for experts that each token chooses for
itself. It is not for a base that mixes positions otherwise, or whose positions change with the longest row of
a batch. One batch of two rows is therefore held against the rows one by one, on the model at hand.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from ...errors import ArenaError, RecipeError
from . import spread
from .model import MemberModel
from .out_of_memory import attempt
from .sequences import TokenSequences, collate

_log = logging.getLogger(__name__)
_EXACT: Final = 0.01
_ROUNDED: Final = 0.25
"""Tolerated difference relative to the largest logit: more is refused in float32, warned of in 16 bits, where
rounding alone may send a token to another expert, and on a base in 8 bits, which rounds activations too."""
_PACKED: Final = 0.1
"""The same of rows that lie in one sequence: refused, since nothing but packing must be given up."""
_LEAST: Final = 1e-3
_NOT_MADE_FOR_IT: Final = (AttributeError, TypeError, ValueError, LookupError, AssertionError, RuntimeError)
"""What a model of transformers raises where a head asks something else of it than it was written for."""


def check_rows(member: MemberModel, sequences: TokenSequences) -> None:
    """Compare the logits of the shortest and the longest example together with those of each alone.

    Raises
    ------
    RecipeError
        They differ, or the base does not run with this head at all.
    """
    if spread.inside():  # an error in one process would leave the others waiting
        return
    order = np.argsort(sequences.lengths, kind="stable")
    rows = np.asarray([order[0], order[-1]])
    recipe, kind = member.encoder.recipe, member.encoder.config.model_type
    try:
        found = attempt(partial(_together_and_alone, member, sequences, rows))
    except ArenaError:
        raise
    except _NOT_MADE_FOR_IT as error:
        if "CUDA error" in str(error):  # of the card or its driver
            raise
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise RecipeError(
            f"base {recipe.base!r}: models of type {kind!r} do not run with backbone = {recipe.backbone!r} "
            f"({type(error).__name__}: {line}); choose another base"
        ) from error
    if found is None:  # too little memory for the two: training will say so, and cut its batches
        return
    together, alone = found
    if together.shape != (len(rows), 3):
        raise RecipeError(
            f"base {recipe.base!r}: models of type {kind!r} do not run with backbone = {recipe.backbone!r} "
            f"(logits of shape {tuple(together.shape)} for {len(rows)} rows); choose another base"
        )
    if not bool(torch.isfinite(torch.stack(found)).all()):  # training names the rows, and a precision
        return
    away, size = float((together - alone).abs().max()), max(_LEAST, float(alone.abs().max()))
    in_8_bits, packed = recipe.adapter.quantise == "8bit", recipe.train.packing
    exact = not member.policy.autocast and not in_8_bits
    if not away <= (_EXACT if exact else _PACKED if packed else _ROUNDED) * size:
        text = (
            f"base {recipe.base!r} (type {kind!r}): rows of {int(sequences.lengths[rows[0]]):,} and "
            f"{int(sequences.lengths[rows[1]]):,} tokens change each other's logits by {away:.2g}"
        )
        if packed and (exact or not _compares_scores(sequences)):
            raise RecipeError(f"{text} where they lie in one sequence; leave train.packing out")
        if exact:
            raise RecipeError(
                f"{text}, so predictions would depend on how rows are batched: set prompt.max_tokens lower "
                "if its positions change beyond some length (longrope), else choose another base"
            )
        finer = "adapter.quantise = 'none'" if in_8_bits else "precision = 'fp32'"
        _log.warning("%s: compare its predictions under %s before you rely on them", text, finer)


def _compares_scores(sequences: TokenSequences) -> bool:
    """Whether logits are differences of scores: rounding is relative to the scores, which are larger."""
    return int(sequences.sequence.shape[1]) > 1


def _together_and_alone(
    member: MemberModel, sequences: TokenSequences, rows: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    head_model, packed = member.head_model, member.encoder.recipe.train.packing

    def logits(some: Any, packed: bool) -> torch.Tensor:
        batch = collate(
            sequences,
            some,
            pad_id=member.encoder.pad_id,
            segment_ids=head_model.segment_ids,
            causal=head_model.causal,
            device=member.policy.device,
            packed=packed,
        )
        with torch.no_grad(), member.policy.context():  # rotary factors that are kept must serve training
            given: torch.Tensor = head_model(batch)
        return given.float().cpu()

    together = logits(rows, packed)
    whole = head_model.positions.whole() if head_model.positions else contextlib.nullcontext()
    with whole:
        alone = [logits(rows[k : k + 1], False) for k in range(len(rows))]
    return together, torch.cat(alone)
