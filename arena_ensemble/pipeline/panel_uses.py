"""What a fitted panel is used for: when to decide, whom to ask, how systems rank, whether more votes help."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from ..errors import InputError
from ..features import extract
from ..io import read_columns
from ..io.column_names import Columns
from ..io.tables import open_table
from ..judgements import Judgements
from ..judgements.pair_names import match_pairs, pair_parts
from ..losses import Floats, group_codes
from ..panels import Panel
from ..panels.cascade import Step, simulate
from ..panels.ranking import Ranking, rank
from ..panels.selective import risk_coverage, safe_threshold
from ..panels.vote_budget import vote_budget
from .pair_texts import texts_of
from .panel import PanelData

log = logging.getLogger(__name__)

IDS: Final = "ids"
"""``--systems ids``: systems are named in the ids ``item|a|b``."""
AUTO: Final = "auto"
_MOST_STEPS: Final = 6
_REPEATS: Final = 3
STYLE: Final = ("chars.log", "headings.log", "bullets.log", "numbered.log", "bold.log")
"""Measures held equal by ``--equal-style``: length, headings, lists, bold, as LMArena's style control."""


@dataclass(frozen=True)
class Uses:
    """What is asked of a panel.

    ``selective`` is the largest share of wrong verdicts among those kept, with ``confidence``; ``cascade``
    names judges in the order of asking, or is ``auto`` for the order of their costs; ``systems`` is a file of
    ``id, system_a, system_b`` or ``ids``; ``equal_style`` ranks at equal length and style too, beside;
    ``vote_curve`` measures the loss at fewer votes.
    """

    selective: float | None = None
    confidence: float = 0.95
    cascade: str | None = None
    systems: str | None = None
    equal_style: bool = False
    vote_curve: bool = False

    def check(self, judgements: Judgements, *, text: bool) -> None:
        """Refuse what cannot be done, before the panel is fitted.

        Raises
        ------
        InputError
            A share that is none, a judge of the cascade that is not there or has no cost, style without texts
            or without systems.
        """
        for name, share in (("selective", self.selective), ("confidence", self.confidence)):
            if share is not None and not 0 < share < 1:
                raise InputError(f"--{name} {share:g}: give a share between 0 and 1, such as .1")
        if self.equal_style and not (text and self.systems):
            raise InputError("--equal-style needs texts and systems: give --text and --systems too")
        if self.cascade is not None:
            _order(judgements, self.cascade)
        if self.systems is not None:
            _systems(self.systems, judgements.ids)

    def of(self, panel: Panel, data: PanelData) -> dict[str, Any]:
        """What ``uses.json`` holds."""
        y, groups = data.votes.majority, data.groups
        honest = panel.oof_log_proba_
        found: dict[str, Any] = {
            "format": 1,
            "risk_coverage": _plain(risk_coverage(honest, y, groups)),
            "selective": None,
            "cascade": None,
            "ranking": None,
            "vote_curve": None,
        }
        if self.selective is not None:
            threshold = safe_threshold(
                honest, y, alpha=self.selective, delta=round(1 - self.confidence, 12), groups=groups
            )
            found["selective"] = _plain([threshold])[0]
        if self.cascade is not None:
            found["cascade"] = _cascade(panel, data, self.cascade)
        if self.systems is not None:
            found["ranking"] = _ranking(panel, data, self.systems, equal_style=self.equal_style)
        if self.vote_curve:
            rows = vote_budget(
                lambda: Panel(panel.random_state, honest=False),
                data.judgements,
                y,
                groups=groups,
                repeats=_REPEATS,
                seed=panel.random_state,
            )
            found["vote_curve"] = _plain(rows)
        return found


def _plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Dataclasses as JSON has them: what is not finite is null."""
    return [{name: _finite(value) for name, value in dataclasses.asdict(row).items()} for row in rows]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _order(judgements: Judgements, asked: str) -> list[str]:
    """The judges in the order of asking."""
    costs = judgements.costs
    order = sorted(costs, key=lambda name: costs[name]) if asked == AUTO else _names(asked)
    if absent := [name for name in order if name not in judgements.judges]:
        raise InputError(f"--cascade: no judge {absent[0]!r}; name some of {', '.join(judgements.judges)}")
    if free := [name for name in order if name not in costs]:
        raise InputError(f"--cascade: {free[0]!r} has no cost; give a column cost, or a file with --costs")
    if len(set(order)) < len(order):
        raise InputError(f"--cascade {asked}: names a judge twice; name each once")
    if len(order) < 2 or (asked == AUTO and len(order) > _MOST_STEPS):
        raise InputError(
            f"--cascade {asked}: {len(order)} judges; name two to {_MOST_STEPS} with costs, in order"
        )
    return order


def _cascade(panel: Panel, data: PanelData, asked: str) -> dict[str, Any]:
    """The panel of the first judges, for each number of them, and what asking in turn costs and gains."""
    costs, order = data.judgements.costs, _order(data.judgements, asked)
    first = np.unique(panel.evidence_.rows, return_index=True)[1]
    folds = panel.evidence_.folds[first]
    y = data.votes.codes[:, 0] if len(data.votes.annotators) == 1 else data.votes.shares
    steps = []
    for count in range(1, len(order) + 1):
        names = order[:count]
        if len(names) == len(data.judgements.judges):
            log_probs = panel.oof_log_proba_
        else:
            log.info("cascade: the panel of %s", ", ".join(names))
            part = Panel(panel.random_state).fit(
                data.judgements.select(names), y, features=data.features, groups=data.groups, folds=folds
            )
            log_probs = part.oof_log_proba_
        steps.append(Step(order[count - 1], costs[order[count - 1]], log_probs))
    rows = simulate(steps, data.votes.majority, folds, data.groups)
    return {"order": order, "prices": [step.price for step in steps], "rows": _plain(rows)}


def _ranking(panel: Panel, data: PanelData, systems: str, *, equal_style: bool) -> dict[str, Any]:
    """Ratings from the votes where there are votes, from the panel on the other judged pairs."""
    rest = data.given.take(np.flatnonzero(match_pairs(data.votes.ids, data.given.ids)[0] < 0))
    rest, features = _with_texts(panel, data, rest, needed=equal_style)
    ids = pl.concat([data.votes.ids, rest.ids])
    log_probs = panel.oof_log_proba_
    if len(rest):
        log_probs = np.concatenate([log_probs, panel.predict_log_proba(rest, features)])
    y = np.concatenate([data.votes.majority, np.full(len(rest), -1)])
    left, right = _systems(systems, ids)
    known = np.array([one is not None and two is not None for one, two in zip(left, right, strict=True)])
    if lost := int((~known).sum()):
        log.warning(
            "--systems: %d of %d judged pairs are of no known systems and are left out", lost, len(ids)
        )
    kept = np.flatnonzero(known)
    groups = _groups(data, ids)[kept]
    a, b = ([str(side[row]) for row in kept] for side in (left, right))

    def ratings(style: Floats | None) -> Ranking:
        return rank(a, b, y[kept], log_probs[kept], groups=groups, style=style)

    plain = ratings(None)
    found: dict[str, Any] = {
        "systems": _plain(plain.ratings),
        "votes": plain.votes,
        "predicted": plain.predicted,
        "tuning": plain.tuning,
        "level": 0.95,
        "equal_style": None,
    }
    if equal_style:
        assert data.battles is not None
        measured = extract(texts_of(data.battles, ids[kept], name="--text"))
        columns = [measured.odd_names.index(name) for name in STYLE]
        level = ratings(measured.odd[:, columns])
        found["equal_style"] = {"systems": _plain(level.ratings), "measures": list(STYLE)}
    return found


def _with_texts(panel: Panel, data: PanelData, rest: Judgements, *, needed: bool) -> tuple[Judgements, Any]:
    """The pairs without a vote whose texts are there, and their features, where texts are needed."""
    if not panel.has_features_ and not needed:
        return rest, None
    assert data.battles is not None
    there = np.flatnonzero(match_pairs(data.battles.ids, rest.ids)[0] >= 0)
    if len(there) < len(rest):
        log.warning("%d judged pairs without vote have no text and are left out", len(rest) - len(there))
    rest = rest.take(there)
    if not (panel.has_features_ and len(there)):
        return rest, None
    return rest, extract(texts_of(data.battles, rest.ids, name="--text"))


def _systems(given: str, ids: pl.Series) -> tuple[list[Any], list[Any]]:
    """The systems of A and B of each pair, None where they are not known."""
    if given == IDS:
        parts = pair_parts(ids)
        return _known(given, parts["answer_a"].to_list(), parts["answer_b"].to_list())
    path = Path(given)
    table = open_table(path)
    columns = Columns(table.columns, file=table.name)
    names = next(
        (pair for pair in (("system_a", "system_b"), ("model_a", "model_b")) if not columns.lacking(pair)),
        None,
    )
    if names is None:
        raise InputError(
            f"{table.name} lacks system_a and system_b; its columns are {columns.shown}; add them, or say "
            "--systems ids where ids are item|system_a|system_b"
        )
    frame = read_columns(path, ["id", *names])
    rows, exchanged = match_pairs(frame["id"], ids.cast(pl.String))
    one, two = (frame[name].to_list() for name in names)
    sides = [(None, None) if row < 0 else (one[row], two[row]) for row in rows]
    turned = [(b, a) if turn else (a, b) for (a, b), turn in zip(sides, exchanged, strict=True)]
    return _known(given, [side[0] for side in turned], [side[1] for side in turned])


def _known(given: str, left: list[Any], right: list[Any]) -> tuple[list[Any], list[Any]]:
    if all(one is None or two is None for one, two in zip(left, right, strict=True)):
        raise InputError(f"--systems {given}: names the systems of no judged pair; give those of these ids")
    return left, right


def _groups(data: PanelData, ids: pl.Series) -> Any:
    """Rows that err together: the items that ids name, else the votes' groups and every other pair alone."""
    items = pair_parts(ids)["item"]
    if not items.null_count():
        return group_codes(items.to_numpy(), len(ids))
    voted = group_codes(data.groups, len(data.votes.ids))
    rest = np.arange(len(ids) - len(voted)) + int(voted.max()) + 1
    return np.concatenate([voted, rest])
