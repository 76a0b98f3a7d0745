"""Which of N answers is best: a conditional logit over what judges scored each answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.optimize import minimize
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold

from ..errors import InputError
from ..judgements import AnswerScores
from ..losses import Floats, standard_error
from ..metrics import paired_difference

_RIDGES: Final = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""penalties that inner folds choose among, in items"""
_INNER: Final = 4


@dataclass(frozen=True)
class ChoiceRow:
    """One way to choose, scored out of fold."""

    name: str
    log_loss: float
    se: float
    accuracy: float
    """a tie for the top among k answers, the best among them, counts 1/k (as in RewardBench 2)"""
    difference: float
    """of log-loss to the panel's"""
    difference_se: float


class BestOfN(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """P(answer is the best of its item), from judges' scores of each answer.

    The utility of an answer is a weighted sum of each judge's score against the item's mean, on the judge's
    own scale, and of the same saturated (tanh); the choice follows from utilities by a softmax over the
    item's answers (McFadden's conditional logit; the first place of a Plackett-Luce ranking). Exchanging
    answers exchanges probabilities; for two answers it is the logistic form. An answer that a judge did not
    score stands at the item's mean for that judge. Weights are shrunk to zero by a ridge that inner folds
    choose.

    Parameters
    ----------
    n_folds, random_state
        Folds of items, for the table's scores.

    Attributes
    ----------
    table_ : list of `ChoiceRow`
        Uniform, each judge alone, the mean of standardised scores, the panel; all out of fold.
    oof_log_proba_ : (n,) array
        Out-of-fold log-probability of each answer.
    weights_ : dict
        Judge → (linear, saturated) weight.
    """

    def __init__(self, n_folds: int = 5, random_state: int = 0) -> None:
        self.n_folds = n_folds
        self.random_state = random_state

    def fit(
        self, scores: AnswerScores, best: Mapping[Any, Any], groups: Mapping[Any, Any] | None = None
    ) -> Self:
        """Learn from the best answer of each item.

        Parameters
        ----------
        best
            Item → name of its best answer; items without one are only left out.
        groups
            Item → group, of items that must stay in one fold.

        Raises
        ------
        InputError
            An item's best answer is not among its answers, or there are fewer items than folds.
        """
        items, codes, right = _labelled(scores, best)
        if len(items) < max(self.n_folds, 2 * _INNER):
            raise InputError(f"{len(items)} items with a best answer; give at least {2 * _INNER}")
        rows = np.flatnonzero(codes >= 0)
        part = scores.take(rows)
        codes = codes[rows]
        where = np.array([k for k, row in enumerate(rows) if row in right])
        keys = np.arange(len(items)) if groups is None else _codes([groups[item] for item in items])
        out = np.empty((len(rows), 0))
        names = ["uniform", *scores.judges, "mean of judges", "panel"]
        columns = [[] if k == 0 else [k - 1] for k in range(len(scores.judges) + 1)]
        out = np.empty((len(rows), len(names)))
        folds = GroupKFold(
            min(self.n_folds, len(np.unique(keys))), shuffle=True, random_state=self.random_state
        )
        for train, held in folds.split(keys, groups=keys):
            learned, wanted = np.isin(codes, train), np.isin(codes, held)
            scale = _scales(part.take(np.flatnonzero(learned)))
            x = _features(part, scale, codes)
            for place, judges in enumerate(columns):
                out[wanted, place] = _one(x, judges, len(scores.judges), codes, learned, wanted, where)
            mean = x[:, : len(scores.judges)].mean(axis=1, keepdims=True)
            out[wanted, -2] = _one(mean, [0], 1, codes, learned, wanted, where)
            weights = _chosen(
                x[learned], codes[learned], _inside(learned, where), keys[train], self.random_state
            )
            out[wanted, -1] = _log_probs(x[wanted] @ weights, codes[wanted])
        self.table_ = _table(names, out, codes, where, keys)
        self.oof_log_proba_ = np.full(len(scores), np.nan)
        self.oof_log_proba_[rows] = out[:, -1]
        self.judges_ = scores.judges
        self.scales_ = _scales(part)
        x = _features(part, self.scales_, codes)
        self.coef_ = _chosen(x, codes, where, keys, self.random_state)
        return self

    @property
    def weights_(self) -> dict[str, tuple[float, float]]:
        """Judge → weights of its standardised score and of the saturated one."""
        half = len(self.judges_)
        return {
            name: (float(self.coef_[k]), float(self.coef_[half + k])) for k, name in enumerate(self.judges_)
        }

    def predict_log_proba(self, scores: AnswerScores) -> Floats:
        """(n,) log-probability of each answer to be its item's best; they sum to one within an item.

        Raises
        ------
        NotFittedError, InputError
            Before `fit`; or the judges are others than at fitting.
        """
        if not hasattr(self, "coef_"):
            raise NotFittedError("BestOfN: call fit first")
        if scores.judges != self.judges_:
            raise InputError(
                f"judges {', '.join(scores.judges)}; fitted on {', '.join(self.judges_)}: "
                "give the same in this order"
            )
        codes = _codes(scores.items.to_list())
        return _log_probs(_features(scores, self.scales_, codes) @ self.coef_, codes)

    def predict_proba(self, scores: AnswerScores) -> Floats:
        """(n,) probabilities, see `predict_log_proba`."""
        return np.asarray(np.exp(self.predict_log_proba(scores)))


def _codes(values: list[Any]) -> npt.NDArray[np.int64]:
    places = {value: k for k, value in enumerate(dict.fromkeys(values))}
    return np.array([places[value] for value in values], dtype=np.int64)


def _labelled(
    scores: AnswerScores, best: Mapping[Any, Any]
) -> tuple[list[Any], npt.NDArray[np.int64], set[int]]:
    """Items with a best answer, each row's place among them (-1: none), and the rows of best answers."""
    items = [item for item in dict.fromkeys(scores.items.to_list()) if item in best]
    wanted = pl.DataFrame({"item": items, "answer": [best[item] for item in items]})
    rows = scores.rows_of(
        wanted["item"].cast(scores.items.dtype), wanted["answer"].cast(scores.answers.dtype)
    )
    if (lost := np.flatnonzero(rows < 0)).size:
        item = items[int(lost[0])]
        raise InputError(
            f"item {item!r}: its best answer {best[item]!r} is none of its answers; name one of them"
        )
    places = {item: k for k, item in enumerate(items)}
    codes = np.array([places.get(item, -1) for item in scores.items.to_list()], dtype=np.int64)
    return items, codes, set(rows.tolist())


def _scales(scores: AnswerScores) -> Floats:
    """(J,) spread of each judge's scores around the mean of their item; 1 where it has none."""
    codes = _codes(scores.items.to_list())
    centred = _centred(scores.mean, codes)
    with np.errstate(invalid="ignore"):
        found = np.sqrt(np.nanmean(np.where(np.isnan(scores.mean), np.nan, centred**2), axis=0))
    return np.where(np.isfinite(found) & (found > 0), found, 1.0)


def _centred(values: Floats, codes: npt.NDArray[np.int64]) -> Floats:
    """(n, J) scores less the mean of their item's known ones; 0 where a score is missing."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    counts, sums = np.zeros((codes.max() + 1, values.shape[1])), np.zeros((codes.max() + 1, values.shape[1]))
    np.add.at(counts, codes, known)
    np.add.at(sums, codes, filled)
    means = sums / np.maximum(counts, 1)
    return np.where(known, values - means[codes], 0.0)


def _features(scores: AnswerScores, scales: Floats, codes: npt.NDArray[np.int64]) -> Floats:
    """(n, 2 J): standardised scores around their item's mean, then the same saturated."""
    z = _centred(scores.mean, codes) / scales
    return np.concatenate([z, np.tanh(z)], axis=1)


def _one(x: Floats, judges: list[int], count: int, codes: npt.NDArray[np.int64],
         learned: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_],
         where: npt.NDArray[np.int64]) -> Floats:  # fmt: skip
    """Held-out log-probabilities of a few judges, lightly shrunk; of none: uniform."""
    columns = [*judges, *([k + count for k in judges] if x.shape[1] > count else [])]
    part = x[:, columns]
    weights = _solve(part[learned], codes[learned], _inside(learned, where), 1.0)
    return _log_probs(part[wanted] @ weights, codes[wanted])


def _inside(rows: npt.NDArray[np.bool_], where: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Places of the best answers among the chosen rows."""
    return (np.cumsum(rows) - 1)[where[rows[where]]]


def _log_probs(utility: Floats, codes: npt.NDArray[np.int64]) -> Floats:
    """(n,) utilities less the log-sum-exp of their item."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    return _less_total(utility, order, starts)


def _less_total(utility: Floats, order: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> Floats:
    """The same for rows whose items stand together in ``order``, from ``starts`` on."""
    totals = np.logaddexp.reduceat(utility[order], starts)
    out = np.empty(len(utility))
    out[order] = utility[order] - np.repeat(totals, np.diff(np.r_[starts, len(order)]))
    return out


def _solve(x: Floats, codes: npt.NDArray[np.int64], where: npt.NDArray[np.int64], ridge: float) -> Floats:
    """Weights of least negative log-likelihood plus ``ridge / 2`` times their squares."""
    if not x.shape[1]:
        return np.zeros(0)

    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])

    def objective(weights: Floats) -> tuple[float, Floats]:
        log_probs = _less_total(x @ weights, order, starts)
        gradient = x.T @ np.exp(log_probs) - x[where].sum(axis=0) + ridge * weights
        return float(-log_probs[where].sum() + ridge / 2 * weights @ weights), gradient

    found = minimize(objective, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"gtol": 1e-8})
    return np.asarray(found.x, dtype=np.float64)


def _chosen(x: Floats, codes: npt.NDArray[np.int64], where: npt.NDArray[np.int64],
            keys: npt.NDArray[np.int64], seed: int) -> Floats:  # fmt: skip
    """Weights with the ridge of least loss over inner folds of items."""
    items = np.unique(codes)
    losses = np.zeros(len(_RIDGES))
    folds = GroupKFold(min(_INNER, len(np.unique(keys))), shuffle=True, random_state=seed)
    for train, held in folds.split(items, groups=keys):
        learned, wanted = np.isin(codes, items[train]), np.isin(codes, items[held])
        for k, ridge in enumerate(_RIDGES):
            weights = _solve(x[learned], codes[learned], _inside(learned, where), ridge)
            losses[k] -= _log_probs(x[wanted] @ weights, codes[wanted])[_inside(wanted, where)].sum()
    return _solve(x, codes, where, _RIDGES[int(losses.argmin())])


def _table(names: list[str], out: Floats, codes: npt.NDArray[np.int64], where: npt.NDArray[np.int64],
           keys: npt.NDArray[np.int64]) -> list[ChoiceRow]:  # fmt: skip
    item = codes[where]
    losses = -out[where]
    clusters = keys[item]
    rows = []
    for k, name in enumerate(names):
        top = np.full(int(codes.max()) + 1, -np.inf)
        np.maximum.at(top, codes, out[:, k])
        tied = np.isclose(out[:, k], top[codes], rtol=0, atol=1e-12)
        ties = np.bincount(codes, weights=tied, minlength=len(top))
        credit = tied[where] / ties[item]
        difference = paired_difference(losses[:, k], losses[:, -1], clusters)
        rows.append(
            ChoiceRow(
                name,
                float(losses[:, k].mean()),
                standard_error(losses[:, k], clusters),
                float(credit.mean()),
                difference.mean,
                difference.se,
            )
        )
    return rows
