"""Reading rows with a scorer: longest first, in batches of so many tokens, answers in input order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .batching import Index, plan_reading
from .heads import Scorer
from .sequences import Readings, collate

Floats = npt.NDArray[np.float64]
Progress = Callable[[float, float, str], None]


def read(
    scorer: Scorer,
    readings: Readings,
    *,
    policy: Any,
    pad_id: int,
    batch_tokens: int,
    on_progress: Progress | None = None,
    left: bool = False,
    packed: bool = False,
) -> Floats:
    """Logits (n, 3) float64 of every reading, in input order."""
    parts = _in_batches(
        scorer, readings, policy, pad_id, batch_tokens, on_progress, "reading", left=left, packed=packed
    )
    logits = np.empty((len(readings), 3))
    for rows, said in parts:
        logits[rows] = said.double().cpu().numpy()
    return logits


def read_features(
    scorer: Scorer,
    readings: Readings,
    *,
    policy: Any,
    pad_id: int,
    batch_tokens: int,
    on_progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """What a frozen base says of each (n, hidden), float32: readings of one sequence each."""
    found: list[tuple[Index, npt.NDArray[np.float32]]] = []
    for rows, said in _in_batches(
        scorer, readings, policy, pad_id, batch_tokens, on_progress, "hidden states", features=True
    ):
        found.append((rows, said.float().cpu().numpy()))
    vectors = np.empty((len(readings), found[0][1].shape[1]), dtype=np.float32)
    for rows, part in found:
        vectors[rows] = part
    return vectors


def _in_batches(
    scorer: Scorer,
    readings: Readings,
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
    for rows in plan_reading(readings.lengths, batch_tokens):
        batch = collate(
            readings,
            rows,
            pad_id=pad_id,
            segment_ids=scorer.segment_ids,
            causal=scorer.causal,
            device=policy.device,
            left=left,
            packed=packed,
        )
        with torch.inference_mode(), policy.context():
            said = scorer.features(batch) if features else scorer(batch)
        done += len(rows)
        if on_progress:
            on_progress(done, len(readings), what)
        yield rows, said
