"""Members that are too good: evidence that their training saw the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from ..calibration import fit_temperature
from ..metrics import Labels, group_codes, prior_log_probs, row_losses, standard_error
from ..predictions import Floats
from ..stacking import Members, make_design
from ..stacking.design import Design

FAR_BETTER: Final = 0.05
"""Nats by which a member must beat every other one before its errors are looked at."""
_SURE: Final = 5.0
_INFORMED: Final = 3.0
"""Standard errors by which a member must beat the class prior to serve as a comparison."""
_BLOCKS: Final = 8
_BLOCK_P: Final = 1e-4
_HARD_SHARE: Final = 0.02
_SUREST: Final = (0.05, 0.1, 0.2, 0.5)
_NO_EASIER: Final = 0.85
_ENOUGH: Final = 20
"""Errors of the other member among the surest rows below which nothing is said of them."""


@dataclass(frozen=True)
class LeakageSuspicion:
    """A member under suspicion, why, and the numbers behind it."""

    member: str
    reasons: tuple[str, ...]
    evidence: dict[str, float]


def leakage_suspicions(
    members: Members,
    y: Labels,
    groups: npt.ArrayLike | None = None,
    blocks: npt.ArrayLike | None = None,
) -> list[LeakageSuspicion]:
    """Members whose predictions look as if their training had seen these outcomes.

    Four signs, each with its evidence, all after the members' own temperatures. *Far better and blind to
    difficulty*: a member that beats all others by 0.05 nats, and errs on the rows that the others get
    wrong hardly more often than on those they get right; honest members find the same battles hard.
    *Far better, but not where the others err*: its whole advantage lies on rows that the others already
    know. *Sure and blind*: hardly an error on its surest rows, which the best other member finds as hard
    as any.
    *Unequal blocks*: its loss and its advantage over every other member differ between blocks of rows
    more than chance allows, as when part of the rows was trained on.

    Only members that are clearly better than the class prior serve as a comparison: beside members that
    know nothing any honest one would look far better. Where no other member is, nothing is said. How often
    each sort of leak is found, and how often an honest member is named, is in docs/trust.md.

    Parameters
    ----------
    members
        Name → (n, 3) probabilities or `Predictions`.
    y
        (n,) outcomes.
    groups
        (n,) clusters of the standard errors.
    blocks
        (n,) blocks of rows to compare; default: eight runs of rows in the order given.
    """
    design = make_design(members, None, n=len(y))
    count = len(design.members)
    if count < 2:
        return []
    n = len(y)
    codes = group_codes(groups, n)
    block = group_codes(blocks, n) if blocks is not None else np.arange(n) * _BLOCKS // n
    # After its own temperature, lest an over-confident member makes the others look far better.
    tempered = [fit_temperature(lp, y).apply(lp) for lp in design.log_probs]
    losses = np.stack([row_losses(lp, y) for lp in tempered], axis=1)
    gains = row_losses(prior_log_probs(y), y)[:, None] - losses
    errors = [standard_error(gain, codes) for gain in gains.T]
    informed = [j for j in range(count) if gains[:, j].mean() > _INFORMED * errors[j]]
    suspected = []
    for m, name in enumerate(design.members):
        others = [j for j in informed if j != m]
        if not others:
            continue
        reasons, evidence = _signs(design, losses, y, codes, block, m, others)
        if reasons:
            suspected.append(LeakageSuspicion(name, tuple(reasons), evidence))
    return suspected


def _signs(
    design: Design,
    losses: Floats,
    y: Labels,
    codes: npt.NDArray[np.int64],
    block: npt.NDArray[np.int64],
    m: int,
    others: list[int],
) -> tuple[list[str], dict[str, float]]:
    other = others[int(np.argmin(losses[:, others].mean(axis=0)))]
    advantage = losses[:, other] - losses[:, m]
    se = standard_error(advantage, codes)
    wrong = np.argmax(design.log_probs[other], axis=1) != y
    own_wrong = np.argmax(design.log_probs[m], axis=1) != y
    reasons: list[str] = []
    evidence = {"advantage": float(advantage.mean()), "advantage_se": se}
    far = advantage.mean() > max(FAR_BETTER, _SURE * se)
    if far and wrong.any() and not wrong.all():
        hard, easy = float(own_wrong[wrong].mean()), float(own_wrong[~wrong].mean())
        spread = float(np.sqrt(hard * (1 - hard) / wrong.sum() + easy * (1 - easy) / (~wrong).sum()))
        evidence |= {
            "error_where_other_errs": hard,
            "error_where_other_is_right": easy,
            "advantage_where_other_errs": float(advantage[wrong].mean()),
        }
        if hard - easy < max(_HARD_SHARE, 2 * spread):
            reasons.append(
                f"far better than {design.members[other]} ({advantage.mean():.3f} nats) and errs as rarely "
                f"where that one errs ({hard:.1%}) as elsewhere ({easy:.1%})"
            )
        if advantage[wrong].mean() <= 0:
            reasons.append(f"far better than {design.members[other]}, yet nowhere where that one errs")
    if sign := _sure_and_blind(design.log_probs[m], wrong, own_wrong):
        share, errors, other_errors = sign
        evidence |= {"surest_share": share, "surest_errors": errors, "surest_other_errors": other_errors}
        reasons.append(
            f"on its surest {share:.0%} of rows it is wrong on {errors:.1%} of the other's errors, though "
            f"{design.members[other]} finds them no easier than others (wrong on {other_errors:.1%})"
        )
    # Both its own loss and its advantage over every other member must differ, else the blocks are
    # merely easier and harder, or it is the other member that stands out.
    tests = [losses[:, m], *(losses[:, j] - losses[:, m] for j in others)]
    chance = max(float(chi2.sf(*_unequal(values, codes, block))) for values in tests)
    evidence["block_p"] = chance
    if chance < _BLOCK_P:
        means = [float(advantage[block == b].mean()) for b in np.unique(block)]
        reasons.append(
            f"its advantage differs by row blocks from {min(means):.3f} to {max(means):.3f} nats "
            f"(chance {chance:.1g})"
        )
    return reasons, evidence


def _sure_and_blind(
    log_probs: Floats, wrong: npt.NDArray[np.bool_], own_wrong: npt.NDArray[np.bool_]
) -> tuple[float, float, float] | None:
    """A share of surest rows with hardly an error, though the other member errs there as often as anywhere.

    Votes are noisy: a member that is sure by skill is sure of rows that the others find easier too, and
    is still wrong on some of them; one that remembers rows is not.
    """
    order = np.argsort(-log_probs.max(axis=1), kind="stable")
    for share in _SUREST:
        top = order[: int(share * len(order))]
        missed = wrong[top]
        if missed.sum() < _ENOUGH or missed.mean() < _NO_EASIER * wrong.mean():
            continue
        errors = float(own_wrong[top][missed].mean())
        if errors <= _HARD_SHARE:
            return share, errors, float(missed.mean())
    return None


def _unequal(values: Floats, codes: npt.NDArray[np.int64], block: npt.NDArray[np.int64]) -> tuple[float, int]:
    """Cochran's Q of the block means around their weighted mean, and its degrees of freedom."""
    found = [
        (float(values[block == b].mean()), standard_error(values[block == b], codes[block == b]))
        for b in np.unique(block)
    ]
    means, spread = np.array(found).T
    spread = np.nan_to_num(spread)
    # Two equal members differ by exactly nothing in a block: a floor keeps that block's say finite.
    floor = 0.1 * float(spread.mean())
    if len(means) < 2 or floor == 0:
        return 0.0, 1
    weights = np.maximum(spread, floor) ** -2.0
    centre = np.average(means, weights=weights)
    return float(np.sum(weights * (means - centre) ** 2)), len(means) - 1
