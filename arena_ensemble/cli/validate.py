"""The verb validate: what a file was taken for, column by column, and the command to run next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from . import options as o
from .facts_in_words import fact_rows
from .panel_options import FirstOption, NumbersOption
from .runner import PARTLY, Result, WorkspaceOption
from .validate_judgements import validated

if TYPE_CHECKING:
    import polars as pl

    from ..io import BattlesReport, LoadedPredictions
    from ..pipeline.guards import GuardReport
    from ..predictions import Predictions


def validate(
    file: Annotated[
        Path | None, typer.Argument(help="battles, in any format that is read", show_default=False)
    ] = None,
    format: o.FormatOption = None,
    oof: Annotated[
        Path | None, typer.Option(metavar="FILE", help="out-of-fold predictions instead of battles")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="with --oof: id and outcome, to check them against")
    ] = None,
    logits: o.LogitsOption = False,
    ids: o.IdsOption = None,
    average: o.AverageOption = False,
    skip_unvoted: o.SkipUnvotedOption = False,
    judgements: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="judges' verdicts, scores or probabilities instead (repeat)"),
    ] = None,
    votes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="with --judgements: the votes that panel takes")
    ] = None,
    numbers: NumbersOption = None,
    first: FirstOption = "a",
    suspicious: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="write the suspicious rows here, for a spreadsheet"),
    ] = None,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Say what a file of battles, predictions or judgements holds, and what is wrong."""
    if sum(given is not None for given in (file, oof, judgements)) != 1:
        raise typer.BadParameter(
            "give a file of battles, or --oof FILE with predictions, or --judgements FILE of judges"
        )
    if judgements:
        for name, given in (("--labels", labels), ("--ids", ids), ("--suspicious", suspicious)):
            if given is not None:
                raise typer.BadParameter(f"{name} is not for --judgements")
        return validated(judgements, votes, numbers=numbers, first=first, format=format)
    if votes is not None or numbers is not None:
        raise typer.BadParameter("--votes and --numbers are for --judgements")
    if oof is not None:
        return _predictions(oof, labels, logits=logits, ids=ids, average=average, skip_unvoted=skip_unvoted)
    assert file is not None
    if labels is not None or logits or ids is not None or average:
        raise typer.BadParameter("--labels, --logits, --ids and --average are for --oof")
    from ..artifacts import atomic
    from ..io import load_battles, spreadsheet_csv, suspicious_rows

    try:
        loaded = load_battles(file, format=format, skip_unvoted=skip_unvoted, isolated=True)
    except InputError:
        if format is None and _holds_judgements(file):
            raise InputError(
                f"{file} holds no battles but judgements; run arena-ensemble validate --judgements "
                f"{shlex.quote(str(file))}"
            ) from None
        raise
    if suspicious is not None:
        rows = suspicious_rows(loaded.battles)
        atomic.write_bytes(suspicious, spreadsheet_csv(rows.columns, rows.iter_rows()))
    return _battles(loaded.report, format)


def _holds_judgements(file: Path) -> bool:
    """Whether a file that holds no battles can be read as judges' answers."""
    from ..io import load_judgements

    try:
        load_judgements(file)
    except InputError:
        return False
    return True


def _battles(report: BattlesReport, form: str | None) -> Result:
    from . import tables

    facts = report.as_dict()
    facts["columns_not_read"] = [name for name in report.columns if name not in report.columns_read]
    facts["left_out"] = _left_out(report)
    facts["next"] = _next_of_battles(report, form)
    hidden = ("columns", "columns_read", "columns_not_read", "notes", "left_out", "next")
    counts = fact_rows({name: value for name, value in facts.items() if name not in hidden})
    text = "\n".join(
        [
            tables.facts_table(counts, title=report.file),
            "",
            _columns_table(report.columns_read, facts["columns_not_read"]),
            *_lines("note", report.notes),
            *_lines("left out", facts["left_out"]),
            f"next: {facts['next']}",
        ]
    )
    return Result(facts, text)


def _left_out(report: BattlesReport) -> list[str]:
    """What training will leave out or refuse."""
    unvoted = report.outcomes.get("none", 0)
    voted = report.rows - unvoted
    if unvoted and voted:
        return [f"{unvoted} of {report.rows} rows have no vote: refused for training without --skip-unvoted"]
    return []


def _next_of_battles(report: BattlesReport, form: str | None) -> str:
    """The command that this file is good for."""
    file = shlex.quote(report.file)
    shape = f" --format {form}" if form else ""
    voted = report.rows - report.outcomes.get("none", 0)
    if not voted:
        return (
            f"arena-ensemble submission --data TRAIN --test {file}{shape} (no votes: these can be predicted)"
        )
    if sum(count > 0 for label, count in report.outcomes.items() if label != "none") < 2:
        return (
            "check the votes: all are alike, so nothing can be trained; as battles to predict: "
            f"arena-ensemble submission --data TRAIN --test {file}{shape}"
        )
    skip = " --skip-unvoted" if voted < report.rows else ""
    return f"arena-ensemble submission --data {file} --test TEST{shape}{skip}"


def _predictions(
    path: Path,
    labels: Path | None,
    *,
    logits: bool,
    ids: Path | None,
    average: bool,
    skip_unvoted: bool,
) -> Result:
    from ..io import load_predictions
    from . import tables

    loaded = load_predictions(path, oof=True, logits=logits, ids=ids, average=average)
    members = {name: parts[0] for name, parts in loaded.members.items()}
    shared, left_out = _shared_rows(members, labels, skip_unvoted)
    found = _checked(members, shared)
    facts: dict[str, Any] = {
        "file": str(path),
        "rows": {name: len(member) for name, member in members.items()},
        "columns_read": dict(loaded.columns_read),
        "columns_not_read": list(loaded.ignored),
        "notes": list(loaded.notes),
        "left_out": left_out,
        "members": _member_facts(members, shared),
        "alarms": found.alarms,
        "member_notes": found.notes,
        "next": _next_of_predictions(path, list(members), labels, logits=logits, ids=ids, average=average),
    }
    lines = [
        *_lines("note", loaded.notes),
        *_lines("left out", left_out),
        *[f"member {name} {why}" for name, reasons in facts["alarms"].items() for why in reasons],
        *[f"note: member {name} {why}" for name, reasons in facts["member_notes"].items() for why in reasons],
        f"next: {facts['next']}",
    ]
    pairs = [(name, _described(one)) for name, one in facts["members"].items()]
    columns = _columns_of(loaded)
    text = "\n".join([tables.facts_table(pairs, title=str(path)), "", columns, *lines])
    return Result(facts, text, PARTLY if facts["alarms"] else 0)


def _shared_rows(
    members: Mapping[str, Predictions], labels: Path | None, skip_unvoted: bool
) -> tuple[pl.DataFrame | None, list[str]]:
    """The labelled rows that all members have (columns id, outcome), and what these leave out."""
    if labels is None:
        return None, ["nothing was checked against votes: give --labels FILE"]
    from ..io import read_labels
    from ..pipeline.external import common_rows

    table = read_labels(labels, skip_unvoted=skip_unvoted)
    shared = common_rows(table, members, labels)
    left_out = []
    if len(shared) < len(table):
        first = table.filter(~table["id"].is_in(shared["id"].implode()))["id"][0]
        left_out.append(
            f"{len(table) - len(shared)} of {len(table)} labelled rows are not predicted, the first with id "
            f"{first}: stack refuses them without --common"
        )
    for name, member in members.items():
        if len(member) > len(shared):
            left_out.append(f"{len(member) - len(shared)} rows of {name} have no label and are not used")
    return shared, left_out


def _checked(members: Mapping[str, Predictions], shared: pl.DataFrame | None) -> GuardReport:
    """What the guards say of the members on the labelled rows."""
    from ..pipeline.guards import GuardReport, check_members

    if shared is None:
        return GuardReport()
    aligned = {name: one.aligned_to(shared["id"], name=name) for name, one in members.items()}
    return check_members(aligned, shared["outcome"].to_numpy().astype("int64"), external=aligned)


def _member_facts(
    members: Mapping[str, Predictions], shared: pl.DataFrame | None
) -> dict[str, dict[str, Any]]:
    """Rows, shares and, with labels, scores of each member."""
    from ..diagnostics.collapse import prediction_summary

    facts: dict[str, dict[str, Any]] = {}
    for name, member in members.items():
        facts[name] = {
            "rows": len(member),
            "mean_probabilities": [round(float(p), 4) for p in member.probs.mean(axis=0)],
        }
        if shared is not None:
            log_probs = member.aligned_to(shared["id"], name=name).combined().log_probs
            facts[name] |= prediction_summary(log_probs, shared["outcome"].to_numpy().astype("int64"))
    return facts


def _described(facts: Mapping[str, Any]) -> str:
    a, b, tie = facts["mean_probabilities"]
    text = f"{facts['rows']:,} rows, on average A {a:.3f}, B {b:.3f}, tie {tie:.3f}"
    if "log_loss" in facts:
        text += f"; log-loss {facts['log_loss']:.4f} (prior {facts['prior_log_loss']:.4f})"
    return text


def _next_of_predictions(
    path: Path, names: Sequence[str], labels: Path | None, *, logits: bool, ids: Path | None, average: bool
) -> str:
    """The command that these predictions are good for."""
    extra = f" --ids {shlex.quote(str(ids))}" if ids is not None else ""
    extra += " --logits" * logits + " --average" * average
    file = shlex.quote(str(path))
    if labels is not None or len(names) > 1:
        known = "LABELS" if labels is None else shlex.quote(str(labels))
        return f"arena-ensemble stack --labels {known} --oof {file}{extra} --out DIR"
    name = shlex.quote(names[0])
    stack = f"arena-ensemble stack --data TRAIN --models {name}"
    return f"arena-ensemble import {name} --oof {file}{extra}, then {stack}"


def _columns_of(loaded: LoadedPredictions) -> str:
    if not loaded.columns_read:
        return "an array: its columns are taken for A wins, B wins, tie, in this order"
    return _columns_table(loaded.columns_read, loaded.ignored)


def _columns_table(read: Mapping[str, str], ignored: Sequence[str]) -> str:
    pairs = [*read.items(), *((name, "not read") for name in ignored)]
    width = max(len(name) for name, _ in pairs)
    return "\n".join(["columns, and what they were taken for:", *(f"{k:<{width}}  {v}" for k, v in pairs)])


def _lines(what: str, texts: Sequence[str]) -> list[str]:
    return [f"{what}: {text}" for text in texts]
