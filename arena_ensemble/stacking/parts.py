"""What adds up to the ensemble's delta and tau of a battle: a part for each member and each feature.

- Geometric pools and the logistic form are sums already. A term that several members share (a product, a
  spread) is divided evenly among them: the Shapley value of a product that vanishes without any of them.
- A linear pool's ``ln P_A - ln P_B`` is divided in proportion to ``w_m (p_A - p_B)``: the logarithmic-mean
  decomposition (Ang 2004, Energy Policy 32:1131-1139), additive and odd as it stands.
- Boosted trees: TreeSHAP (Lundberg et al. 2020, Nature Machine Intelligence 2:56-67) as LightGBM computes it;
  the winner model's two orders are subtracted, so that its parts are odd too.
- The logistic stacker by evidence is a sum too, whose delta one factor a row moderates.
- Any other model: by difference, a member's part being what its replacement by an undecided one takes away.

Temperatures, blends and averages of candidates are linear in (delta, tau), and so are the parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from lightgbm import Booster

from ..predictions import Floats, delta_tau, from_delta_tau
from .base import Model, PathIndex, at_index
from .boosting import BoostedTrees, tie_columns, winner_columns
from .design import Design
from .evidence_logistic import EvidenceModel
from .logistic import LogisticModel, scaled, term_owners, terms_of
from .pooling import PooledModel
from .selection import decision_log_probs
from .serialization import FittedStacker

CONSTANT, ORDER, REST = "constant", "order", "rest"


@dataclass(frozen=True)
class Parts:
    """Of n rows, what adds up to delta and tau, each (n, S): members, features, order, constant, rest.

    Parameters
    ----------
    members, features
        M names of members and k + m of features, odd ones first.
    delta, tau
        (n, S) with S = M + k + m + 3. ``order`` is what members of one order add to the response that
        they saw first, ``constant`` what is there without any input, ``rest`` what no part explains:
        rounding, hard zeros that are floored at 1e-15, interactions in models taken apart by difference.
    """

    members: tuple[str, ...]
    features: tuple[str, ...]
    delta: Floats
    tau: Floats

    def of_members(self) -> tuple[Floats, Floats]:
        """Delta and tau parts, each (n, M)."""
        m = len(self.members)
        return self.delta[:, :m], self.tau[:, :m]

    def of_features(self) -> tuple[Floats, Floats]:
        """Delta and tau parts, each (n, k + m)."""
        rows = slice(len(self.members), len(self.members) + len(self.features))
        return self.delta[:, rows], self.tau[:, rows]

    def of(self, name: str) -> tuple[Floats, Floats]:
        """Delta and tau parts, each (n,), of ``order``, ``constant`` or ``rest``."""
        place = (ORDER, CONSTANT, REST).index(name) - 3
        return self.delta[:, place], self.tau[:, place]


def decision_parts(fitted: FittedStacker, design: Design) -> Parts:
    """The parts of a fitted stacker's prediction of some rows; they sum to its delta and tau exactly."""
    decision = fitted.decision
    weights: dict[str, float] = {}
    for name, share in decision.selection_frequency.items():
        for part, weight in decision.blend_weights.get(name, {name: 1.0}).items():
            weights[part] = weights.get(part, 0.0) + share * weight
    size = len(design.members) + design.n_features + 3
    delta, tau = np.zeros((len(design), size)), np.zeros((len(design), size))
    for name, weight in weights.items():
        found = model_parts(fitted.models[name], design, decision.path_index[name])
        if fitted.predicts_tie_logit[name]:
            found = _tau_from_tie_logit(*found)
        strength = weight * decision.betas[name]
        delta += strength * found[0]
        tau += strength * found[1]
    paths = {name: model.predict_path(design) for name, model in fitted.models.items()}
    total = delta_tau(decision_log_probs(decision, paths, fitted.predicts_tie_logit))
    delta[:, -1] += total[0] - delta.sum(axis=1)
    tau[:, -1] += total[1] - tau.sum(axis=1)
    return Parts(design.members, (*design.odd_names, *design.even_names), delta, tau)


def model_parts(model: Model, design: Design, index: PathIndex) -> tuple[Floats, Floats]:
    """Parts (n, S) of the two columns that a fitted candidate predicts at a point of its path."""
    if isinstance(model, PooledModel):
        return _of_pool(model, design)
    if isinstance(model, LogisticModel):
        return _of_logistic(model, design, index)
    if isinstance(model, BoostedTrees):
        return _of_trees(model, design, index)
    if isinstance(model, EvidenceModel):
        return _of_evidence(model, design)
    return _by_difference(model, design, index)


def _empty(design: Design) -> tuple[Floats, Floats]:
    shape = len(design), len(design.members) + design.n_features + 3
    return np.zeros(shape), np.zeros(shape)


def _of_pool(model: PooledModel, design: Design) -> tuple[Floats, Floats]:
    delta, tau = _empty(design)
    count = len(design.members)
    if model.pool == "geometric":
        strength = model.betas * model.weights
        delta[:, :count], tau[:, :count] = design.delta * strength, design.tau * strength
        tau[:, -2] = model.offset
        return delta, tau
    probs = np.stack(
        [
            np.exp(from_delta_tau(beta * d, beta * t))
            for beta, d, t in zip(model.betas, design.delta.T, design.tau.T, strict=True)
        ]
    )
    a, b, tie = np.moveaxis(probs * model.weights[:, None, None], 2, 0)
    total_a, total_b, total_tie = (part.sum(axis=0) for part in (a, b, tie))
    delta[:, :count] = ((a - b) * _slope(total_a, total_b)).T
    over_a = (tie - a) * _slope(total_tie, total_a)
    over_b = (tie - b) * _slope(total_tie, total_b)
    tau[:, :count] = ((over_a + over_b) / 2).T
    return delta, tau


def _slope(x: Floats, y: Floats) -> Floats:
    """``(ln x - ln y) / (x - y)``: one over the logarithmic mean of two positive numbers."""
    x, y = np.maximum(x, 1e-300), np.maximum(y, 1e-300)
    near = np.abs(x - y) <= 1e-8 * (x + y)
    apart = np.where(near, 1.0, x - y)
    return np.asarray(np.where(near, 2 / (x + y), (np.log(x) - np.log(y)) / apart), dtype=np.float64)


def _of_logistic(model: LogisticModel, design: Design, index: PathIndex) -> tuple[Floats, Floats]:
    odd, even, base = terms_of(design, model.terms, lean=model.lean)
    odd, even = scaled(odd, even, base, model.odd_scale, model.even_mean, model.even_scale)
    owners = term_owners(design, model.terms, lean=model.lean)
    k = odd.shape[1]
    for_winner, for_tie = (model.theta[min(place, len(model.theta) - 1)] for place in index)
    delta = (odd * for_winner[:k]) @ owners[0]
    tau = (even * for_tie[k:-1]) @ owners[1]
    tau[:, -2] += for_tie[-1]
    return delta, tau


def _of_evidence(model: EvidenceModel, design: Design) -> tuple[Floats, Floats]:
    """Delta, and the logit of a tie."""
    count = len(design.members)
    (delta, tie), (plain, _) = _empty(design), _empty(design)
    plain[:, :count] = model.winner_parts(design, moderated=False)
    tie[:, :count], tie[:, -2] = model.tie_parts(design), model.offset
    delta[:, :count] = model.winner_parts(design)
    return delta, _tau_from_tie_logit(plain, tie, sign=-1.0)[1]


def _of_trees(model: BoostedTrees, design: Design, index: PathIndex) -> tuple[Floats, Floats]:
    """Delta, and the logit of a tie."""
    seen = design if model.members else design.without_members()
    delta, tie = _empty(design)
    if model.base is None:
        tie[:, -2] = model.base_tie
    else:
        base = _of_logistic(model.base, design, (len(model.base.theta) - 1,) * 2)
        both = _tau_from_tie_logit(*base, sign=-1.0)
        delta, tie = both
    winner, for_tie = (model.rounds[min(place, len(model.rounds) - 1)] for place in index)
    owners = _column_owners(design, seen, features=model.features)
    shown = winner_columns(seen, features=model.features)
    other = winner_columns(seen.swapped(), features=model.features)
    for booster in model.winner_boosters:
        apart = _shap(booster, shown, winner) - _shap(booster, other, winner)
        delta += apart[:, :-1] @ owners[0] / (2 * len(model.winner_boosters))
    columns = tie_columns(seen, features=model.features)
    for booster in model.tie_boosters:
        found = _shap(booster, columns, for_tie)
        tie += found[:, :-1] @ owners[1] / len(model.tie_boosters)
        tie[:, -2] += found[:, -1] / len(model.tie_boosters)
    return delta, tie


def _shap(booster: Booster, columns: Floats, rounds: int) -> Floats:
    """(n, columns + 1) TreeSHAP values of the first rounds, the expected value last."""
    if not rounds:
        return np.zeros((len(columns), columns.shape[1] + 1))
    # num_threads: as in `boosting`
    found = booster.predict(
        columns, pred_contrib=True, start_iteration=0, num_iteration=rounds, num_threads=1
    )
    return np.asarray(found, dtype=np.float64)


def _column_owners(design: Design, seen: Design, *, features: bool) -> tuple[Floats, Floats]:
    """Which part each column of the winner model and of the tie model belongs to, (columns, S) each."""
    count, size = len(design.members), len(design.members) + design.n_features + 3
    each = np.eye(size)
    own = [each[:count]] * 2 if seen.members else []
    shared = np.zeros((1, size))
    shared[0, :count] = 1 / max(count, 1)
    many = len(seen.members) > 1
    extra = [each[count : count + design.n_features]] if features else []
    winner = [*own, *([shared] if many else []), *extra]
    tie = [*own, *([shared] * 3 if many else []), *extra]
    return np.vstack(winner), np.vstack(tie)


def _tau_from_tie_logit(delta: Floats, tie: Floats, *, sign: float = 1.0) -> tuple[Floats, Floats]:
    """Parts of tau from those of the logit of a tie: ``tau = logit + ln(2 cosh(delta / 2))``.

    ``ln cosh`` is divided as delta is, along a straight line from zero. ``sign`` -1 goes back.
    """
    total = delta.sum(axis=1, keepdims=True)
    size = np.abs(total)
    log_cosh = size / 2 + np.log1p(np.exp(-size)) - np.log(2)
    factor = np.divide(log_cosh, total, out=np.zeros_like(total), where=size > 1e-12)
    tau = tie + sign * factor * delta
    tau[:, -2] += sign * np.log(2)
    return delta, tau


def _by_difference(model: Model, design: Design, index: PathIndex) -> tuple[Floats, Floats]:
    delta, second = _empty(design)
    whole = at_index(model.predict_path(design), index)
    for place in range(len(design.members)):
        without = at_index(model.predict_path(_undecided(design, place)), index)
        delta[:, place], second[:, place] = (whole - without).T
    delta[:, -1], second[:, -1] = whole[:, 0] - delta.sum(axis=1), whole[:, 1] - second.sum(axis=1)
    return delta, second


def _undecided(design: Design, place: int) -> Design:
    """The same rows with one member at delta = tau = 0."""
    delta, tau = design.delta.copy(), design.tau.copy()
    delta[:, place] = tau[:, place] = 0.0
    return replace(design, delta=delta, tau=tau)
