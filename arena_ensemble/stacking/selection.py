"""The choice between candidates, made on rows that none of their fits saw, and how it is applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from ..calibration import Temperature, fit_temperature
from ..metrics import Labels, bootstrap_means, row_losses, standard_error
from ..predictions import Floats, delta_tau, from_delta_tau
from .base import Candidate, PathIndex, at_index, best_index, to_log_probs
from .pool_weights import geometric_weights
from .pooling import TEMPERATURE_ROWS

RESAMPLES: Final = 200
MIN_FREQUENCY: Final = 0.03
"""Candidates of smaller weight are left out: they would cost fits for next to nothing."""
FEW_ROWS: Final = (1_000, 2_000)
"""Up to the first number of rows candidates are averaged, from the second one is chosen (and bagged)."""

UNFITTED_ROWS: Final = 60
UNFITTED_SHARE: Final = 0.2
"""Where candidates are averaged, those that fit nothing weigh min(share, rows / n) before any evidence: what
the others lose by fitting falls as 1 / n."""

FAVOURED_ROWS: Final = 120
FAVOURED_SHARE: Final = 2 / 3
"""The same for candidates that are favoured; both shares were chosen on simulated files, docs/log.md."""

Groups = Sequence[int] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Blend:
    """A geometric blend of other candidates: equal weights, or non-negative ones of least log-loss."""

    name: str
    parts: tuple[str, ...]
    learned: bool
    pull_rows: float = 50.0
    """Ridge of learned weights toward equal ones, in rows."""


@dataclass(frozen=True)
class CandidateSet:
    """What may be chosen: fitted candidates and blends of them, simplest first."""

    candidates: tuple[Candidate, ...]
    blends: tuple[Blend, ...]
    order: tuple[str, ...]
    """Names from the simplest to the richest; candidates not listed serve only in blends or as baselines."""
    unfitted: frozenset[str] = frozenset()
    """Those that predict as a member does, without a fitted parameter: they need no evidence."""
    leaning: Mapping[str, str] = field(default_factory=dict)
    """Candidate with a lean → the equivariant one that it has to beat by more than a standard error."""
    favoured: frozenset[str] = frozenset()
    """Those that choose their own shrinkage and are trusted most where rows are few, see `FAVOURED_SHARE`."""

    def candidate(self, name: str) -> Candidate:
        """The candidate of that name."""
        return next(one for one in self.candidates if one.name == name)

    @property
    def predicts_tie_logit(self) -> dict[str, bool]:
        """Candidate → what its paths hold, see `Candidate.predicts_tie_logit`."""
        return {candidate.name: candidate.predicts_tie_logit for candidate in self.candidates}


@dataclass(frozen=True)
class Decision:
    """What was learned from out-of-fold paths: path indices, 1/temperatures, blend weights, the choice."""

    path_index: dict[str, PathIndex]
    betas: dict[str, float]
    """Candidate → beta = 1 / temperature."""
    blend_weights: dict[str, dict[str, float]]
    """Blend → the candidates in it and their weights."""
    selection_frequency: dict[str, float]
    """Candidate → share of the resamples that chose it, or its averaged weight; they sum to one."""
    losses: dict[str, float]

    @property
    def choice(self) -> str:
        """The candidate of most weight."""
        return max(self.selection_frequency, key=lambda name: self.selection_frequency[name])

    def parts(self, name: str | None = None) -> tuple[str, ...]:
        """The fitted candidates that a candidate or blend (default: all that were chosen) needs."""
        targets = self.selection_frequency if name is None else (name,)
        return tuple(dict.fromkeys(part for one in targets for part in self.blend_weights.get(one, (one,))))


def averaging_share(rows: int) -> float:
    """How far candidates are averaged rather than chosen: 1 on few rows, 0 on many, linear in between."""
    few, many = FEW_ROWS
    return float(np.clip((many - rows) / (many - few), 0.0, 1.0))


def decide(
    candidates: CandidateSet,
    paths: Mapping[str, Floats],
    y: Labels,
    groups: Groups,
    *,
    tolerance: float,
    repeats: int = 1,
    averaging: float = 0.0,
) -> Decision:
    """Tune, sharpen, blend and choose, all on these out-of-fold paths.

    In each resample of the groups the simplest candidate is taken whose loss exceeds the least by no
    more than ``tolerance`` paired standard errors (clustered by group; 1 is the usual rule of Breiman
    et al. 1984); what predicts is the geometric mean of the candidates by how often each was taken
    (bagging of the choice, Breiman 1996), which lowers the regret of a single choice: docs/log.md.

    With few labels no rule can tell near-equal candidates apart. There the weights are bootstrapped
    pseudo-Bayesian ones (after Yao et al. 2018, Bayesian Analysis 13:917-1007): in each resample
    proportional to ``exp(-t^2 / 2)``, t being how many paired standard errors a candidate is behind the best,
    times `prior_weights`.

    Parameters
    ----------
    paths
        Candidate → (V, n, 2), of rows that its fit did not see.
    y, groups
        (n,) outcomes and groups.
    repeats
        How often each battle is among the n rows, predicted by fits on other folds each time.
    averaging
        Share in [0, 1] of the averaged weights, the rest goes by frequency of choice; see `averaging_share`.
    """
    path_index: dict[str, PathIndex] = {}
    betas: dict[str, float] = {}
    log_probs: dict[str, Floats] = {}
    for candidate in candidates.candidates:
        name = candidate.name
        if name in paths:
            path_index[name], betas[name], log_probs[name] = _tuned(candidate, paths[name], y, repeats)
    blend_weights: dict[str, dict[str, float]] = {}
    for blend in candidates.blends:
        weights = _blend_weights(blend, log_probs, y, repeats)
        blend_weights[blend.name] = dict(zip(blend.parts, weights, strict=True))
        log_probs[blend.name] = geometric_blend([log_probs[part] for part in blend.parts], weights)
    losses = {name: row_losses(values, y) for name, values in log_probs.items()}
    ordered = np.stack([losses[name] for name in candidates.order], axis=1)
    prior = prior_weights(candidates.order, candidates.unfitted, candidates.favoured, rows=len(y) // repeats)
    twins = {
        candidates.order.index(name): candidates.order.index(plain)
        for name, plain in candidates.leaning.items()
    }
    frequency = _selection_frequency(ordered, groups, tolerance, averaging, prior, twins)
    kept = {
        name: share for name, share in zip(candidates.order, frequency, strict=True) if share >= MIN_FREQUENCY
    }
    total = sum(kept.values())
    return Decision(
        path_index,
        betas,
        blend_weights,
        {name: share / total for name, share in kept.items()},
        {name: float(values.mean()) for name, values in losses.items()},
    )


def _tuned(candidate: Candidate, path: Floats, y: Labels, repeats: int) -> tuple[PathIndex, float, Floats]:
    """Path index, beta and the log-probabilities (n, 3) that they give."""
    tie_logit = candidate.predicts_tie_logit
    index = best_index(path, y, predicts_tie_logit=tie_logit)
    plain = to_log_probs(at_index(path, index), predicts_tie_logit=tie_logit)
    if not candidate.tempered:
        return index, 1.0, plain
    beta = fit_temperature(plain, y, prior_rows=TEMPERATURE_ROWS * repeats).beta
    return index, beta, _sharpened(plain, beta)


def _sharpened(log_probs: Floats, beta: float) -> Floats:
    return Temperature(beta).apply(log_probs) if beta != 1.0 else log_probs


def prior_weights(
    order: Sequence[str], unfitted: Collection[str], favoured: Collection[str] = (), *, rows: int
) -> Floats:
    """Weights (C,) of the candidates before any evidence; within a kind all alike.

    `UNFITTED_SHARE` and `FAVOURED_SHARE` say how much those kinds have, the others have the rest.
    """
    kinds = np.array([1 if name in unfitted else 2 if name in favoured else 0 for name in order])
    if len(set(kinds)) == 1:
        return np.full(len(order), 1.0 / len(order))
    shares = np.zeros(3)
    if (kinds == 1).any():
        shares[1] = min(UNFITTED_SHARE, UNFITTED_ROWS / rows)
    if (kinds == 2).any():
        shares[2] = min(FAVOURED_SHARE, FAVOURED_ROWS / rows)
    shares[0] = (kinds == 0).any() * (1 - shares.sum())
    weights = (shares / np.maximum(np.bincount(kinds, minlength=3), 1))[kinds]
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _selection_frequency(
    losses: Floats,
    groups: Groups,
    tolerance: float,
    averaging: float,
    prior: Floats,
    twins: Mapping[int, int] | None = None,
) -> Floats:
    """How often each of C candidates is the choice, (C,), from losses (n, C), the simplest first.

    ``averaging`` is the share of their pseudo-Bayesian weights in it, ``prior`` (C,) the weights that these
    start from. ``twins``: candidate → the one that it has to beat by more than ``tolerance`` paired standard
    errors in a resample to be there at all.
    """
    count = losses.shape[1]
    means = bootstrap_means(losses, groups, n_resamples=RESAMPLES, seed=0)
    for one, twin in (twins or {}).items():
        paid = means[:, twin] - means[:, one]
        needed = tolerance * standard_error(losses[:, twin] - losses[:, one], groups)
        means[:, one] = np.where(paid > needed, means[:, one], np.inf)
    best = means.argmin(axis=1)
    errors = np.zeros((count, count))
    for winner in np.unique(best):
        for other in range(count):
            if other != winner:
                errors[winner, other] = standard_error(losses[:, other] - losses[:, winner], groups)
    behind = means - means.min(axis=1, keepdims=True)
    near = behind <= tolerance * errors[best]
    chosen = np.bincount(near.argmax(axis=1), minlength=count) / len(means)
    if averaging == 0.0:
        return chosen
    # Equal candidates have a difference and an error of zero: they share alike.
    distance = behind / np.maximum(errors[best], 1e-12)
    weights = softmax(np.log(prior) - distance**2 / 2, axis=1).mean(axis=0)
    return np.asarray((1 - averaging) * chosen + averaging * weights, dtype=np.float64)


def _blend_weights(
    blend: Blend, log_probs: Mapping[str, Floats], y: Labels, repeats: int
) -> tuple[float, ...]:
    count = len(blend.parts)
    if not blend.learned:
        return (1.0 / count,) * count
    pairs = [delta_tau(log_probs[part]) for part in blend.parts]
    delta, tau = np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)
    return tuple(geometric_weights(delta, tau, y, penalty=blend.pull_rows * repeats / len(y)).tolist())


def geometric_blend(parts: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Geometric blend (n, 3) of log-probabilities; the weights' sum is its sharpness, not made one."""
    delta, tau = np.zeros(len(parts[0])), np.zeros(len(parts[0]))
    for part, weight in zip(parts, weights, strict=True):
        d, t = delta_tau(part)
        delta, tau = delta + weight * d, tau + weight * t
    return from_delta_tau(delta, tau)


def decision_log_probs(
    decision: Decision,
    paths: Mapping[str, Floats],
    predicts_tie_logit: Mapping[str, bool],
    name: str | None = None,
) -> Floats:
    """Log-probabilities (n, 3) of a candidate or blend, from the paths of the fitted candidates.

    Without ``name``, of the whole decision: all that were chosen, blended by how often each was.
    """
    if name is None:
        chosen = [
            decision_log_probs(decision, paths, predicts_tie_logit, one)
            for one in decision.selection_frequency
        ]
        weights = list(decision.selection_frequency.values())
        return chosen[0] if len(chosen) == 1 else geometric_blend(chosen, weights)
    parts = []
    for part in decision.parts(name):
        columns = at_index(paths[part], decision.path_index[part])
        plain = to_log_probs(columns, predicts_tie_logit=predicts_tie_logit[part])
        parts.append(_sharpened(plain, decision.betas[part]))
    blended = decision.blend_weights.get(name)
    return parts[0] if blended is None else geometric_blend(parts, list(blended.values()))
