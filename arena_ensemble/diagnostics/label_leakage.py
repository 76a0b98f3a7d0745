"""Members that are too good: evidence of labels seen in training, and of swapped columns."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from ..calibration import fit_temperature
from ..metrics import Labels, group_codes, row_losses, standard_error
from ..predictions import Floats
from ..stacking import Members, make_design
from ..stacking.design import Design

FAR_BETTER: Final = 0.05
"""Nats by which a member must beat every other one before its errors are looked at."""
_SURE: Final = 5.0
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


def best_column_order(
    log_probs: Floats, y: Labels, groups: npt.ArrayLike | None = None, *, sure: float = 3.0
) -> tuple[int, int, int] | None:
    """The order of columns that fits the outcomes clearly better than the one given, or None.

    ``log_probs[:, order]`` is then what the file should have held. Clearly: by more than ``sure``
    paired standard errors, so that a member that knows nothing is never blamed.
    """
    given = row_losses(log_probs, y)
    best, found = 0.0, None
    for order in itertools.permutations(range(3)):
        difference = given - row_losses(log_probs[:, list(order)], y)
        gain = float(difference.mean())
        if gain > best and gain > sure * standard_error(difference, groups):
            best, found = gain, order
    return found  # type: ignore[return-value]  # permutations of three are triples


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
    more than chance allows, as when part of the rows was trained on. How often each sort of leak is
    found, and how often an honest member is named, is in docs/trust.md.

    Parameters
    ----------
    members
        Name → (n, 3) probabilities or `Predictions`; with fewer than two nothing can be said.
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
    suspected = []
    for m, name in enumerate(design.members):
        reasons, evidence = _signs(design, losses, y, codes, block, m)
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
) -> tuple[list[str], dict[str, float]]:
    others = [j for j in range(losses.shape[1]) if j != m]
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
