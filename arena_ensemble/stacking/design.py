"""Everything a stacker sees of n battles, split into what a swap negates and what it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..features import Features
from ..losses import NO_TIE, gives_ties
from ..predictions import Floats, Predictions, delta_tau, from_delta_tau, normalised

Members = Mapping[str, npt.ArrayLike | Predictions]
Cells = npt.NDArray[np.int64]

_SUM_TOLERANCE = 1e-3
_CLIP = 8.0
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class Design:
    """Members in (delta, tau) and features in (odd, even), rows aligned.

    Parameters
    ----------
    delta, tau
        (n, M) each, one column a member, members in sorted order of name.
    odd, even
        (n, k) and (n, m) features; k = m = 0 without features.
    members, odd_names, even_names
        M, k and m names.
    cells, swapped_cells
        (n, J) integers each, or None: what J judges answered as categories, and what the same answers are
        called when the two responses are exchanged. Only the table of counts reads them.
    one_order, first
        Members that predicted one order only, and (n,) which response they saw first: +1 for a, -1 for b.
        None where no member is such. Only the candidates with a lean read them.
    ties
        False of a task of two outcomes: then every tau is `losses.NO_TIE`.
    """

    delta: Floats
    tau: Floats
    odd: Floats
    even: Floats
    members: tuple[str, ...]
    odd_names: tuple[str, ...]
    even_names: tuple[str, ...]
    cells: Cells | None = None
    swapped_cells: Cells | None = None
    one_order: tuple[str, ...] = ()
    first: Floats | None = None
    ties: bool = True

    def __len__(self) -> int:
        return len(self.delta)

    @cached_property
    def log_probs(self) -> Floats:
        """(M, n, 3) natural-log probabilities of each member, normalised."""
        if not self.members:
            return np.empty((0, len(self), 3))
        return np.stack([from_delta_tau(d, t) for d, t in zip(self.delta.T, self.tau.T, strict=True)])

    @property
    def n_features(self) -> int:
        """How many feature columns there are, odd and even."""
        return int(self.odd.shape[1] + self.even.shape[1])

    def take(self, rows: npt.NDArray[Any]) -> Design:
        """The given rows (indices or a mask), in the given order."""
        return Design(
            self.delta[rows],
            self.tau[rows],
            # features may be of 32 bits and lie in a file
            np.asarray(self.odd[rows], dtype=np.float64),
            np.asarray(self.even[rows], dtype=np.float64),
            self.members,
            self.odd_names,
            self.even_names,
            None if self.cells is None else self.cells[rows],
            None if self.swapped_cells is None else self.swapped_cells[rows],
            self.one_order,
            None if self.first is None else self.first[rows],
            self.ties,
        )

    def leaving_out(self, folds: Cells, out: tuple[int, ...]) -> Design:
        """The rows of the other folds, to fit on."""
        return self.take(np.flatnonzero(~np.isin(folds, out)))

    def held_out(self, folds: Cells, out: tuple[int, ...], fold: int) -> Design:
        """The rows of one of the folds ``out``, to predict by what was fitted without all of them."""
        return self.take(np.flatnonzero(folds == fold))

    def out_of_fold(self, folds: Cells) -> Design:
        """All rows, each as it looks to what was fitted without its fold."""
        return self

    def without_members(self) -> Design:
        """The features alone."""
        none = np.empty((len(self), 0))
        return Design(none, none, self.odd, self.even, (), self.odd_names, self.even_names)

    def swapped(self) -> Design:
        """What would be seen if the two responses changed places, and who saw which of them first."""
        return Design(
            -self.delta,
            self.tau,
            -self.odd,
            self.even,
            self.members,
            self.odd_names,
            self.even_names,
            self.swapped_cells,
            self.cells,
            self.one_order,
            None if self.first is None else -self.first,
            self.ties,
        )

    @property
    def lean_terms(self) -> tuple[Floats, Floats]:
        """How members of one order may lean: odd terms (n, 1 + L) of delta, even ones (n, L) of tau.

        s, s tau_m and s delta_m, s being `first`: all signs of a row change places with the responses and
        the order in which they were seen. One constant serves all, since they saw the same response first.
        """
        if self.first is None:
            return np.empty((len(self), 0)), np.empty((len(self), 0))
        columns = [self.members.index(name) for name in self.one_order]
        shown = self.first[:, None]
        delta, tau = (np.clip(part[:, columns], -_CLIP, _CLIP) for part in (self.delta, self.tau))
        return np.hstack([shown, shown * tau]), shown * delta


class DesignSource(Protocol):
    """Where rows to fit on and to predict come from: a `Design`, or inputs that are themselves learned."""

    def leaving_out(self, folds: Cells, out: tuple[int, ...]) -> Design:
        """See `Design.leaving_out`; what the rows look like was learned without the folds ``out``."""
        ...

    def held_out(self, folds: Cells, out: tuple[int, ...], fold: int) -> Design:
        """See `Design.held_out`."""
        ...

    def out_of_fold(self, folds: Cells) -> Design:
        """See `Design.out_of_fold`."""
        ...


def member_log_probs(name: str, values: npt.ArrayLike | Predictions) -> Floats:
    """One member's normalised log-probabilities (n, 3), from probabilities or from `Predictions`.

    Raises
    ------
    InputError
        Not (n, 3), NaN, infinite or negative, or a row that does not sum to 1 within 1e-3.
    """
    if isinstance(values, Predictions):
        return normalised(values.combined().log_probs)
    probs = np.asarray(values, dtype=np.float64)
    if probs.ndim != 2 or probs.shape[1] != 3:
        raise InputError(f"member {name!r} has shape {probs.shape}, expected (n, 3) probabilities A, B, tie")
    bad = ~np.isfinite(probs).all(axis=1)
    if not bad.any():
        bad = (probs < 0).any(axis=1) | (np.abs(probs.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"member {name!r} row {row + 1} is {probs[row].tolist()}: expected three probabilities that sum "
            "to 1; pass log-probabilities as Predictions"
        )
    with np.errstate(divide="ignore"):
        return normalised(np.log(probs))


def has_ties(members: Members, y: npt.NDArray[Any]) -> bool:
    """Whether a task with outcomes (n,) has ties: one was voted, or a member gives one more than 1e-15."""
    return bool((y == 2).any()) or any(
        gives_ties(member_log_probs(name, values)) for name, values in members.items()
    )


def first_signs(first: npt.ArrayLike | None, n: int) -> Floats:
    """+1 for ``"a"`` and -1 for ``"b"``, (n,); None means a first in every row.

    Raises
    ------
    InputError
        Another length, or a value that is neither.
    """
    if first is None:
        return np.ones(n)
    values = np.asarray(first)
    if values.shape != (n,):
        raise InputError(f"first has shape {values.shape}, expected ({n},)")
    bad = ~np.isin(values, ("a", "b"))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"first of row {row + 1} is {str(values[row])!r}: write 'a' or 'b', what was shown first"
        )
    return np.where(values == "a", 1.0, -1.0)


def make_design(
    members: Members,
    features: Features | None,
    *,
    n: int | None = None,
    one_order: Sequence[str] = (),
    first: npt.ArrayLike | None = None,
    ties: bool = True,
) -> Design:
    """Members and features as one `Design`.

    Parameters
    ----------
    n
        Rows expected, where known.
    one_order, first
        Members that predicted one order only, and what they saw first, see `first_signs`.
    ties
        Whether a tie can be voted; where not, what members predict of ties is left out.

    Raises
    ------
    InputError
        Neither members nor features, rows that differ between them, members whose ids differ, a feature
        that is not finite, or a member of one order that is not there or predicted both.
    """
    names = tuple(sorted(members))
    if not names and (features is None or features.odd.shape[1] + features.even.shape[1] == 0):
        raise InputError("nothing to stack: give at least one member or some features")
    columns = [delta_tau(member_log_probs(name, members[name])) for name in names]
    if not ties:
        columns = [(delta, np.full(len(delta), NO_TIE)) for delta, _ in columns]
    lengths = {name: len(column[0]) for name, column in zip(names, columns, strict=True)}
    if features is not None:
        lengths["features"] = len(features)
    if n is not None:
        lengths["outcomes"] = n
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"rows differ: {counts}; align everything by id first")
    with_ids = [(name, values) for name in names if isinstance(values := members[name], Predictions)]
    for name, values in with_ids[1:]:
        if not values.ids.equals(with_ids[0][1].ids):
            raise InputError(f"members {with_ids[0][0]!r} and {name!r} hold other ids or another order")
    rows = next(iter(lengths.values()))
    if features is not None and not (_all_finite(features.odd) and _all_finite(features.even)):
        raise InputError("features hold a value that is not finite")
    marked = _checked_one_order(members, one_order)
    empty = np.empty((rows, 0))
    return Design(
        delta=np.stack([delta for delta, _ in columns], axis=1) if columns else empty,
        tau=np.stack([tau for _, tau in columns], axis=1) if columns else empty,
        odd=empty if features is None else features.odd,
        even=empty if features is None else features.even,
        members=names,
        odd_names=() if features is None else tuple(features.odd_names),
        even_names=() if features is None else tuple(features.even_names),
        one_order=marked,
        first=first_signs(first, rows) if marked else None,
        ties=ties,
    )


def _all_finite(values: Floats) -> bool:
    """By some rows at a time: the table may lie in a file."""
    parts = range(0, len(values), _BLOCK_ROWS)
    return all(bool(np.isfinite(values[start : start + _BLOCK_ROWS]).all()) for start in parts)


def _checked_one_order(members: Members, one_order: Sequence[str]) -> tuple[str, ...]:
    for name in one_order:
        if name not in members:
            raise InputError(f"one_order names {name!r}; name members among {', '.join(sorted(members))}")
        values = members[name]
        if isinstance(values, Predictions) and values.swap_log_probs is not None:
            raise InputError(f"member {name!r} predicted both orders; leave it out of one_order")
    return tuple(sorted(set(one_order)))
