"""Every text tokenised once: ids in a memory-mapped file, found again by a hash of the text.

``cache/tokens/<tokenizer>/<texts>/`` holds ``keys.npy`` (sorted 16-byte hashes), ``offsets.npy`` and
``ids.npy``. Folds, members with the same tokenizer and both orders of a battle read the same file; a
text that is not there is tokenised on the way and not kept.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...artifacts import atomic
from ...prompts import Encode, Ids

_log = logging.getLogger(__name__)
_CHUNK: Final = 4096
_KEY: Final = np.dtype("S16")
Table = tuple[npt.NDArray[Any], npt.NDArray[np.int64], Ids]


def plain_encoder(tokenizer: Any) -> Encode:
    """Encode texts without special tokens; a special token *written in a text* stays ordinary text.

    Otherwise a response that contains ``<|im_end|>`` or ``</s>`` would end the prompt early.
    """

    def encode(texts: Sequence[str]) -> list[Ids]:
        found = tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=True, return_attention_mask=False
        )
        return [np.asarray(ids, dtype=np.int32) for ids in found["input_ids"]]

    return encode


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of the tokenizer's whole definition."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # how a batch was last cut and padded is no part of it
        backend.no_truncation()
        backend.no_padding()
    state = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(state.encode()).hexdigest()


def _keys(texts: Iterable[str]) -> npt.NDArray[np.bytes_]:
    digests = b"".join(hashlib.blake2b(t.encode("utf-8", "replace"), digest_size=16).digest() for t in texts)
    return np.frombuffer(digests, dtype=_KEY)


def _whole(folder: Path) -> Table | None:
    """A table's keys, offsets and ids; None where it is not there as it was written."""
    try:
        keys, offsets, ids = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("keys", "offsets", "ids")
        )
        whole = len(offsets) == len(keys) + 1 and offsets[-1] == len(ids) and keys.dtype == _KEY
    except (OSError, ValueError, EOFError):
        return None
    return (keys, np.asarray(offsets), ids) if whole else None


class TokenStore:
    """Token ids by text, from the cache where they are, from the tokenizer where not.

    ``remembers``: what the tokenizer had to be asked for is kept in memory.
    """

    def __init__(self, tokenizer: Any, cache: Path, *, remembers: bool = False) -> None:
        self.remembered: dict[bytes, Ids] | None = {} if remembers else None
        self.encode = plain_encoder(tokenizer)
        self.digest = tokenizer_digest(tokenizer)
        self.folder = cache / "tokens" / self.digest[:16]
        self.tables = self._tables()

    def _tables(self) -> list[Table]:
        tables = []
        for folder in sorted(self.folder.glob("*")) if self.folder.is_dir() else []:
            if ".tmp-" in folder.name:
                continue
            table = _whole(folder)
            if table is not None:
                tables.append(table)
            else:
                _log.warning("token cache %s is broken; its texts are tokenised again", folder)
        return tables

    def prepare(self, texts: Iterable[str], progress: Callable[[float, float], None] | None = None) -> None:
        """Tokenise the texts that no table holds yet, and write them as one new table."""
        wanted = sorted(set(texts))
        keys = _keys(wanted)
        new = np.ones(len(wanted), dtype=bool)
        for table, _, _ in self.tables:
            place = np.minimum(np.searchsorted(table, keys), max(len(table) - 1, 0))
            new &= table[place] != keys if len(table) else True
        wanted, keys = [wanted[k] for k in np.flatnonzero(new)], keys[new]
        if not wanted:
            return
        encoded: list[Ids] = []
        for start in range(0, len(wanted), _CHUNK):
            encoded += self.encode(wanted[start : start + _CHUNK])
            if progress:
                progress(len(encoded), len(wanted))
        order = np.argsort(keys)
        arrays = {
            "keys": keys[order],
            "offsets": np.cumsum([0, *(len(encoded[k]) for k in order)], dtype=np.int64),
            "ids": np.concatenate([encoded[k] for k in order]).astype(np.int32),
        }
        self._write(hashlib.sha256(arrays["keys"].tobytes()).hexdigest()[:16], arrays)
        self.tables = self._tables()

    def _write(self, name: str, arrays: dict[str, npt.NDArray[Any]]) -> None:
        # tasks of several processes share the cache: a table that one of them reads never makes way
        if _whole(self.folder / name) is None:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        with atomic.new_folder(self.folder / name, keep_existing=True) as partial:
            for key, array in arrays.items():
                np.save(partial / f"{key}.npy", array, allow_pickle=False)

    def look_up(self, columns: Sequence[Sequence[Sequence[str]]]) -> tuple[list[list[Ids]], ...]:
        """Ids of every turn, in the nesting given: columns, battles, turns."""
        flat = [turn for column in columns for battle in column for turn in battle]
        unique = list(dict.fromkeys(flat))
        keys = _keys(unique)
        found: list[Ids | None] = [None] * len(unique)
        for table, offsets, ids in self.tables:
            if not len(table):
                continue
            place = np.minimum(np.searchsorted(table, keys), len(table) - 1)
            for k in np.flatnonzero(table[place] == keys).tolist():
                at = place[k]
                found[k] = np.asarray(ids[offsets[at] : offsets[at + 1]])
        texts = {k: bytes(keys[k]) for k, ids in enumerate(found) if ids is None}
        known = {} if self.remembered is None else self.remembered
        missing = [k for k, key in texts.items() if key not in known]
        asked = self.encode([unique[k] for k in missing]) if missing else []
        known |= {texts[k]: ids for k, ids in zip(missing, asked, strict=True)}
        for k, key in texts.items():
            found[k] = known[key]
        by_text = dict(zip(unique, found, strict=True))
        return tuple(
            [[by_text[turn] for turn in battle] for battle in column]  # type: ignore[misc]
            for column in columns
        )
