"""Is a member alive? Class shares, entropy and log-loss against the prior; NumPy only."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
COLLAPSED_SHARE: Final = 0.95
ENOUGH_READINGS: Final = 200
_NAMES: Final = ("A", "B", "tie")


def prior_loss(outcomes: npt.NDArray[np.int64]) -> float:
    """Log-loss of always saying the outcomes' own shares (nats)."""
    shares = np.bincount(outcomes, minlength=3) / max(len(outcomes), 1)
    return float(-(shares * np.log(np.where(shares > 0, shares, 1))).sum())


def vital_signs(log_probs: Floats, outcomes: npt.NDArray[np.int64]) -> dict[str, Any]:
    """What the card keeps of some predictions (n, 3) and their outcomes (n,)."""
    n = len(outcomes)
    probs = np.exp(log_probs)
    shares = np.bincount(log_probs.argmax(axis=1), minlength=3) / max(n, 1)
    return {
        "rows": n,
        "log_loss": round(float(-log_probs[np.arange(n), outcomes].mean()), 6) if n else None,
        "prior_log_loss": round(prior_loss(outcomes), 6),
        "entropy": round(float(-(probs * np.maximum(log_probs, -700)).sum(axis=1).mean()), 6) if n else None,
        "predicted_shares": [round(float(share), 4) for share in shares],
    }


def collapse_alarms(log_probs: Floats, outcomes: npt.NDArray[np.int64], *, margin: float = 0.0) -> list[str]:
    """Sentences that say what is wrong with a member, and its likely causes; empty is healthy.

    Parameters
    ----------
    log_probs
        (n, 3) natural log; for a fair verdict, of rows that the member was not trained on.
    outcomes
        (n,) in {0, 1, 2}.
    margin
        How far above the prior's log-loss the member's may lie (a standard error, say).
    """
    if not len(outcomes):
        return []
    signs = vital_signs(log_probs, outcomes)
    alarms = []
    top = int(np.argmax(signs["predicted_shares"]))
    share = signs["predicted_shares"][top]
    if share > COLLAPSED_SHARE:
        alarms.append(
            f"gives {_NAMES[top]} to {share:.0%} of rows: likely a learning rate too high or too low, "
            "too few steps, adapters that do not learn, or (generation head) verdict words that the "
            "base tells apart badly"
        )
    if signs["log_loss"] > signs["prior_log_loss"] + margin:
        alarms.append(
            f"has a log-loss of {signs['log_loss']:.4f}, worse than the prior's "
            f"{signs['prior_log_loss']:.4f}: likely too many epochs or too high a rate for so few rows, "
            "a head that was not trained, or another template in training than in prediction"
        )
    return alarms


def standing(logits: Floats, outcomes: npt.NDArray[np.int64]) -> tuple[dict[str, float], list[str]]:
    """Vital signs, flat, and alarms of readings (n, 3) as they were answered *during* training.

    A loss must lie above the prior's by two standard errors; fewer than 200 readings raise no alarm.
    """
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    signs = vital_signs(log_probs, outcomes)
    shares = dict(zip(("share_a", "share_b", "share_tie"), signs["predicted_shares"], strict=True))
    flat = {name: float(signs[name]) for name in ("log_loss", "prior_log_loss", "entropy")} | shares
    if len(outcomes) < ENOUGH_READINGS:
        return flat, []
    spread = float(log_probs[np.arange(len(outcomes)), outcomes].std()) / np.sqrt(len(outcomes))
    return flat, collapse_alarms(log_probs, outcomes, margin=2 * spread)
