"""The one fold of every battle, and the digest that every member, stacker and temperature carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..battles import Battles
from ..errors import ArtifactError, InputError, StaleError
from .groups import NEAR_DUPLICATES, PromptStore, grouping
from .split import stratified_group_folds

Ints = npt.NDArray[np.int64]

_COLUMNS: Final = ("id", "fold", "group")
_META: Final = ("n_folds", "seed", "near_duplicates", "battles_digest", "digest")


@dataclass(frozen=True, eq=False)
class Folds:
    """Which fold each battle is in.

    Parameters
    ----------
    ids
        (n,) the battles' ids, in the battles' order.
    fold
        (n,) integers from 0 to ``n_folds`` - 1.
    group
        (n,) integers; rows of one group are in one fold.
    near_duplicates
        The similarity from which prompts were joined, or None.
    battles_digest
        :meth:`Battles.digest` of the battles that were folded, outcomes included.

    Raises
    ------
    InputError
        Shapes differ, an id repeats, a fold is out of range or empty, or a group is in two folds.
    """

    ids: pl.Series
    fold: Ints
    group: Ints
    n_folds: int
    seed: int
    near_duplicates: float | None
    battles_digest: str

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name in ("fold", "group"):
            values = np.array(getattr(self, name), dtype=np.int64)
            if values.shape != (n,):
                raise InputError(f"folds: {name} has shape {values.shape}, expected ({n},)")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if self.ids.n_unique() != n:
            raise InputError(f"folds: the id {self.ids.filter(self.ids.is_duplicated())[0]!r} repeats")
        fits = n >= self.n_folds and self.fold.min() >= 0 and self.fold.max() < self.n_folds
        sizes = np.bincount(self.fold, minlength=self.n_folds) if fits else np.zeros(0)
        if not fits or not sizes.all():
            raise InputError(f"folds: expected {self.n_folds} folds of {n} rows, none empty and none beyond")
        per_group = pl.DataFrame({"group": self.group, "fold": self.fold}).unique()
        if per_group["group"].is_duplicated().any():
            group = per_group["group"].filter(per_group["group"].is_duplicated())[0]
            raise InputError(f"folds: group {group} lies in two folds; make the folds again")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids, folds, groups, the settings and the battles' digest."""
        settings = [self.n_folds, self.seed, self.near_duplicates, self.battles_digest, str(self.ids.dtype)]
        state = hashlib.sha256(json.dumps(settings).encode())
        state.update(json.dumps(self.ids.to_list(), ensure_ascii=False).encode())
        for values in (self.fold, self.group):
            state.update(values.astype("<i8").tobytes())
        return state.hexdigest()

    def rows(self, fold: int) -> Ints:
        """The rows of one fold, in order."""
        return np.flatnonzero(self.fold == fold)

    def rest(self, fold: int) -> Ints:
        """The rows of all other folds, in order."""
        return np.flatnonzero(self.fold != fold)

    def check(self, battles: Battles) -> None:
        """Make sure that these are the folds of these battles, row by row.

        Raises
        ------
        StaleError
            They are not; the message says what differs and what to do.
        """
        remedy = (
            "use the battles that they were made from, or a folder of their own for these (--workspace DIR)"
        )
        if not self.ids.equals(battles.ids):
            raise StaleError(
                f"the fold file is of other battles: {len(self)} ids there, {len(battles)} here, "
                f"{_first_difference(self.ids, battles.ids)}; {remedy}"
            )
        found = battles.digest()
        if found != self.battles_digest:
            raise StaleError(
                "the fold file is of other battles: the same ids, but texts or outcomes changed "
                f"(digest {self.battles_digest[:12]} there, {found[:12]} here); {remedy}"
            )

    def to_frame(self) -> pl.DataFrame:
        """Columns ``id``, ``fold``, ``group``: what the fold file holds."""
        return pl.DataFrame({"id": self.ids, "fold": self.fold, "group": self.group})

    def meta(self) -> dict[str, Any]:
        """Settings and digests, for the JSON beside the fold file."""
        return {name: getattr(self, name) for name in _META}

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, meta: Mapping[str, Any]) -> Folds:
        """The inverse of :meth:`to_frame` and :meth:`meta`.

        Raises
        ------
        ArtifactError
            Columns or keys are missing or of another type, or the digest is not that of the content.
        """
        remedy = "remove the fold file to make new folds"
        lacks = [name for name in _COLUMNS if name not in frame.columns] + [k for k in _META if k not in meta]
        if lacks:
            raise ArtifactError(f"the fold file lacks {', '.join(lacks)}; {remedy}")
        threshold = meta["near_duplicates"]
        typed = (
            frame.schema["id"] in (pl.Int64, pl.String)
            and all(frame.schema[name].is_integer() and not frame[name].null_count() for name in _COLUMNS[1:])
            and all(type(meta[name]) is int for name in ("n_folds", "seed"))
            and (threshold is None or type(threshold) in (int, float))
            and all(isinstance(meta[name], str) for name in ("battles_digest", "digest"))
        )
        if not typed:
            raise ArtifactError(
                f"the fold file holds values of another type than it was written with; {remedy}"
            )
        fold, group = (frame[name].cast(pl.Int64).to_numpy() for name in _COLUMNS[1:])
        try:
            folds = cls(
                frame["id"], fold, group, meta["n_folds"], meta["seed"], threshold, meta["battles_digest"]
            )
        except InputError as error:
            raise ArtifactError(f"{error}; {remedy}") from None
        if folds.digest != meta["digest"]:
            raise ArtifactError(
                f"the fold file was edited: its content has digest {folds.digest[:12]}, its card says "
                f"{meta['digest'][:12]}; {remedy}"
            )
        return folds


def make_folds(
    battles: Battles,
    n_folds: int = 5,
    seed: int = 0,
    *,
    near_duplicates: float | None = NEAR_DUPLICATES,
    store: PromptStore | None = None,
) -> Folds:
    """Fold battles so that no prompt is in two folds and outcomes are spread evenly; seeded.

    ``store`` as in `grouping`.

    Raises
    ------
    InputError
        A battle has no outcome, all have the same, or there are fewer groups than folds.
    """
    outcome = battles.outcomes()
    if not len(battles):
        raise InputError("no battles to fold")
    group = grouping(battles, near_duplicates=near_duplicates, store=store).group
    fold = stratified_group_folds(outcome, group, n_folds=n_folds, seed=seed)
    return Folds(battles.ids, fold, group, n_folds, seed, near_duplicates, battles.digest())


def _first_difference(ours: pl.Series, theirs: pl.Series) -> str:
    if ours.dtype != theirs.dtype:
        return f"of type {ours.dtype} and {theirs.dtype}"
    pairs = zip(ours.to_list(), theirs.to_list(), strict=False)
    for row, (left, right) in enumerate(pairs, start=1):
        if left != right:
            return f"first different in row {row}: {left!r} and {right!r}"
    return "equal as far as the shorter goes"
