"""Log-loss of a cascade on real votes and predictions, by the share of the pairs that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from cost_rates import FOLDS

from arena_ensemble.io import read_judgements, read_panel_votes
from arena_ensemble.metrics import log_loss, paired_difference, row_losses
from arena_ensemble.panels import Panel
from arena_ensemble.panels.cascade import Step
from arena_ensemble.panels.cascade import simulate as cascade_rows
from arena_ensemble.stacking import Stacker


def cascade_table(label: str, steps: Sequence[Step], y: Any, folds: Any) -> dict[str, Any]:
    """Log-loss by the share that goes on to the second step."""
    first, last = (one.log_probs for one in steps)
    paired = paired_difference(row_losses(first, y), row_losses(last, y))
    print(
        f"\n{label}, {len(y):,} rows: {steps[0].judge} {log_loss(first, y):.4f}, with {steps[1].judge} "
        f"{log_loss(last, y):.4f}, gain {paired.mean:.4f} ± {paired.se:.4f}"
    )
    rows = []
    for row in cascade_rows(steps, y, folds):
        kept = (log_loss(first, y) - row.log_loss) / paired.mean
        rows.append(
            {"asked": round(row.asked[1], 3), "log_loss": round(row.log_loss, 4),
             "se": round(row.log_loss_se, 4), "gain_kept": round(kept, 3)}
        )  # fmt: skip
        print(
            f"  asked about {row.asked[1]:6.1%}: {row.log_loss:.4f} ± {row.log_loss_se:.4f}, "
            f"{kept:.0%} of the gain"
        )
    return {"rows": rows, "gain": round(paired.mean, 4), "gain_se": round(paired.se, 4)}


def cascade_loss(folder: Path) -> dict[str, Any]:
    """What is lost where only some rows go on: lexical before an LLM, a cheap judge before a costly one."""
    file, judged = folder / "oof" / "oof_3members_2874.csv", folder / "judges" / "arena3_26919.csv"
    found: dict[str, Any] = {}
    if file.is_file():
        frame = pl.read_csv(file)
        y = frame["label"].to_numpy()
        folds = np.random.default_rng(0).permutation(len(y)) % FOLDS
        names = ("lexical_lr", "minilm_lr", "llm_3")
        steps = []
        for count in (1, 3):
            part = {}
            for name in names[:count]:
                probs = frame.select(*(f"{name}_{end}" for end in ("a", "b", "tie"))).to_numpy()
                part[name] = probs / probs.sum(axis=1, keepdims=True)
            fitted = Stacker(random_state=0).fit(part, y, folds=folds)
            steps.append(Step(names[count - 1], 1.0, fitted.oof_log_proba_))
        found["members"] = cascade_table("members", steps, y, folds)
    if judged.is_file():
        votes = read_panel_votes(judged)
        judgements, y = read_judgements(judged).aligned_to(votes.ids), votes.majority
        folds = np.random.default_rng(0).permutation(len(y)) % FOLDS
        steps = []
        for names in (("gpt-3.5-turbo",), ("gpt-3.5-turbo", "gpt-4-0125-preview")):
            panel = Panel(random_state=0).fit(judgements.select(list(names)), y, folds=folds)
            steps.append(Step(names[-1], 1.0, panel.oof_log_proba_))
        found["judges"] = cascade_table("judges", steps, y, folds)
    if not found:
        print(f"\n{folder} holds no predictions and no judgements: the cascade's loss is not measured")
    return found
