"""What a run came to, as JSON facts and as text for people; the verbs of the pipeline print it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from ..artifacts.members import MemberArtifacts
from ..pipeline.combining import EnsemblePrediction
from ..pipeline.ensemble import Ensemble
from ..pipeline.run_progress import clock
from ..pipeline.run_result import RunResult
from ..pipeline.workflow import TrainingRun
from . import ladder, tables, typed
from .runner import OUT_OF_TIME, PARTLY
from .terminal import Terminal

_MEMBER_FACTS: Final = ("backbone", "log_loss", "standard_error", "accuracy", "seconds", "alarms", "notes")


def run_facts(run: TrainingRun) -> dict[str, Any]:
    """The facts of a training run."""
    members = {}
    for name in run.result.finished:
        card = MemberArtifacts(run.workspace, name).card()
        members[name] = {} if card is None else {key: getattr(card, key) for key in _MEMBER_FACTS}
    return {
        "battles": len(run.train),
        "outcomes": run.n_classes,
        "folds": run.folds.digest,
        "members": members,
        "data_notes": list(run.notes),
        "failed": run.result.failed,
        "late": run.result.late,
        "alarms": run.result.alarms,
    }


def ensemble_facts(built: Ensemble) -> dict[str, Any]:
    """The facts of an ensemble."""
    card = built.card
    return {
        "choice": card.choice,
        "selection_frequency": card.selection_frequency,
        "log_loss": card.log_loss,
        "temperature": card.temperature,
        "table": [dataclasses.asdict(row) for row in built.table],
        "contributions": card.contributions,
        "suspicions": card.suspicions,
        "ensemble_alarms": card.alarms,
        "notes": card.notes,
    }


def members_text(run: TrainingRun) -> str:
    """A line per finished member."""
    pairs = []
    for name in run.result.finished:
        card = MemberArtifacts(run.workspace, name).card()
        if card is None or card.log_loss is None:
            pairs.append((name, "external, folds unverified"))
            continue
        loss = f"log-loss {card.log_loss:.4f} ± {card.standard_error:.4f} (prior {card.prior_log_loss:.4f})"
        pairs.append((name, f"{loss}, accuracy {card.accuracy:.3f}, trained in {clock(card.seconds)}"))
    text = tables.facts_table(pairs, title="out-of-fold members") if pairs else ""
    return "\n".join([text, *_warnings(run.result)])


def run_text(run: TrainingRun, built: Ensemble, *, all_rows: bool = False) -> str:
    """How good a run's ensemble is, what its members contribute, and warnings."""
    title = f"out of fold, {len(run.train):,} battles, {run.folds.n_folds} grouped folds"
    shown = {(name, why) for name, found in built.card.alarms.items() for why in found}
    return "\n".join([ensemble_text(built, title, all_rows=all_rows), *_warnings(run.result, shown)])


def ensemble_text(built: Ensemble, title: str, *, all_rows: bool = False) -> str:
    """The rows of the score table that matter first, or all; what the members contribute."""
    terminal = Terminal.of_stdout()
    if all_rows:
        parts = [tables.score_table(built.table, title=title, width=terminal.width)]
    else:
        parts = [ladder.ladder(built.table, terminal, title=title)]
    parts += ["", terminal.filled(f"{ladder.headline(built.table)} {ladder.made_of(built.table)}")]
    if not all_rows:
        parts.append(f"{len(built.table)} rows, every candidate's among them: --all")
    parts += ["", tables.contribution_table(built.card.contributions, width=terminal.width)]
    for one in built.card.suspicions:
        parts.append(f"member {one['member']} looks leaked: {'; '.join(one['reasons'])}")
    parts += [f"member {name} {why}" for name, found in built.card.alarms.items() for why in found]
    return "\n".join(parts)


def submission_text(target: Path, rows: int, built: Ensemble, workspace: Path, data: Path) -> str:
    """What was predicted, and what to do next, as commands to copy; how good it is stands above."""
    outcomes = "P(A wins), P(B wins), P(tie)" if built.card.n_classes == 3 else "P(A wins), P(B wins)"
    place = [] if workspace == Path() else ["--workspace", str(workspace)]
    steps = {"the same and more as a page to look at": typed.command("report", "--data", str(data), *place)}
    members = built.card.contributions["members"]
    useless = [str(one["name"]) for one in members if str(one["advice"]).startswith("leave out")]
    kept = [name for name in built.members if name not in useless]
    if useless and kept:
        adds = "adds" if len(useless) == 1 else "add"
        what = f"without {', '.join(useless)}, which {adds} nothing to a pool"
        steps[what] = typed.again("--models", ",".join(kept))
    steps["what larger members would need on a card"] = typed.command(
        "doctor", "--plan", "--data", str(data), *place
    )
    lines = [f"{target}: {rows:,} battles predicted ({outcomes}), checked; next:"]
    return "\n".join([*lines, *(f"  # {what}\n  {command}" for what, command in steps.items())])


def exit_code(result: RunResult | None = None, built: Ensemble | None = None) -> int:
    """0, 4 where a member failed or raises an alarm, 5 where the time was not enough."""
    if result is not None and result.late:
        return OUT_OF_TIME
    partly = result is not None and (result.failed or result.alarms)
    return PARTLY if partly or (built is not None and built.card.alarms) else 0


def _warnings(result: RunResult, shown: Collection[tuple[str, str]] = ()) -> list[str]:
    """A line per failed member and per alarm but those that are ``shown`` already."""
    failed = [f"member {name} FAILED: {why}" for name, why in result.failed.items()]
    failed += [f"member {name} is not finished: {why}" for name, why in result.late.items()]
    alarms = [
        f"member {name} {why}"
        for name, found in result.alarms.items()
        for why in found
        if (name, why) not in shown
    ]
    return failed + alarms


def prediction_text(prediction: EnsemblePrediction, target: Path) -> str:
    """What was left out of a prediction of new battles, for people, and where it lies."""
    lines = [f"member {name} LEFT OUT: {why}" for name, why in prediction.left_out.items()]
    lines += [
        f"member {name}: {what} predicted" + (" in time" if name in prediction.late else "")
        for name, what in prediction.fewer_folds.items()
    ]
    lines += [f"member {name} FAILED IN PART: {why}" for name, why in prediction.partly.items()]
    lines += [
        f"member {name}: {share:.0%} of its rows predicted in the second order in time"
        for name, share in prediction.second_order.items()
    ]
    return "\n".join([*lines, f"{target}: {len(prediction.ids):,} rows, checked"])
