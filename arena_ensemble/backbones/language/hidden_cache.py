"""A frozen base's vector of each row, computed once for all folds, epochs and orders.

``cache/hidden/<base>/<table>/`` holds ``keys.npy`` (sorted 16-byte hashes of a row's ids and
segments) and ``vectors.npy`` (rows, hidden). A row that is in no table is computed, and written as a
new table.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...artifacts import atomic
from . import spread
from .sequences import TokenSequences

_log = logging.getLogger(__name__)
_KEY: Final = np.dtype("S16")
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HiddenStates(TokenSequences):
    """Examples whose sequences are already vectors (sequences, hidden): one place each."""

    vectors: Vectors

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) an example takes as many places as it has sequences."""
        return np.full(len(self), self.sequence.shape[1], dtype=np.int64)

    @property
    def real_tokens(self) -> npt.NDArray[np.int64]:
        """As :attr:`lengths`: nothing is padded."""
        return self.lengths


def _keys(sequences: TokenSequences) -> npt.NDArray[np.bytes_]:
    tokens, segments, offsets = sequences.tokens, sequences.segments, sequences.offsets.tolist()
    digests = [
        hashlib.blake2b(tokens[a:b].tobytes() + segments[a:b].tobytes(), digest_size=16).digest()
        for a, b in itertools.pairwise(offsets)
    ]
    return np.frombuffer(b"".join(digests), dtype=_KEY)


def _tables(folder: Path) -> list[tuple[npt.NDArray[Any], Vectors]]:
    tables = []
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if ".tmp-" in path.name:
            continue
        try:
            keys, vectors = (
                np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in ("keys", "vectors")
            )
        except (OSError, ValueError, EOFError):
            _log.warning("cache of hidden states %s is broken; its rows are computed again", path)
            continue
        if keys.dtype == _KEY and len(keys) == len(vectors) and len(keys):
            tables.append((keys, vectors))
    return tables


def with_features(
    sequences: TokenSequences, folder: Path, compute: Callable[[TokenSequences], Vectors]
) -> HiddenStates:
    """The same examples as vectors, from the cache where they are there.

    Parameters
    ----------
    compute
        Vectors (m, hidden) of m single-sequence examples.
    """
    keys = _keys(sequences)
    unique, first, back = np.unique(keys, return_index=True, return_inverse=True)
    found: list[Any] = [None] * len(unique)
    for table, rows in _tables(folder):
        place = np.minimum(np.searchsorted(table, unique), len(table) - 1)
        for k in np.flatnonzero(table[place] == unique).tolist():
            found[k] = rows[place[k]]
    missing = np.asarray([k for k, vector in enumerate(found) if vector is None], dtype=np.int64)
    if len(missing):
        wanted = TokenSequences(
            sequences.tokens, sequences.segments, sequences.offsets, first[missing][:, None]
        )
        vectors = compute(wanted)
        _write(folder, unique[missing], vectors)
        for k, vector in zip(missing.tolist(), vectors, strict=True):
            found[k] = vector
    return HiddenStates(
        sequences.tokens,
        sequences.segments,
        sequences.offsets,
        sequences.sequence,
        np.stack(found).astype(np.float32)[back],
    )


def _write(folder: Path, keys: npt.NDArray[np.bytes_], vectors: Vectors) -> None:
    if not spread.first():
        return
    name = hashlib.sha256(keys.tobytes()).hexdigest()[:16]
    with atomic.new_folder(folder / name, keep_existing=True) as partial:
        np.save(partial / "keys.npy", keys, allow_pickle=False)
        np.save(partial / "vectors.npy", vectors, allow_pickle=False)
