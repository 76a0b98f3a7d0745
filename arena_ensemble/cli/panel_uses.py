"""What panel prints and takes beyond the fit: judges' character, and what the panel is used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from ..pipeline.panel_uses import Uses

_USES: Final = "What the panel is used for, in DIR/uses.json"
_WIDEST: Final = 10_000
"""no figure is cut"""


@dataclass(frozen=True, kw_only=True)
class UseOptions:
    """What is asked of a panel once it is fitted."""

    selective: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="find the threshold above which at most this share of verdicts is wrong",
            rich_help_panel=_USES,
        ),
    ] = None
    confidence: Annotated[
        float, typer.Option(help="confidence that the share is kept on new pairs", rich_help_panel=_USES)
    ] = 0.95
    cascade: Annotated[
        str | None,
        typer.Option(
            metavar="auto|JUDGE,…",
            help="ask judges in turn, the next only where it is worth its cost; auto: by cost",
            rich_help_panel=_USES,
        ),
    ] = None
    costs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="judge and cost of one call", rich_help_panel=_USES)
    ] = None
    systems: Annotated[
        str | None,
        typer.Option(
            metavar="ids|FILE",
            help="rank systems: id, system_a, system_b, or ids item|a|b",
            rich_help_panel=_USES,
        ),
    ] = None
    equal_style: Annotated[
        bool,
        typer.Option(
            "--equal-style",
            help="with --systems and --text: ratings at equal length and style beside",
            rich_help_panel=_USES,
        ),
    ] = False
    vote_curve: Annotated[
        bool,
        typer.Option(
            "--vote-curve", help="measure the loss at fewer votes: a few fits", rich_help_panel=_USES
        ),
    ] = False

    def asked(self) -> Uses:
        """The same as plain values of the pipeline."""
        from ..pipeline.panel_uses import Uses

        return Uses(
            self.selective, self.confidence, self.cascade, self.systems, self.equal_style, self.vote_curve
        )


def character_table(judges: Sequence[Mapping[str, Any]]) -> str:
    """A line a judge: agreement with its interval and base rate, kappa, biases, calibration, what it adds."""
    columns: list[tuple[str, Any]] = [
        ("agrees", lambda one: _share(one["agreement"])),
        ("95 %", lambda one: _range(one["agreement_low"], one["agreement_high"])),
        ("base", lambda one: _share(one["base_rate"])),
        ("kappa", lambda one: _number(one["kappa"], "{:.2f}")),
        ("first", lambda one: _signed(one["position_excess"], one["position_excess_se"])),
        ("length", lambda one: _signed(one["length_bias"], one["length_bias_se"])),
        ("own loss", lambda one: _number(one["stated_log_loss"], "{:.3f}")),
        ("adds", lambda one: _signed(one["adds"], one["adds_se"], 4)),
        ("a unit", lambda one: _number(one["gain_per_cost"], "{:.2g}")),
        ("replaces", lambda one: _replaces(one["replacement"])),
    ]
    names = [str(one["name"]) for one in judges]
    cells = {header: [read(one) for one in judges] for header, read in columns}
    to = {one["adds_to"] for one in judges} - {None}
    # A pool tells where fitting the panel again without each judge would take too long.
    adds = "".join(f"; adds: to {'the panel' if one == 'panel' else 'a pool'}" for one in to)
    return _plain_table(
        f"each judge against the votes (first, length: how much oftener it prefers those{adds})",
        {"": names, **{header: values for header, values in cells.items() if any(values)}},
    )


def _plain_table(title: str, columns: Mapping[str, Sequence[str]]) -> str:
    from .tables import wide_table

    return wide_table(tuple(columns), list(zip(*columns.values(), strict=True)), title=title)


def _number(value: float | None, shape: str) -> str:
    return "" if value is None else shape.format(value)


def _share(value: float | None) -> str:
    return _number(value, "{:.1%}")


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.1%}–{high:.1%}"


def _signed(value: float | None, se: float | None, digits: int = 2) -> str:
    if value is None:
        return ""
    return f"{value:+.{digits}f}" + ("" if se is None else f" ± {se:.{digits}f}")


def _replaces(test: Mapping[str, Any] | None) -> str:
    return "" if test is None else f"{'yes' if test['passes'] else 'no'} ({test['winning_rate']:.0%})"


def uses_text(uses: Mapping[str, Any]) -> str:
    """What ``uses.json`` holds, for people; empty where nothing was asked."""
    found = [_selective(uses["selective"]), _cascade(uses["cascade"]), _ranking(uses["ranking"]),
             _curve(uses["vote_curve"])]  # fmt: skip
    return "\n\n".join(text for text in found if text)


def _selective(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    promise = f"at most {one['alpha']:.0%} wrong with confidence {1 - one['delta']:.0%}"
    if one["threshold"] is None:
        return f"selective: no threshold keeps {promise}, on {one['rows']:,} pairs; {_way_on(one)}"
    return (
        f"selective: keep verdicts from probability {one['threshold']:.3f} on, {promise}: "
        f"{one['coverage']:.0%} of the pairs, {one['error']:.1%} of them wrong here"
    )


def _way_on(one: Mapping[str, Any]) -> str:
    """What to do where no threshold is safe."""
    ways = []
    least = one.get("least_kept")
    if least is not None:
        ways.append(f"{least:,} kept verdicts without an error are the fewest that would prove it")
    if one["reachable"] is not None:
        ways.append(f"--selective {one['reachable']:.2f} would be met")
    if one["rows_needed"] is not None:
        ways.append(f"about {one['rows_needed']:,} voted pairs like these would do")
    else:
        ways.append("how many more votes would do, these pairs do not say")
    return "; ".join(ways)


def _cascade(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    rows = one["rows"]
    shown = rows if len(rows) <= 8 else [rows[round(k * (len(rows) - 1) / 7)] for k in range(8)]
    columns = {
        "price": [f"{row['price']:.3g}" for row in shown],
        "log-loss": [f"{row['log_loss']:.4f}" for row in shown],
        "± s.e.": [f"{row['log_loss_se']:.4f}" for row in shown],
        "accuracy": [f"{row['accuracy']:.3f}" for row in shown],
    }
    columns |= {
        f"asks {name}": [f"{row['asked'][k]:.0%}" for row in shown] for k, name in enumerate(one["order"])
    }
    return _plain_table("cascade: the next judge only where its expected gain is worth its price", columns)


def _ranking(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    rows = one["systems"]
    columns = {
        "": [row["system"] for row in rows],
        "rating": [f"{row['rating']:+.2f}" for row in rows],
        "95 %": [f"{row['low']:+.2f} to {row['high']:+.2f}" for row in rows],
        "wins": [f"{row['win_rate']:.1%}" for row in rows],
        "between": [f"{row['win_rate_low']:.1%}–{row['win_rate_high']:.1%}" for row in rows],
        "rank": [f"{row['best_rank']}–{row['worst_rank']}" for row in rows],
    }
    if one["equal_style"] is not None:
        level = {row["system"]: row for row in one["equal_style"]["systems"]}
        columns["at equal style"] = [
            f"{level[name]['rating']:+.2f} ({level[name]['low']:+.2f} to {level[name]['high']:+.2f})"
            for name in columns[""]
        ]
    return _plain_table(
        f"systems: {one['votes']:,} votes, the panel on {one['predicted']:,} pairs by {one['tuning']:.2f}",
        columns,
    )


def _curve(rows: Sequence[Mapping[str, Any]] | None) -> str:
    if rows is None:
        return ""
    columns = {
        "votes": [f"{row['votes']:,}" for row in rows],
        "log-loss": [f"{row['log_loss']:.4f}" for row in rows],
        "± s.e.": ["" if row["log_loss_se"] is None else f"{row['log_loss_se']:.4f}" for row in rows],
        "measured": ["yes" if row["measured"] else "by the curve" for row in rows],
    }
    return _plain_table("how many more votes would help", columns)
