"""Before anything is trained: the generation head against the whole model; the verdict words' own bias."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from ...battles import Battles
from ...predictions import Floats
from . import spread
from .heads import GenerationHeadModel
from .model import MemberModel
from .sequences import TokenSequences, collate

_log = logging.getLogger(__name__)
ROWS: Final = 16
_BIAS_ROWS: Final = 512


def check(member: MemberModel, sequences: TokenSequences) -> dict[str, Any]:
    """Hold a generation head against the model's own answers; facts for the card.

    The shortest and the longest example are compared; the probability that the base gives to anything
    but a verdict is a mean over :data:`ROWS` examples, short to long.
    """
    head_model, order = member.head_model, np.argsort(sequences.lengths, kind="stable")
    if not isinstance(head_model, GenerationHeadModel):
        return {}
    for row in {int(order[0]), int(order[-1])}:
        batch = collate(
            sequences,
            np.asarray([row]),
            pad_id=member.encoder.pad_id,
            segment_ids=head_model.segment_ids,
            causal=head_model.causal,
            device=member.policy.device,
        )
        with member.policy.context():
            spread.through(head_model, head_model.check, batch)
    some = order[np.linspace(0, len(order) - 1, min(len(order), ROWS)).astype(np.int64)]
    features = torch.from_numpy(member.features(replace(sequences, sequence=sequences.sequence[some])))
    features = features.to(member.policy.device)
    outside = float(spread.through(head_model, head_model.mass_outside, features).mean())
    _log.info(
        "%.1f %% of the base's probability lies outside the verdict words before training", 100 * outside
    )
    return {"mass_outside_verdicts": round(outside, 6)}


def zero_shot_shift(
    member: MemberModel, train: Battles, predict: Callable[[Battles], Floats]
) -> Floats | None:
    """The verdict words' own bias (3,), from training rows only; None where none is wanted.

    ``contextual`` asks about battles without content (Zhao et al. 2021, arXiv:2102.09690); ``batch``
    takes the mean probabilities over training rows (Zhou et al. 2023, arXiv:2309.17249).
    """
    recipe = member.encoder.recipe
    if recipe.generate.calibration == "none":
        return None
    if recipe.generate.calibration == "contextual":
        blanks = enumerate(("N/A", "", "[MASK]"))
        rows = [{"id": k, "prompt": [t], "response_a": [t], "response_b": [t]} for k, t in blanks]
        probs = np.exp(predict(Battles.from_rows(rows)))
    else:
        some = np.random.default_rng(recipe.seed).permutation(len(train))[:_BIAS_ROWS]
        probs = np.exp(predict(train.take(np.sort(some)).without_outcomes()))
    return np.asarray(np.log(probs.mean(axis=0)), dtype=np.float64)
