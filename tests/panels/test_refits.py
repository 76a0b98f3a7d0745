"""What a judge adds: exactly the honest loss of a panel that never saw it, where that is little work."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble.judgements import First, Judgements, Verdicts
from arena_ensemble.metrics import row_losses, standard_error
from arena_ensemble.panels import Panel, refits
from arena_ensemble.stacking import candidates
from arena_ensemble.stacking.pooling import GeometricMean, Prior
from arena_ensemble.stacking.selection import CandidateSet

FOLDS = np.arange(120) % 4


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior, the equal pool, one logistic model: fitted in a tenth of the time."""

    def cheap(design: Any, *, trees: bool = True) -> CandidateSet:
        logistic = candidates.LogisticCandidate("logistic", "plain", candidates.RIDGES[:1])
        found: list[Any] = [Prior(), *[GeometricMean()] * (len(design.members) > 1), logistic]
        return CandidateSet(tuple(found), (), tuple(one.name for one in found))

    for module in ("panel", "refits"):
        monkeypatch.setattr(f"arena_ensemble.panels.{module}.candidates_for", cheap)


def _told(judges: dict[str, float]) -> tuple[Judgements, np.ndarray]:
    """Judges that are right by their share, and the votes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, len(FOLDS))
    columns = {
        name: Verdicts.from_codes(np.where(rng.random(len(y)) < right, y, 1 - y), First.A)
        for name, right in judges.items()
    }
    return Judgements(pl.Series(np.arange(len(y))), columns), y


def test_what_a_judge_adds_is_the_loss_of_the_panel_without_it() -> None:
    table, y = _told({"good": 0.85, "fair": 0.7, "coin": 0.5})
    panel = Panel(threads=1).fit(table, y, folds=FOLDS)
    own = row_losses(panel.stacker_.oof_log_proba_, y)
    for judge in panel.judges_:
        others = table.select([name for name in table.judges if name != judge.name])
        rest = Panel(threads=1).fit(others, y, folds=FOLDS)
        rise = row_losses(rest.stacker_.oof_log_proba_, y) - own
        assert judge.adds == pytest.approx(rise.mean(), abs=1e-9)
        assert judge.adds_se == pytest.approx(standard_error(rise, np.arange(len(y))), abs=1e-9)
        assert judge.adds_to == "panel"
    adds = {one.name: one.adds for one in panel.judges_ if one.adds is not None}
    assert adds["good"] > 0.05
    assert adds["good"] > adds["fair"] > adds["coin"]


def test_one_judge_adds_to_nothing_and_two_may_leave_each_other() -> None:
    table, y = _told({"good": 0.85, "fair": 0.7})
    two = Panel(threads=1).fit(table, y, folds=FOLDS)
    assert all(one.adds is not None for one in two.judges_)
    one = Panel(threads=1).fit(table.select(["good"]), y, folds=FOLDS).judges_[0]
    assert (one.adds, one.adds_se, one.adds_to) == (None, None, None)


@pytest.mark.parametrize("honest", [True, False])
def test_a_pool_tells_where_refits_are_much_work_or_the_score_is_not_honest(
    honest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, y = _told({"good": 0.85, "fair": 0.7})
    if honest:
        monkeypatch.setattr(refits, "CHEAP", 2 * len(y) - 1)
    panel = Panel(threads=1, honest=honest).fit(table, y, folds=FOLDS)
    pool = {one["name"]: one["leave_one_out_gain"] for one in panel.evidence_.contributions["members"]}
    for judge in panel.judges_:
        assert judge.adds_to == "pool"
        assert judge.adds == pool[judge.name]
