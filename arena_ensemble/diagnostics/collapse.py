"""The collapse alarm: signs that a member has learned nothing, or that its rows or columns are mixed up.

Random heads after a reload, a verdict taken from the wrong token, one class for every row: each of these
still prints a loss and writes a valid file, and each cost someone days. So every member is held against the
class prior, by tests that know how many rows there are. NumPy alone: the training loop asks too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..losses import (
    Floats,
    accuracy,
    best_beta,
    finite,
    group_codes,
    log_loss,
    row_losses,
    standard_error,
    tie_aside,
)

NAMES: Final = ("A", "B", "tie")
ONE_CLASS: Final = 0.95
"""Share of the rows from which one class counts as given to nearly all."""
SIGMAS: Final = 3.0
"""Standard errors from which a difference counts: by chance one test in 740 passes it. An honest member's
loss lies *below* the prior's, and losses have their long tail above, so with those it is rarer still."""
CLEARLY_BETTER: Final = 2.0
"""Standard errors below the prior from which a member is taken to know something."""
WORTHWHILE: Final = 0.02
"""Nats below the prior from which a member is worth having; good ones gain 0.03 to 0.1 on real votes."""
_CHANCE: Final = 0.5 * math.erfc(SIGMAS / math.sqrt(2))
_FEWEST_GROUPS: Final = 5
"""Below, a standard error says nothing."""
_CONSTANT: Final = 1e-9

_TRAINED: Final = {
    "one class": "a learning rate too high or too low, too few steps, a head that was not trained, a verdict "
    "cue cut off, or (generation head) verdict words that the base hardly tells apart",
    "loss": "over-fitting (fewer epochs, a smaller learning rate), another template at prediction than in "
    "training, a head that was not loaded",
}
_EXTERNAL: Final = {
    "one class": "columns exchanged, a model that was not trained, or a verdict taken from the wrong token",
    "loss": "rows in another order than the ids, columns exchanged, or logits given as probabilities",
}


@dataclass(frozen=True)
class CollapseReport:
    """``alarms``: something is wrong. ``notes``: nothing can be said yet. Each is one sentence."""

    alarms: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def prediction_summary(
    log_probs: Floats, y: npt.NDArray[np.int64], prior: Floats | None = None
) -> dict[str, Any]:
    """Predicted-class shares, mean entropy (nats), accuracy, log-loss and the prior's, for cards.

    Parameters
    ----------
    log_probs, prior
        (n, 3) natural-log probabilities of the member and of the class prior; None: the shares of ``y``.
    y
        (n,) outcomes in {0, 1, 2}, n > 0.
    """
    prior = _shares_of(y) if prior is None else prior
    shares = np.bincount(log_probs.argmax(axis=1), minlength=3) / len(y)
    entropy = -(np.exp(log_probs) * np.maximum(log_probs, -50.0)).sum(axis=1).mean()
    return {
        "predicted_shares": dict(zip(NAMES, shares.round(4).tolist(), strict=True)),
        "mean_entropy": float(entropy),
        "accuracy": accuracy(log_probs, y),
        "log_loss": log_loss(log_probs, y),
        "prior_log_loss": log_loss(prior, y),
    }


def collapse_warnings(
    log_probs: Floats,
    y: npt.NDArray[np.int64],
    prior: Floats | None = None,
    groups: npt.ArrayLike | None = None,
    *,
    external: bool = False,
) -> CollapseReport:
    """What is wrong with these predictions, in words; empty when nothing is.

    Parameters
    ----------
    log_probs
        (n, 3) natural-log probabilities, of rows that the member was not trained on.
    y
        (n,) outcomes in {0, 1, 2}.
    prior
        (n, 3) natural-log probabilities of the class prior, best that of the other folds; None: the shares
        of ``y`` itself.
    groups
        (n,) groups that standard errors are clustered by; None: every row is its own.
    external
        Whether another tool made the predictions: the likely causes are others then.

    Notes
    -----
    Two rules, at any number of rows.

    One class: the likeliest class is the same in 95 % of the rows or more; the votes give it far less often
    (a binomial test with as many trials as there are groups; chance below 0.00135). A member that says A in
    20 rows, 18 of them voted A, passes. A small member that stays near the prior for want of rows is only
    noted, so one of three must hold beside: all rows have the same probabilities; the class's mean
    probability lies above its share of the votes by three standard errors; or the rows rule out, at three
    standard errors, that the log-loss lies below the prior's by 0.02 nats or more.

    Loss: the log-loss lies above the prior's by more than three clustered standard errors of the paired
    difference (Student's quantile where groups are few), *and* no temperature mends that: at its best one it
    is still not below the prior by two. An over-confident member that knows something is mended by the
    pipeline's temperature, and only noted.
    """
    if not len(y):
        return CollapseReport()
    causes = _EXTERNAL if external else _TRAINED
    codes = group_codes(groups, len(y))
    baseline = row_losses(_shares_of(y) if prior is None else prior, y)
    paired = _Paired.of(row_losses(log_probs, y) - baseline, codes)
    sentence, certain = _one_class(log_probs, y, codes)
    alarms, notes = [], []
    if sentence and (certain or paired.limit - paired.mean < WORTHWHILE):
        alarms.append(f"{sentence}; likely causes: {causes['one class']}")
    elif sentence:
        notes.append(f"{sentence}, but its probabilities stay near the votes' shares or follow the votes")
    loss, prior_loss = paired.mean + baseline.mean(), baseline.mean()
    figures = (
        f"has a log-loss of {loss:.4f} (± {paired.error:.4f} against the class prior's {prior_loss:.4f})"
    )
    if paired.mean > paired.limit:
        beta = best_beta(log_probs, y)
        refined = _Paired.of(row_losses(_sharpened(tie_aside(log_probs, y), beta), y) - baseline, codes)
        if refined.mean > -CLEARLY_BETTER * refined.error:
            what = "worse than the class prior, and no temperature mends it"
            alarms.append(f"{figures}, {what}; likely causes: {causes['loss']}")
        else:
            notes.append(
                f"{figures}, worse than the class prior, for being too sure of itself: at temperature "
                f"{1 / beta:.3g} it is {-refined.mean:.4f} below the prior"
            )
    elif not alarms and not paired.mean <= -CLEARLY_BETTER * paired.error:
        what = "not clearly better than the class prior: too few rows to tell, or nothing learned"
        notes.append(f"{figures}, {what}")
    return CollapseReport(alarms, notes)


@dataclass(frozen=True)
class _Paired:
    """Mean of differences of losses, its clustered standard error, and what counts as clearly above 0."""

    mean: float
    error: float
    limit: float

    @classmethod
    def of(cls, differences: Floats, codes: npt.NDArray[np.int64]) -> _Paired:
        count = int(codes.max()) + 1
        error = standard_error(differences, codes)
        limit = _quantile(SIGMAS, count - 1) * error if count >= _FEWEST_GROUPS else math.inf
        return cls(float(differences.mean()), error, limit)


def _shares_of(y: npt.NDArray[np.int64]) -> Floats:
    """Log class frequencies (n, 3) of the outcomes themselves; an absent class has probability 1e-15."""
    shares = np.bincount(y, minlength=3) / len(y)
    return np.tile(np.log(np.maximum(shares, 1e-15)), (len(y), 1))


def _sharpened(log_probs: Floats, beta: float) -> Floats:
    scaled = beta * finite(log_probs)
    return np.asarray(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True), dtype=np.float64)


def _one_class(log_probs: Floats, y: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> tuple[str, bool]:
    """A sentence where nearly all rows get one class and the votes do not, else ""; whether it is certain."""
    n, groups = len(y), int(codes.max()) + 1
    # likeliest in so many rows; of classes that share that, the one with most votes, whatever their order
    given = (log_probs >= log_probs.max(axis=1, keepdims=True)).sum(axis=0)
    votes = np.bincount(y, minlength=3)
    top = int(np.lexsort((votes, given))[-1])
    if given[top] < ONE_CLASS * n:
        return "", False
    share, voted = given[top] / n, float((y == top).mean())
    # one vote more of each class: a class that nobody voted for is not impossible
    chance = _binomial_tail(round(groups * share), groups, (voted * groups + 1) / (groups + 3))
    if chance > _CHANCE:
        return "", False
    probs = np.exp(log_probs)
    if float(np.ptp(probs, axis=0).max()) < _CONSTANT:
        return "gives every row the same probabilities", True
    excess = probs[:, top] - (y == top)
    certain = excess.mean() > _quantile(SIGMAS, groups - 1) * standard_error(excess, codes)
    sentence = (
        f"gives the class {NAMES[top]} to {share:.1%} of the rows, while {voted:.1%} of the votes are so"
    )
    return sentence, bool(certain)


def _binomial_tail(successes: int, trials: int, p: float) -> float:
    """Probability of that many successes or more."""
    k = np.arange(successes, trials + 1)
    choose = [math.lgamma(trials + 1) - math.lgamma(i + 1) - math.lgamma(trials - i + 1) for i in k.tolist()]
    logs = np.asarray(choose) + k * math.log(p) + (trials - k) * math.log1p(-p)
    return float(min(1.0, np.exp(np.logaddexp.reduce(logs)))) if len(k) else 0.0


def _quantile(sigmas: float, freedom: int) -> float:
    """Student's quantile where the normal one is ``sigmas`` (Abramowitz and Stegun 1964, 26.7.5)."""
    z, v = sigmas, float(freedom)
    return z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
