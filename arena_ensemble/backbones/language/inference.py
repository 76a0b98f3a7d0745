"""Prediction with a head model: longest rows first, in batches of so many tokens, results in input order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .batching import Index, plan_prediction
from .heads import HeadModel
from .sequences import TokenSequences, collate

Floats = npt.NDArray[np.float64]
Progress = Callable[[float, float, str], None]


def predict_logits(
    head_model: HeadModel,
    sequences: TokenSequences,
    *,
    policy: Any,
    pad_id: int,
    batch_tokens: int,
    on_progress: Progress | None = None,
    left: bool = False,
    packed: bool = False,
) -> Floats:
    """Logits (n, 3) float64 of every example, in input order."""
    parts = _in_batches(
        head_model,
        sequences,
        policy,
        pad_id,
        batch_tokens,
        on_progress,
        "predicting",
        left=left,
        packed=packed,
    )
    logits = np.empty((len(sequences), 3))
    for rows, output in parts:
        logits[rows] = output.double().cpu().numpy()
    return logits


def compute_features(
    head_model: HeadModel,
    sequences: TokenSequences,
    *,
    policy: Any,
    pad_id: int,
    batch_tokens: int,
    on_progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """The base's vectors (n, hidden), float32, of examples of one sequence each."""
    found: list[tuple[Index, npt.NDArray[np.float32]]] = []
    for rows, output in _in_batches(
        head_model, sequences, policy, pad_id, batch_tokens, on_progress, "hidden states", features=True
    ):
        found.append((rows, output.float().cpu().numpy()))
    vectors = np.empty((len(sequences), found[0][1].shape[1]), dtype=np.float32)
    for rows, part in found:
        vectors[rows] = part
    return vectors


def _in_batches(
    head_model: HeadModel,
    sequences: TokenSequences,
    policy: Any,
    pad_id: int,
    batch_tokens: int,
    on_progress: Progress | None,
    what: str,
    *,
    left: bool = False,
    packed: bool = False,
    features: bool = False,
) -> Iterator[tuple[Index, torch.Tensor]]:
    done = 0
    for rows in plan_prediction(sequences.lengths, batch_tokens):
        batch = collate(
            sequences,
            rows,
            pad_id=pad_id,
            segment_ids=head_model.segment_ids,
            causal=head_model.causal,
            device=policy.device,
            left=left,
            packed=packed,
        )
        with torch.inference_mode(), policy.context():
            output = head_model.features(batch) if features else head_model(batch)
        done += len(rows)
        if on_progress:
            on_progress(done, len(sequences), what)
        yield rows, output
