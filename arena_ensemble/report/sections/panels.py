"""Judges in place of members: what each is worth alone, its biases, and what the panel is used for.

Facts of judges and uses come from JSON that may lack any of them: what is not there is not shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...artifacts.cards import EnsembleCard
from .. import tables
from ..intervals import DrawnTable, Line, drawn_table
from ..tables import Column, Row, TextTable
from .section import Section

_MORE: Final = (
    ("agreement", "agrees", "{:.1%}"),
    ("agreement_low", "from", "{:.1%}"),
    ("agreement_high", "to", "{:.1%}"),
    ("base_rate", "commonest vote", "{:.1%}"),
    ("kappa", "kappa", "{:.2f}"),
    ("stated_log_loss", "log-loss as stated", "{:.4f}"),
    ("calibration_error", "calibration error", "{:.3f}"),
    ("gain_per_cost", "gain per cost", "{:.3g}"),
)
_BIASES: Final = (
    (
        "position_excess",
        "excess preference",
        "How much oftener it prefers the answer that it saw first than the votes do",
    ),
    ("length_bias", "bias", "How much oftener it prefers the longer answer, among pairs of the same vote"),
)


def judges(card: EnsembleCard) -> Section | None:
    """What each judge of a panel is worth alone; None for an ensemble of members."""
    if not card.judges:
        return None
    table = tables.judge_table(card.judges)
    first = [place for place, column in enumerate(table.columns) if column.header in ("log-loss", "± s.e.")]
    kept = [*first, *(place for place in range(1, len(table.columns)) if place not in first)]
    lines = [
        Line(str(row["name"]), row["log_loss"], row["se"], tuple(cells.cells[p] for p in kept), "member")
        for row, cells in zip(card.judges, table.rows, strict=True)
    ]
    drawn = drawn_table(
        lines,
        [table.columns[place] for place in kept],
        caption="Each judge alone, after its own calibration, out of fold",
        first="judge",
        quantity="log-loss",
    )
    more = _more(card.judges)
    stated = more is not None and any("stated" in column.header for column in more.columns)
    caption = "Agreement with its interval at 95%, beside always giving the commonest vote"
    caption += "; and the probabilities that it stated itself" if stated else ""
    return Section(
        "judges",
        "Each judge alone",
        {
            "table": drawn,
            "flips": any(one.header == "flips" for one in table.columns),
            "more": more,
            "more_caption": caption,
        },
    )


def added(judges: Sequence[Mapping[str, Any]]) -> DrawnTable | None:
    """How much a panel's loss rises when it is fitted without each judge; None where that is not known."""
    known = [one for one in judges if one.get("adds") is not None]
    lines = [
        Line(
            str(one["name"]),
            one["adds"],
            one["adds_se"],
            (f"{one['adds']:+.4f}", f"{one['adds_se']:.4f}"),
            "member",
        )
        for one in sorted(known, key=lambda one: -one["adds"])
    ]
    if not lines:
        return None
    return drawn_table(
        lines,
        [Column("rise"), Column("± s.e.")],
        caption="Rise of the panel's log-loss without one judge",
        first="judge",
        quantity="rise without it",
        zero=True,
    )


def _more(rows: Sequence[Mapping[str, Any]]) -> TextTable | None:
    """Statistics that newer panels know, those that are known of any judge."""
    known = [
        (key, header, form)
        for key, header, form in _MORE
        if any(_number(row.get(key)) is not None for row in rows)
    ]
    if len(known) < 2:
        return None
    columns = (Column("judge", numeric=False), *(Column(header) for _, header, _ in known))
    return TextTable(
        columns,
        tuple(
            Row((str(row["name"]), *(_shown(row.get(key), form) for key, _, form in known))) for row in rows
        ),
    )


def biases(card: EnsembleCard) -> Section | None:
    """Preference for the answer seen first and for the longer one; None where nothing is known."""
    found = []
    for key, quantity, caption in _BIASES:
        lines = []
        for row in card.judges:
            value, se = _number(row.get(key)), _number(row.get(f"{key}_se"))
            if value is not None:
                cells = (f"{value:+.3f}", _shown(se, "{:.3f}"))
                lines.append(Line(str(row["name"]), value, math.nan if se is None else se, cells, "member"))
        if lines:
            columns = [Column("bias"), Column("± s.e.")]
            found.append(
                drawn_table(lines, columns, caption=caption, first="judge", quantity=quantity, zero=True)
            )
    return Section("biases", "Position and length", {"tables": found}) if found else None


def uses(found: Mapping[str, Any]) -> Section | None:
    """What a panel is used for: deciding where it is sure, rankings, cascades, more votes."""
    promise = _promise(found.get("selective"))
    shown = [
        one
        for one in (_risk(found), *_rankings(found), _cascade(found), _votes(found))
        if one is not None and one.rows
    ]
    values = {"tables": shown, "promise": promise}
    return Section("uses", "What the panel is used for", values) if shown or promise else None


def _promise(one: Any) -> dict[str, str] | None:
    """The threshold of selective prediction, or what would have one."""
    alpha, delta = (_number(one.get(key)) if isinstance(one, Mapping) else None for key in ("alpha", "delta"))
    if alpha is None or delta is None:
        return None
    promise = f"at most {alpha:.3g} of the verdicts kept are wrong, with confidence {1 - delta:.3g}"
    threshold, coverage = _number(one.get("threshold")), _number(one.get("coverage"))
    if threshold is not None:
        more = "" if coverage is None else f" That is {coverage:.1%} of these pairs"
        more += f", {_shown(one.get('error'), '{:.1%}')} of them wrong." if more else ""
        return {"head": f"Keep a verdict of probability {threshold:.3f} or more", "text": f"{promise}.{more}"}
    reachable, rows = _shown(one.get("reachable"), "{:.2f}"), _shown(one.get("rows_needed"), "{:,.0f}")
    more = f" A share of {reachable} would be met." if reachable else ""
    more += f" About {rows} voted pairs like these would do." if rows else ""
    return {"head": "No threshold is safe", "text": f"none promises that {promise}.{more}"}


def _risk(found: Mapping[str, Any]) -> DrawnTable | None:
    lines = [
        Line(
            f"the surest {row['coverage']:.0%}",
            row["error"],
            row["error_se"],
            (
                f"{row['error']:.1%}",
                _shown(row.get("log_loss"), "{:.4f}"),
                _shown(row.get("threshold"), "{:.2f}"),
            ),
            "accent",
        )
        for row in _rows(found.get("risk_coverage"), "coverage", "error", "error_se")
    ]
    return drawn_table(
        lines,
        [Column("wrong"), Column("log-loss"), Column("from probability")],
        caption="Share of wrong verdicts among the pairs of which the panel is surest",
        first="",
        quantity="share wrong",
    )


def _rankings(found: Mapping[str, Any]) -> list[DrawnTable]:
    ranking = found.get("ranking")
    if not isinstance(ranking, Mapping):
        return []
    style = ranking.get("equal_style")
    parts = [("Systems by rating, 95% interval", ranking.get("systems"))]
    if isinstance(style, Mapping):
        parts.append(("The same at equal length and formatting", style.get("systems")))
    return [
        drawn_table(
            [
                Line(
                    str(row.get("system")),
                    row["rating"],
                    0.0,
                    (f"{row['rating']:+.2f}", _shown(row.get("win_rate"), "{:.1%}"), _ranks(row)),
                    "member",
                    ends=(row["low"], row["high"]),
                )
                for row in _rows(systems, "rating", "low", "high")
            ],
            [Column("rating"), Column("wins"), Column("ranks")],
            caption=caption,
            first="system",
            quantity="rating",
        )
        for caption, systems in parts
    ]


def _ranks(row: Mapping[str, Any]) -> str:
    low, high = row.get("best_rank"), row.get("worst_rank")
    return "" if low is None or high is None else str(low) if low == high else f"{low} to {high}"


def _cascade(found: Mapping[str, Any]) -> DrawnTable | None:
    cascade = found.get("cascade")
    if not isinstance(cascade, Mapping):
        return None
    lines = [
        Line(
            f"{row['price']:.3g} a pair",
            row["log_loss"],
            row["log_loss_se"],
            (f"{row['log_loss']:.4f}", _shown(row.get("accuracy"), "{:.3f}")),
            "accent",
        )
        for row in _rows(cascade.get("rows"), "price", "log_loss", "log_loss_se")
    ]
    order = ", then ".join(str(name) for name in cascade.get("order") or ())
    return drawn_table(
        lines,
        [Column("log-loss"), Column("accuracy")],
        caption=f"Asking in turn, and stopping where the panel is sure: {order}",
        first="cost",
        quantity="log-loss",
    )


def _votes(found: Mapping[str, Any]) -> DrawnTable | None:
    lines = [
        Line(
            f"{row['votes']:,.0f} votes",
            row["log_loss"],
            row["log_loss_se"],
            (f"{row['log_loss']:.4f}", "measured" if row.get("measured", True) else "extrapolated"),
            "accent" if row.get("measured", True) else "",
        )
        for row in _rows(found.get("vote_curve"), "votes", "log_loss", "log_loss_se")
    ]
    return drawn_table(
        lines,
        [Column("log-loss"), Column("", numeric=False)],
        caption="Log-loss of the panel by the number of votes that it learned from",
        first="",
        quantity="log-loss",
    )


def _rows(given: Any, *needed: str) -> list[Mapping[str, Any]]:
    """The rows in which all these numbers are there."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        return []
    return [
        row
        for row in given
        if isinstance(row, Mapping) and all(_number(row.get(key)) is not None for key in needed)
    ]


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _shown(value: Any, form: str) -> str:
    number = _number(value)
    return "" if number is None else form.format(number)
