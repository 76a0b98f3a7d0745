"""Examples: the sequences of token ids that a model sees, and their batches.

An example is one battle in one order: one sequence of ids, or two for the reward head. Everything
here is plain arrays, so that the training loop needs neither battles nor recipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .batching import Index, pad


@dataclass(frozen=True, eq=False)
class TokenSequences:
    """Token ids of n examples.

    Parameters
    ----------
    tokens, segments
        All sequences end to end, (total,).
    offsets
        (sequences + 1,) where each sequence starts.
    sequence
        (n, k) the sequences of each example; k = 1, or 2 for the reward head.
    """

    tokens: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int8]
    offsets: Index
    sequence: Index

    @classmethod
    def of(cls, *encoded: Any, paired: bool = False) -> TokenSequences:
        """Join ``Encoded`` tables; ``paired`` makes each consecutive two the two halves of examples."""
        counts = [len(part) for part in encoded]
        starts = np.cumsum([0, *(len(part.tokens) for part in encoded)])
        offsets = [part.offsets[:-1] + start for part, start in zip(encoded, starts[:-1], strict=True)]
        first = np.cumsum([0, *counts])
        rows = [np.arange(count) + place for count, place in zip(counts, first[:-1], strict=True)]
        if paired:
            halves = [np.concatenate(rows[k::2]) for k in (0, 1)]
            sequence = np.stack(halves, axis=1)
        else:
            sequence = np.concatenate(rows)[:, None]
        return cls(
            tokens=np.concatenate([part.tokens for part in encoded]),
            segments=np.concatenate([part.segments for part in encoded]),
            offsets=np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
            sequence=sequence.astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def lengths(self) -> Index:
        """(n,) tokens that an example takes of a batch: its longest sequence times their number."""
        each = np.diff(self.offsets)[self.sequence]
        return np.asarray(each.max(axis=1) * self.sequence.shape[1], dtype=np.int64)

    @property
    def real_tokens(self) -> Index:
        """(n,) real tokens of each example."""
        return np.asarray(np.diff(self.offsets)[self.sequence].sum(axis=1), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """n examples and what to learn from them.

    Parameters
    ----------
    sequences
        Their token ids.
    labels
        (n,) in {0, 1, 2}, of the order that the example shows.
    weights
        (n,) non-negative.
    units
        (u, k) examples that share an optimizer step: k = 2 for paired swap, else 1.
    names
        (n,) row ids, for messages.
    teacher
        (n, 3) natural-log probabilities of the example's order; NaN rows have no teacher.
    voted
        (n,) whether the label is a vote; if not, the teacher is all that is learned from. None: all are.
    """

    sequences: TokenSequences
    labels: Index
    weights: npt.NDArray[np.float64]
    units: Index
    names: Sequence[Any]
    teacher: npt.NDArray[np.float64] | None = None
    voted: npt.NDArray[np.bool_] | None = None


def collate(
    sequences: TokenSequences,
    rows: Index,
    *,
    pad_id: int,
    segment_ids: Sequence[int] | None,
    causal: bool,
    device: torch.device | str = "cpu",
    left: bool = False,
    packed: bool = False,
) -> dict[str, torch.Tensor]:
    """One micro-batch on its device.

    Rows are padded on the right. A causal model then needs no mask; other models get one only where
    there is padding. ``left`` pads on the other side, with mask and positions: same answers, slower.
    ``packed`` lays all rows end to end in one; positions that start again at 0 tell a causal model's
    attention where a row ends. Examples that are already vectors become ``features``.
    """
    sequence = sequences.sequence[rows].T.reshape(-1)
    vectors = getattr(sequences, "vectors", None)
    if vectors is not None:
        return _moved({"features": torch.from_numpy(vectors[sequence])}, device)
    starts = sequences.offsets[sequence]
    lengths = sequences.offsets[sequence + 1] - starts
    if packed:
        return _moved(_packed(sequences, starts, lengths, segment_ids), device)
    part = pad(sequences.tokens, sequences.segments, starts, lengths, pad_id=pad_id, left=left)
    arrays = {"input_ids": part.tokens, "last": part.last}
    if segment_ids is not None:
        arrays["token_type_ids"] = np.asarray(segment_ids, dtype=np.int64)[part.segments]
    if left:
        arrays["attention_mask"] = part.mask
        arrays["position_ids"] = np.maximum(part.mask.cumsum(axis=1) - 1, 0)
    elif not causal and int(lengths.min()) != int(lengths.max()):
        arrays["attention_mask"] = part.mask
    return _moved({name: torch.from_numpy(array) for name, array in arrays.items()}, device)


def _packed(
    sequences: TokenSequences, starts: Index, lengths: Index, segment_ids: Sequence[int] | None
) -> dict[str, torch.Tensor]:
    """Rows end to end as one row of ids, with each token's place in its own row."""
    ends = np.cumsum(lengths)
    place = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    source = np.repeat(starts, lengths) + place
    arrays = {
        "input_ids": sequences.tokens[source][None].astype(np.int64),
        "position_ids": place[None],
        "last": ends - 1,
        "row": np.zeros(len(ends), dtype=np.int64),
    }
    if segment_ids is not None:
        arrays["token_type_ids"] = np.asarray(segment_ids, dtype=np.int64)[sequences.segments[source]][None]
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _moved(batch: dict[str, torch.Tensor], device: torch.device | str) -> dict[str, torch.Tensor]:
    if torch.device(device).type == "cpu":
        return batch
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}
