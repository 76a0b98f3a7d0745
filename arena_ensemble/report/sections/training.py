"""How members learned and what of the texts they saw: losses by epoch, tokens cut off per side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ...artifacts.cards import MemberCard
from ..intervals import Line, drawn_table
from ..line_chart import Points, line_chart
from ..svg import Scale
from ..tables import Column
from .section import Section

_LEAST: Final = 3
"""points that make a curve"""

Lines = Sequence[tuple[str, Points]]
_SIDES: Final = {"prompt": "prompt", "response_a": "answer A", "response_b": "answer B"}


def truncation(members: Mapping[str, MemberCard]) -> Section | None:
    """Share of rows that lost tokens, per member and side; None where no member cuts texts."""
    lines = []
    for name, card in members.items():
        found = [
            facts["truncation"] for facts in card.fold_facts if _has(facts, "truncation", "truncated_rows")
        ]
        rows, tokens = (sum(_count(one, key) for one in found) for key in ("rows", "tokens"))
        if not rows:
            continue
        for side, words in _SIDES.items():
            cut = sum(_count(one["truncated_rows"], side) for one in found)
            lost = sum(_count(one.get("truncated_tokens", {}), side) for one in found)
            share = lost / (tokens + lost) if tokens + lost else 0.0
            cells = (f"{cut / rows:.1%}", f"{share:.1%}")
            lines.append(Line(f"{name}, {words}", cut / rows, None, cells, "accent"))
    if not lines:
        return None
    top = max(line.value for line in lines)
    table = drawn_table(
        lines,
        [Column("rows cut"), Column("tokens left out")],
        caption="Share of a member's training rows of which tokens were left out to fit its length",
        first="",
        quantity="share of rows",
        percent=True,
        scale=Scale(0.0, max(top, 0.05)),
    )
    return Section("truncation", "What was cut off", {"table": table})


def curves(members: Mapping[str, MemberCard], steps: Mapping[str, Lines] | None = None) -> Section | None:
    """Training loss by step or epoch, or held-out loss by regularisation where a member was fitted at once.

    ``steps`` holds, by member, the losses of its last training that the event log kept.
    """
    charts = []
    for name, card in members.items():
        folds = [(f"fold {k}", one) for k, one in enumerate(card.fold_facts) if isinstance(one, dict)]
        epochs = [(what, list(enumerate(_numbers(one.get("epoch_losses")), 1))) for what, one in folds]
        strengths = [(what, _by_strength(one.get("inner_log_loss"))) for what, one in folds]
        for lines, quantity, step in (
            (list((steps or {}).get(name, ())), "training loss", "step"),
            (epochs, "training loss", "epoch"),
            (strengths, "held-out loss", "C"),
        ):
            kept = [(what, points) for what, points in lines if points]
            if kept:
                label = _power if step == "C" else "{:g}".format
                drawing = line_chart(name, kept, quantity=quantity, step=step, label=label)
                charts.append({"name": name, "what": f"{quantity} by {step}", "drawing": drawing})
    return Section("curves", "How they learned", {"charts": charts}) if charts else None


def step_losses(records: Iterable[Mapping[str, Any]]) -> dict[str, Lines]:
    """Member → a line a fold of (step, training loss), of its last training in an event log.

    A fold whose training began anew keeps what came after; one that went on, all of it.
    """
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for one in records:
        if one.get("kind") != "progress":
            continue
        member, fold = one.get("member"), one.get("fold")
        step, loss = _number(one.get("step")), _number(one.get("loss"))
        if not isinstance(member, str) or step is None or loss is None:
            continue
        points = found.setdefault(member, {}).setdefault(f"fold {fold}", [])
        while points and points[-1][0] >= step:
            points.pop()
        points.append((step, loss))
    kept = {
        name: [(what, points) for what, points in folds.items() if len(points) >= _LEAST]
        for name, folds in found.items()
    }
    return {name: lines for name, lines in kept.items() if lines}


def _has(facts: Any, key: str, inner: str) -> bool:
    """Facts come from cards that other versions wrote."""
    return (
        isinstance(facts, dict)
        and isinstance(facts.get(key), dict)
        and isinstance(facts[key].get(inner), dict)
    )


def _count(counts: Any, key: str) -> int:
    value = counts.get(key) if isinstance(counts, dict) else None
    return value if isinstance(value, int) else 0


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _numbers(values: Any) -> list[float]:
    """Finite numbers of a list, all or none."""
    found = [_number(value) for value in values] if isinstance(values, list) else []
    return [value for value in found if value is not None] if None not in found else []


def _by_strength(losses: Any) -> list[tuple[float, float]]:
    """(log2 of C, loss) of what a linear member tried, all or none."""
    if not isinstance(losses, dict) or len(_numbers(list(losses.values()))) != len(losses):
        return []
    try:
        return sorted((math.log2(float(strength)), float(loss)) for strength, loss in losses.items())
    except ValueError:
        return []


def _power(exponent: float) -> str:
    return f"C = {2**exponent:g}"
