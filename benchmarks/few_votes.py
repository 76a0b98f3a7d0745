"""Panels of few votes: the panel's rule beside the former one on the same fits, and beside what people take.

Simulated panels of verdicts (`panel_scenes.py`): eight scenes, 3 to 65 judges, 100, 200 and 400 votes;
expected log-loss and accuracy on 2,000 other pairs, by the true probabilities. One set of folds each.
The former rule: without the logistic stacker by evidence, and up to a fifth of the weight for the best judge
as it is. Differences are paired, the former rule's loss from each, ± one standard error over panels. Peers:
logistic regression on one-hot verdicts (scikit-learn, C = .1), the equal pool of calibrated judges, the best
calibrated judge in hindsight. Seeds 0 and 1 chose the rule, seeds from 20 on confirm it.

    python benchmarks/few_votes.py [--seeds 20 21] [--votes 100 200] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

import numpy as np
from panel_scenes import SCENES, SimulatedPanel, simulate
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from arena_ensemble.folds.split import stratified_group_folds
from arena_ensemble.judgements import JudgeColumn
from arena_ensemble.panels.encoding import EncodedPanel, encoded_design
from arena_ensemble.predictions import normalised, without_ties
from arena_ensemble.stacking.candidates import candidates_for, for_judges
from arena_ensemble.stacking.evidence_logistic import EvidenceLogistic
from arena_ensemble.stacking.nested_cv import _decide_on_all, cross_fit_paths
from arena_ensemble.stacking.selection import CandidateSet, decision_log_probs

Array = Any
FORMER, NOW, PEER = "former rule", "now", "logistic on one-hot verdicts"


def without(candidates: CandidateSet, name: str) -> CandidateSet:
    """The set as it was before a candidate joined it."""
    return dataclasses.replace(
        candidates,
        candidates=tuple(one for one in candidates.candidates if one.name != name),
        order=tuple(one for one in candidates.order if one != name),
    )


def compared(panel: SimulatedPanel) -> dict[str, tuple[float, float]]:
    """Rule or peer → expected log-loss and accuracy on the pairs without a vote."""
    votes, y = panel.votes, panel.y[: panel.votes]
    columns = panel.judgements.columns
    voted, fresh = (
        {name: column.take(rows) for name, column in columns.items()}
        for rows in (np.arange(votes), np.arange(votes, len(panel.y)))
    )
    ties = bool((y == 2).any())

    def score(log_probs: Array) -> tuple[float, float]:
        shown = log_probs if ties else without_ties(log_probs)
        return panel.loss(shown), panel.accuracy(shown)

    groups = np.arange(votes)
    folds = np.asarray(stratified_group_folds(y, groups, n_folds=5, seed=0))
    source = EncodedPanel(voted, y)
    design = source.out_of_fold(folds)
    new = encoded_design(fresh, source.encoders(folds, frozenset()), None, cells=source.table)
    every = candidates_for(design, trees=not (source.table and source.hard))
    paths = cross_fit_paths(every.candidates, source, y, folds, seed=0, pairs=False)
    shown = {one.name: one.fit(design, y, 0).predict_path(new) for one in every.candidates}
    found = {}
    for rule, candidates in ((FORMER, without(every, EvidenceLogistic().name)), (NOW, for_judges(every))):
        kept = {one.name: paths[one.name] for one in candidates.candidates}
        made = _decide_on_all(candidates, [(folds, kept)], y, groups, tolerance=1.0, averaging=1.0)
        found[rule] = score(decision_log_probs(made, shown, candidates.predicts_tie_logit))
        if rule == NOW:
            pool = decision_log_probs(made, shown, candidates.predicts_tie_logit, "geometric mean")
            found["equal pool"] = score(pool)
    found["best judge"] = min(score(one) for one in new.log_probs)
    model = LogisticRegression(C=0.1, max_iter=2000).fit(one_hot(voted), y)
    probs = np.full((len(new), 3), 1e-12)
    probs[:, model.classes_] = model.predict_proba(one_hot(fresh))
    found[PEER] = score(normalised(np.log(np.maximum(probs, 1e-12))))
    return found


def one_hot(columns: dict[str, JudgeColumn]) -> Array:
    """(n, 12 J) each judge's verdict in each slot, a missing one its own category."""
    slots = [columns[name].slot_verdicts[:, slot] + 1 for name in sorted(columns) for slot in range(3)]
    return np.concatenate([np.eye(4)[one] for one in slots], axis=1)


def shown(title: str, found: list[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    """Print and return means over panels."""
    former = np.array([one[FORMER] for one in found])
    print(
        f"\n{title}: {len(found)} panels; {FORMER}: log-loss {former[:, 0].mean():.4f}, "
        f"accuracy {former[:, 1].mean():.4f}"
    )
    row: dict[str, Any] = {"panels": len(found), "former": former.mean(axis=0).tolist(), "minus_former": {}}
    for name in found[0]:
        if name == FORMER:
            continue
        apart = np.array([one[name] for one in found]) - former
        mean, se = apart.mean(axis=0), apart.std(axis=0) / len(apart) ** 0.5
        row["minus_former"][name] = {"mean": mean.tolist(), "se": se.tolist()}
        print(
            f"  {name:30s} {mean[0]:+.4f} ± {se[0]:.4f}   accuracy {mean[1]:+.4f} ± {se[1]:.4f}", flush=True
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[20, 21, 22, 23])
    parser.add_argument("--votes", type=int, nargs="*", default=[100, 200, 400])
    parser.add_argument("--quick", action="store_true", help="100 votes, one seed, four scenes of few judges")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    scenes = [name for name, scene in SCENES.items() if not options.quick or scene.judges[1] < 10]
    votes, seeds = ([100], options.seeds[:1]) if options.quick else (options.votes, options.seeds)
    rows = []
    with threadpool_limits(limits=1, user_api="blas"):
        for count in votes:
            for name in scenes:
                rows += [(count, name, compared(simulate(name, count, seed))) for seed in seeds]
    report = {
        f"{count} votes": shown(f"{count} votes", [r for n, _, r in rows if n == count]) for count in votes
    }
    for name in scenes:
        report[name] = shown(name, [r for _, scene, r in rows if scene == name])
    losses = {key: float(np.mean([r[key][0] for *_, r in rows])) for key in (FORMER, NOW, PEER)}
    ratios = losses[NOW] / losses[PEER], losses[NOW] / losses[FORMER]
    print(f"\nratio of mean log-losses: now / {PEER} {ratios[0]:.3f}, now / {FORMER} {ratios[1]:.3f}")
    if options.json:
        print(json.dumps({"scenes": report, "ratio": ratios[0], "ratio_to_former": ratios[1]}))


if __name__ == "__main__":
    main()
