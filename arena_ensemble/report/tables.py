"""The score table and the member-contribution table as rows of text, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..metrics import ScoreRow


@dataclass(frozen=True)
class Column:
    """A header, and whether the cells are numbers (aligned to the right) or words."""

    header: str
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """One cell of text for every column."""

    cells: tuple[str, ...]
    emphasised: bool = False


@dataclass(frozen=True)
class TextTable:
    """A table ready to print: every cell is text, in the order of the columns."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Matrix:
    """Numbers in [-1, 1] for every pair of members, (n, n), and what they say."""

    caption: str
    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class _Layout:
    """How one column is made; ``optional`` columns are left out where every cell is empty."""

    header: str
    cell: Callable[[Any], str]
    numeric: bool = True
    optional: bool = False


_SCORE: Final = (
    _Layout("", lambda row: row.name, numeric=False),
    _Layout("log-loss", lambda row: f"{row.log_loss:.4f}"),
    _Layout("± s.e.", lambda row: f"{row.se:.4f}"),
    _Layout("accuracy", lambda row: f"{row.accuracy:.3f}"),
    _Layout("vs ensemble", lambda row: f"{row.difference:+.4f}"),
    _Layout("± s.e.", lambda row: f"{row.difference_se:.4f}"),
    _Layout("gap closed", lambda row: percent(row.gap_closed), optional=True),
    _Layout("", lambda row: "◀ chosen" if row.chosen else row.note, numeric=False),
)
_POSITION_BIAS: Final = "position bias"
_MEMBER: Final = (
    _Layout("", lambda row: row["name"], numeric=False),
    _Layout("loss without it", lambda row: f"{row['leave_one_out_gain']:+.4f}"),
    _Layout("± s.e.", lambda row: f"{row['leave_one_out_gain_se']:.4f}"),
    _Layout("best 1/T", lambda row: f"{row['beta']:.2f}"),
    # mean p(A) - p(B) less the share of A wins minus that of B wins: 0 when calibrated, not when balanced
    _Layout("excess p(A) - p(B)", lambda row: f"{row['a_bias']:+.3f}"),
    _Layout(_POSITION_BIAS, lambda row: _position_bias(row["position_bias"])),
    _Layout("hours", lambda row: "" if row["hours"] is None else f"{row['hours']:.2f}", optional=True),
)
_KINDS: Final = {"log_probs": "probabilities"}
_JUDGE: Final = (
    _Layout("", lambda row: row["name"], numeric=False),
    _Layout("log-loss", lambda row: f"{row['log_loss']:.4f}"),
    _Layout("± s.e.", lambda row: f"{row['se']:.4f}"),
    _Layout("accuracy", lambda row: f"{row['accuracy']:.3f}"),
    _Layout("agrees", lambda row: percent(row["agreement"])),
    _Layout("missing", lambda row: percent(row["missing"])),
    _Layout("flips", lambda row: percent(row["flip_rate"]), optional=True),
    _Layout("cost", lambda row: "" if row["cost"] is None else f"{row['cost']:g}", optional=True),
    _Layout("", lambda row: _KINDS.get(row["kind"], row["kind"]), numeric=False),
)


def score_table(rows: Sequence[ScoreRow]) -> TextTable:
    """One row for each `ScoreRow`; the ensemble's own is emphasised."""
    return _text_table(_SCORE, rows, emphasised=[row.kind == "choice" for row in rows])


def contribution_table(
    contributions: Mapping[str, Any], *, full_advice: bool = False, judges: bool = False
) -> TextTable:
    """What each member adds, from ``contributions`` of an ensemble's card.

    Parameters
    ----------
    judges
        Whether the members are judges, whose orders `judge_table` shows.
    full_advice
        The whole sentence in the last column, in place of its first words (keep, leave out, no gain seen).
    """
    members = contributions["members"]
    shown = [one for one in _MEMBER if not (judges and one.header == _POSITION_BIAS)]
    layout = (*shown, _Layout("", _advice if full_advice else _short_advice, numeric=False))
    return _text_table(layout, members, emphasised=[False] * len(members))


def judge_table(judges: Sequence[Mapping[str, Any]]) -> TextTable:
    """What each judge of a panel is worth alone, from ``judges`` of its card."""
    return _text_table(_JUDGE, judges, emphasised=[False] * len(judges))


def greedy_steps(contributions: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Members in the order in which greedy selection first takes them, with the log-loss then reached."""
    first: dict[str, float] = {}
    for name, reached in contributions["greedy"]:
        first.setdefault(name, reached)
    return [(name, f"{reached:.4f}") for name, reached in first.items()]


def likeness(contributions: Mapping[str, Any]) -> list[Matrix]:
    """How alike the members' predictions and errors are; empty for one member, which has no peer."""
    names = tuple(row["name"] for row in contributions["members"])
    if len(names) < 2:
        return []
    captions = {
        "disagreement": "Share of rows whose likeliest outcomes differ",
        "error_correlation": "Correlation of row losses",
    }
    return [
        Matrix(caption, names, tuple(tuple(row) for row in contributions[key]))
        for key, caption in captions.items()
    ]


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal, never ``-0.0%``; empty for None."""
    # rounded first, since adding 0.0 then turns -0.0 into 0.0
    return "" if share is None else f"{round(share, 3) + 0.0:.1%}"


def _text_table(layouts: Sequence[_Layout], items: Sequence[Any], emphasised: Sequence[bool]) -> TextTable:
    columns = [(layout, [layout.cell(item) for item in items]) for layout in layouts]
    shown = [(layout, cells) for layout, cells in columns if not layout.optional or any(cells)]
    rows = [Row(tuple(cells[place] for _, cells in shown), emphasised[place]) for place in range(len(items))]
    return TextTable(tuple(Column(layout.header, layout.numeric) for layout, _ in shown), tuple(rows))


def _position_bias(bias: float | None) -> str:
    return "not measured" if bias is None else f"{bias:+.3f}"


def _advice(row: Mapping[str, Any]) -> str:
    return str(row["advice"])


def _short_advice(row: Mapping[str, Any]) -> str:
    """``no gain seen: nothing that …`` → ``no gain seen``."""
    return _advice(row).partition(":")[0]
