"""Prediction with a head model: longest rows first, in batches of so many tokens, results in input order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...errors import MemberError
from . import spread
from .ahead import Ahead
from .batching import Index, plan_prediction
from .heads import HeadModel
from .out_of_memory import TokenBudget, attempt
from .sequences import TokenSequences, collate

Floats = npt.NDArray[np.float64]
Progress = Callable[[float, float, str], None]


def predict_logits(
    head_model: HeadModel,
    sequences: TokenSequences,
    *,
    policy: Any,
    pad_id: int,
    batch_tokens: int | TokenBudget,
    on_progress: Progress | None = None,
    left: bool = False,
    packed: bool = False,
) -> Floats:
    """Logits (n, 3) float64 of every example, in input order.

    When memory runs out, the batch is cut in halves and read again; a given budget keeps the smaller size.

    Raises
    ------
    MemberError
        Memory ran out with a single row, or in one of several processes.
    """
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
    batch_tokens: int | TokenBudget,
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
    batch_tokens: int | TokenBudget,
    on_progress: Progress | None,
    what: str,
    *,
    left: bool = False,
    packed: bool = False,
    features: bool = False,
) -> Iterator[tuple[Index, torch.Tensor]]:
    budget = TokenBudget(batch_tokens, what) if isinstance(batch_tokens, int) else batch_tokens
    lengths, done = sequences.lengths, 0

    def made(rows: Index) -> dict[str, torch.Tensor]:
        return collate(
            sequences,
            spread.real_rows(rows)[0],
            pad_id=pad_id,
            segment_ids=head_model.segment_ids,
            causal=head_model.causal,
            device=policy.device,
            left=left,
            packed=packed,
        )

    ahead = Ahead(made)

    def read(rows: Index, then: Index | None) -> torch.Tensor:
        batch = ahead.get(spread.share(rows), None if then is None else spread.share(then))
        with spread.no_gradients(), policy.context():
            output = spread.through(head_model, head_model.features, batch) if features else head_model(batch)
            return spread.whole(output, len(rows))

    waiting = deque(plan_prediction(lengths, budget.tokens))
    while waiting:
        output = attempt(partial(read, waiting[0], waiting[1] if len(waiting) > 1 else None))
        if output is None:
            if spread.inside():  # the other processes wait in the middle of this batch
                raise MemberError(
                    f"{budget.what}: out of memory in process {spread.rank()} of {spread.size()}; set "
                    "predict.tokens lower, or machine.processes higher"
                )
            parts = budget.smaller([waiting[0]], lengths, lambda row: row + 1)
            waiting = deque([*parts, *(budget.cut(list(waiting)[1:], lengths) if len(waiting) > 1 else ())])
            continue
        budget.settled()
        rows = waiting.popleft()
        done += len(rows)
        if on_progress:
            on_progress(done, len(sequences), what)
        yield rows, output
