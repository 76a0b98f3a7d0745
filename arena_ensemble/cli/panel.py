"""The verb panel, and predict with a panel: judges' verdicts, scores or probabilities, learned from votes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import InputError
from ..io.format_names import FORMAT_NAMES, RESULT_NAMES
from . import options as o
from . import typed
from .best_of_n import fit_best_of_n, predict_best_of_n, without
from .panel_options import FirstOption, NumbersOption, first_seen, result_format
from .panel_uses import UseOptions, character_table, uses_text
from .runner import Result

if TYPE_CHECKING:
    from ..panels import Panel
    from ..pipeline.panel import PanelData

_SHOWN: Final = 12
"""judges shown without ``--all``, the best ones"""
_TEXTS: Final = 5
"""texts of a judge that are no verdict, in the JSON"""

JudgementsOption = Annotated[
    list[Path], typer.Option(metavar="FILE", help="verdicts, scores or probabilities of judges (repeat)")
]
ResultFormatOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"result file of a judge benchmark: {', '.join(RESULT_NAMES[:-1])} or {RESULT_NAMES[-1]}",
        show_default="decided by the columns",
    ),
]
TextFormatOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"of --text: {', '.join(FORMAT_NAMES[:-1])} or {FORMAT_NAMES[-1]}",
        show_default="decided by the columns",
    ),
]


def panel(
    judgements: JudgementsOption,
    votes: Annotated[
        Path, typer.Option(metavar="FILE", help="id and winner, a column an annotator, or item and best")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for the panel, its OOF and its table")],
    uses: UseOptions,
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="battles of the same ids, for the features")
    ] = None,
    text_format: TextFormatOption = None,
    format: ResultFormatOption = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|FILE", help="pairs that belong together", show_default="by item or text"
        ),
    ] = None,
    numbers: NumbersOption = None,
    first: FirstOption = "a",
    best_of_n: Annotated[
        bool | None,
        typer.Option(
            "--best-of-n/--pairs",
            help="learn the best of each item's answers, or who wins each pair",
            show_default="the best, where answers are scored and votes name the best",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the folds and the stacker")] = 0,
    all_rows: o.AllRowsOption = False,
) -> Result:
    """Learn from votes what judges mean, calibrate them as one panel."""
    from ..io.judgements import load_all
    from ..panels.folder import check_out
    from ..pipeline.best_of_n import votes_for_best
    from ..pipeline.panel import fit_panel, panel_data
    from .progress import Bars

    check_out(out)  # not after the work
    loaded = load_all(judgements, numbers=numbers, first=first_seen(first), format=result_format(format))
    best = votes_for_best(loaded, votes, asked=best_of_n)
    if best is not None:
        if text is not None:
            raise InputError("--text: the best of several answers is learned without features; leave it out")
        wrong = {"--text-format": text_format, "--numbers": numbers, "--first": first.lower() != "a"}
        if unused := [*o.given(uses), *(name for name, value in wrong.items() if value)]:
            raise InputError(f"{', '.join(unused)}: of no use for the best of several answers; leave it out")
        return fit_best_of_n(loaded, best, votes, out, groups=groups, seed=seed)
    check_text(text, text_format)
    data = panel_data(loaded, votes, text=text, text_format=text_format, groups=groups, costs=uses.costs)
    asked = uses.asked()
    asked.check(data.judgements, text=text is not None)
    used: dict[str, Any] = {}

    def use(fitted: Panel, data: PanelData) -> dict[str, Any]:
        used.update(asked.of(fitted, data))
        return used

    with Bars() as bars:
        fitted = fit_panel(data, out, seed=seed, uses=use, on_event=bars)
    pairs = len(data.votes.ids)
    facts = {
        "pairs": pairs,
        "annotators": list(data.votes.annotators),
        "out": str(out),
        "choice": fitted.choice_,
        "selection_frequency": fitted.selection_frequency_,
        "log_loss": fitted.card_.log_loss,
        "judges": [dataclasses.asdict(one) for one in fitted.judges_],
        "table": [dataclasses.asdict(row) for row in fitted.table_],
        "contributions": fitted.card_.contributions,
        "uses": used,
        "unread": {
            name: [list(text) for text in texts[:_TEXTS]]
            for one in loaded
            for name, texts in one.unread.items()
            if texts
        },
    }
    shown = "\n\n".join(filter(None, (_text(fitted, pairs, all_rows), uses_text(used), _next(out, text))))
    return Result(facts, shown)


def _text(fitted: Panel, pairs: int, all_rows: bool) -> str:
    """The ladder, and a line a judge."""
    from . import ladder, tables
    from .terminal import Terminal

    title = f"out of fold, {pairs:,} pairs"
    if all_rows:
        parts = [tables.score_table(fitted.table_, title=title)]
    else:
        parts = [ladder.ladder(fitted.table_, Terminal.of_stdout(), title=title, member="judge")]
    unseen = "pairs that it did not learn from"
    words = f"{ladder.headline(fitted.table_, member='judge', unseen=unseen)} {ladder.made_of(fitted.table_)}"
    parts += ["", Terminal.of_stdout().filled(words)]
    judges = [dataclasses.asdict(one) for one in fitted.judges_]
    shown = judges if all_rows else judges[:_SHOWN]
    parts += ["", tables.judge_table(shown), "", character_table(shown)]
    if not all_rows:
        more = f"; {len(judges)} judges" if len(judges) > _SHOWN else ""
        parts.append(f"{len(fitted.table_)} rows, every candidate's among them{more}: --all")
    return "\n".join(parts)


def _next(out: Path, text: Path | None) -> str:
    with_text = ["--data", str(text)] if text is not None else []
    page = typed.command("report", "--external", str(out), *with_text)
    new = typed.command("predict", "--panel", str(out), "--judgements", "new.csv", "--out", "predicted.csv")
    return (
        f"{out}: panel, out-of-fold predictions, table.json, judges.json and uses.json; next:\n"
        f"  # a page to look at\n  {page}\n  # new pairs, judged in new.csv\n  {new}"
    )


@dataclass(frozen=True, kw_only=True)
class PanelOptions:
    """What ``predict`` takes for a panel."""

    panel: Annotated[
        Path | None, typer.Option(metavar="DIR", help="a panel, --out of panel, in place of the ensemble")
    ] = None
    judgements: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="with --panel: new judgements (repeat)")
    ] = None
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="with --panel: texts, if it was fitted with texts")
    ] = None
    equal_style: Annotated[
        bool,
        typer.Option(
            "--equal-style",
            help="with --panel and --text: the verdict at equal length and style beside",
        ),
    ] = False
    text_format: TextFormatOption = None
    numbers: NumbersOption = None
    first: FirstOption = "a"


def predict_panel(given: PanelOptions, out: Path | None, format: str | None) -> Result:
    """Predict new judgements with a panel."""
    from ..panels.choice_files import is_best_of_n
    from ..pipeline.panel_prediction import predict_panel as predict

    assert given.panel is not None
    if not given.judgements or out is None:
        raise InputError("--panel needs --judgements FILE and --out FILE (or --shards DIR)")
    o.check_target(out)
    if is_best_of_n(given.panel):
        if unused := o.given(given, but=("panel", "judgements")):
            raise InputError(f"{', '.join(unused)}: of no use with a best-of-N panel; leave it out")
        return predict_best_of_n(given.panel, given.judgements, out, result_format(format))
    check_text(given.text, given.text_format)
    prediction = predict(
        given.panel,
        given.judgements,
        text=given.text,
        text_format=given.text_format,
        numbers=given.numbers,
        first=first_seen(given.first),
        format=result_format(format),
        equal_style=given.equal_style,
    )
    prediction.write(out)
    facts: dict[str, Any] = {
        "predictions": str(out),
        "rows": len(prediction.ids),
        "absent": list(prediction.absent),
        "threshold": prediction.threshold,
        "kept": None if prediction.threshold is None else prediction.kept,
        "other_at_equal_style": prediction.turned,
    }
    lines = [f"{out}: {len(prediction.ids):,} pairs{without(prediction.absent)}"]
    if prediction.threshold is not None:
        lines.append(
            f"{prediction.kept:,} verdicts of probability {prediction.threshold:.3f} or more: keep these"
        )
    if prediction.turned is not None:
        lines.append(f"{prediction.turned:,} verdicts are others at equal length and style")
    return Result(facts, "\n".join(lines))


def check_text(text: Path | None, form: str | None) -> None:
    """Raise InputError where a format of texts is given without texts."""
    if form is not None and text is None:
        raise InputError("--text-format is that of --text FILE; give both, or leave it out")
