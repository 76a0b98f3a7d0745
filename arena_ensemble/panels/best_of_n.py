"""Which of N answers is best: a conditional logit over what judges scored each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold

from ..errors import InputError
from ..judgements import AnswerScores
from ..losses import Floats, standard_error
from ..metrics import paired_difference
from .choice_model import (
    INNER,
    Codes,
    Rows,
    choice_log_probs,
    chosen_ridge,
    columns_of,
    features,
    item_codes,
    penalties,
    scales,
    solve_choice,
    tied_top,
    ties_score,
)

_LIGHT: float = 1.0
PANEL = "panel"


@dataclass(frozen=True)
class ChoiceRow:
    """One way to choose, scored out of fold."""

    name: str
    log_loss: float
    se: float
    accuracy: float
    """share of items whose best answer is found; it counts 1/k where it is among k answers tied for the top,
    as in RewardBench 2; of several best answers, their share of those tied"""
    accuracy_se: float
    difference: float
    """of log-loss to the panel's"""
    difference_se: float
    ties: float | None = None
    """RewardBench 2's score of its subset Ties, where its items are there"""


class BestOfN(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """P(answer is the best of its item), from judges' scores of each answer.

    The utility of an answer is a weighted sum of each judge's score against the item's mean, on the judge's
    own scale and of the same saturated (tanh); the choice follows from utilities by a softmax over the item's
    answers (McFadden's conditional logit; the first place of a Plackett-Luce ranking). Exchanging answers
    exchanges probabilities; for two answers it is the logistic form. Where several answers are best, each is
    the target by its share of the vote. An answer that a judge did not score stands at the item's mean for
    that judge. Weights are shrunk to those of a pool of all judges alike, by a ridge that inner folds choose.

    Parameters
    ----------
    n_folds, random_state
        Folds of items, for the table's scores.

    Attributes
    ----------
    table_ : list of `ChoiceRow`
        Uniform, each judge alone, the mean of standardised scores, the panel; all out of fold.
    oof_log_proba_ : (n,) array
        Out-of-fold log-probability of each answer; NaN in items without a vote.
    candidate_oof_ : dict
        Row of the table → the same of that way to choose.
    answers_ : tuple of str
        Names of every item's answers, where they are the same throughout; else empty.
    weights_ : dict
        Judge → weights of its score and of the saturated one.
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
            Item → name of its best answer, or answer → share of the vote (shares sum to 1); items without
            one are only left out.
        groups
            Item → group, of items that must stay in one fold.

        Raises
        ------
        InputError
            An item's best answer is not among its answers, or there are fewer items than folds.
        """
        rows, share = _labelled(scores, best)
        codes = item_codes(scores.items[rows].to_list())
        count = int(codes.max(initial=-1)) + 1
        if count < max(self.n_folds, 2 * INNER):
            raise InputError(f"{count} items with a best answer; give at least {2 * INNER}")
        part = scores.take(rows)
        share = share[rows]
        first = np.unique(codes, return_index=True)[1]
        items = [part.items[int(row)] for row in first]
        keys = np.arange(count) if groups is None else item_codes([groups[item] for item in items])
        names = ["uniform", *scores.judges, "mean of judges", PANEL]
        out = np.empty((len(rows), len(names)))
        folds = GroupKFold(
            min(self.n_folds, len(np.unique(keys))), shuffle=True, random_state=self.random_state
        )
        self.folds_ = np.full(len(scores), -1)
        without = {name: np.empty(len(rows)) for name in scores.judges if len(scores.judges) > 1}
        for fold, (train, held) in enumerate(folds.split(keys, groups=keys)):
            learned, wanted = np.isin(codes, train), np.isin(codes, held)
            self.folds_[rows[wanted]] = fold
            scale = scales(part.take(np.flatnonzero(learned)), codes[learned])
            x = features(part, scale, codes)
            seen = _Fold(x, codes, share, learned, wanted, len(scores.judges))
            for place in range(len(names) - 2):
                out[wanted, place] = seen.alone([place - 1] if place else [])
            out[wanted, -2] = seen.pool()
            ridge = chosen_ridge(x[learned], codes[learned], share[learned], keys[train], self.random_state)
            everyone = list(range(len(scores.judges)))
            out[wanted, -1] = seen.panel(everyone, ridge)
            for k, name in enumerate(scores.judges):
                if name in without:
                    without[name][wanted] = seen.panel([j for j in everyone if j != k], ridge)
        self.table_ = choice_table(names, out, items, codes, share, keys)
        self.without_ = _without(without, out[:, -1], codes, share, keys)
        self.candidate_oof_ = {name: _spread(out[:, k], rows, len(scores)) for k, name in enumerate(names)}
        self.oof_log_proba_ = self.candidate_oof_[PANEL]
        self.judges_ = scores.judges
        self.answers_ = scores.same_answers
        self.scales_ = scales(part, codes)
        x = features(part, self.scales_, codes)
        self.ridge_ = chosen_ridge(x, codes, share, keys, self.random_state)
        self.coef_ = solve_choice(x, codes, share, penalties(x.shape[1], self.ridge_))
        return self

    @property
    def weights_(self) -> dict[str, tuple[float, float]]:
        """Judge → weights of its standardised score and of the saturated one.

        The weight that the pool of all judges has is shared out among their standardised scores.
        """
        count = len(self.judges_)
        linear, soft = self.coef_[: 2 * count].reshape(2, count)
        linear = linear + self.coef_[-1] / count
        return {name: (float(linear[k]), float(soft[k])) for k, name in enumerate(self.judges_)}

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
        codes = item_codes(scores.items.to_list())
        return choice_log_probs(features(scores, self.scales_, codes) @ self.coef_, codes)

    def predict_proba(self, scores: AnswerScores) -> Floats:
        """(n,) probabilities, see `predict_log_proba`."""
        return np.asarray(np.exp(self.predict_log_proba(scores)))


@dataclass(frozen=True, eq=False)
class _Fold:
    """Features, targets, and which rows one fold learns from and predicts."""

    x: Floats
    codes: Codes
    share: Floats
    learned: Rows
    wanted: Rows
    judges: int

    def _held(self, x: Floats, ridge: float | Floats) -> Floats:
        weights = solve_choice(x[self.learned], self.codes[self.learned], self.share[self.learned], ridge)
        return choice_log_probs(x[self.wanted] @ weights, self.codes[self.wanted])

    def alone(self, judges: Sequence[int]) -> Floats:
        """A few judges, lightly shrunk; none: uniform."""
        return self._held(self.x[:, columns_of(judges, self.judges)], _LIGHT)

    def pool(self) -> Floats:
        """The mean of the standardised scores, on one scale."""
        return self._held(self.x[:, -1:], _LIGHT)

    def panel(self, judges: Sequence[int], ridge: float) -> Floats:
        """Some of the judges, shrunk to their pool."""
        pool = self.x[:, list(judges)].mean(axis=1, keepdims=True)
        x = np.concatenate([self.x[:, columns_of(judges, self.judges)], pool], axis=1)
        return self._held(x, penalties(x.shape[1], ridge))


def _spread(values: Floats, rows: Codes, n: int) -> Floats:
    found = np.full(n, np.nan)
    found[rows] = values
    return found


def _labelled(scores: AnswerScores, best: Mapping[Any, Any]) -> tuple[Codes, Floats]:
    """Rows of the items with a vote, and (n,) share of the vote of every answer."""
    table = {str(item): value if isinstance(value, Mapping) else {value: 1.0} for item, value in best.items()}
    share = np.zeros(len(scores))
    names = [str(item) for item in scores.items.to_list()]
    kept = np.array([name in table for name in names], dtype=bool)
    there = set(names)
    wanted = [(item, answer) for item in table if item in there for answer in table[item]]
    rows = scores.rows_of(
        pl.Series([item for item, _ in wanted], dtype=pl.String),
        pl.Series([str(answer) for _, answer in wanted], dtype=pl.String),
        as_text=True,
    )
    if (lost := np.flatnonzero(rows < 0)).size:
        item, answer = wanted[int(lost[0])]
        raise InputError(
            f"item {item!r}: its best answer {answer!r} is none of its answers; name one of them"
        )
    share[rows] = [float(table[item][answer]) for item, answer in wanted]
    return np.flatnonzero(kept), share


def choice_table(
    names: Sequence[str], out: Floats, items: Sequence[Any], codes: Codes, share: Floats, keys: Codes
) -> list[ChoiceRow]:
    """A row for each column of (n, k) log-probabilities, against the last one."""
    losses = _losses(out, codes, share)
    ties = np.bincount(codes, weights=share > 0) > 1
    named = [str(items[code]) for code in codes]
    rows = []
    for k, name in enumerate(names):
        credit = np.asarray(
            np.bincount(codes, weights=tied_top(out[:, k], codes) * (share > 0)), dtype=np.float64
        )
        difference = paired_difference(losses[:, k], losses[:, -1], keys)
        rows.append(
            ChoiceRow(
                name,
                float(losses[:, k].mean()),
                standard_error(losses[:, k], keys),
                float(credit.mean()),
                standard_error(credit, keys),
                difference.mean,
                difference.se,
                ties_score(named, out[:, k], share > 0) if ties.any() else None,
            )
        )
    return rows


def _losses(out: Floats, codes: Codes, share: Floats) -> Floats:
    """(items, k) cross-entropy with the shares of the vote."""
    found = np.zeros((int(codes.max()) + 1, out.shape[1]))
    np.add.at(found, codes, -share[:, None] * np.where(share[:, None] > 0, out, 0.0))
    return found


def _without(
    without: Mapping[str, Floats], panel: Floats, codes: Codes, share: Floats, keys: Codes
) -> dict[str, tuple[float, float]]:
    """Judge → what the panel's loss gains by it, and the standard error of that."""
    found = {}
    whole = _losses(panel[:, None], codes, share)[:, 0]
    for name, values in without.items():
        less = paired_difference(_losses(values[:, None], codes, share)[:, 0], whole, keys)
        found[name] = (less.mean, less.se)
    return found
