"""The report page: plain values for ``page.html.j2``, whose autoescape makes any text safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ..artifacts import atomic, cards
from ..artifacts.cards import EnsembleCard, GammaNote, MemberCard
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..metrics import ScoreRow
from ..pipeline.ensemble import Ensemble, load_folder
from . import tables
from .drawings import loss_chart, reliability_chart, shortened
from .tables import Column, Row, TextTable

_MEMBER_FACTS: Final = ("backbone", "rows", "seconds", "recipe")
_NAME: Final = Column("", numeric=False)
_LONGEST_VALUE: Final = 64
"""characters of a value in the table of members: a SHA-256 fits"""


def write(workspace: Workspace, path: Path | None = None, *, folder: Path | None = None) -> Path:
    """Write the page of the workspace's ensemble, whole or not at all; returns where it is.

    Parameters
    ----------
    path
        Default: ``report.html`` beside the ensemble.
    folder
        An ensemble of external predictions, in place of the workspace's.

    Raises
    ------
    InputError
        There is no ensemble yet.
    ArtifactError
        A file of the ensemble is truncated or edited.
    """
    folder_of = folder or workspace.oof / ENSEMBLE
    built = load_folder(folder_of)
    found = {} if folder else {name: MemberArtifacts(workspace, name).card() for name in built.members}
    members = {name: card for name, card in found.items() if card is not None}
    gammas = _gammas(folder_of / "test.json")
    target = path or folder_of / "report.html"
    atomic.write_bytes(target, render(built, members, gammas).encode())
    return target


def render(built: Ensemble, members: Mapping[str, MemberCard], gammas: Mapping[str, float]) -> str:
    """The report as one HTML text: no script, nothing fetched, the same bytes for the same ensemble.

    Parameters
    ----------
    built
        The ensemble with its score table and card.
    members
        Name → card of each member.
    gammas
        Name → factor that sharpens the fold-averaged test predictions; empty if there are none.
    """
    card = built.card
    return _template().render(
        headline=_headline(built),
        warnings=_warnings(card, members),
        loss_chart=loss_chart(built.table),
        scores=tables.score_table(built.table),
        reliability=[reliability_chart(name, bins) for name, bins in card.reliability.items()],
        judges=tables.judge_table(card.judges),
        member="judge" if card.judges else "member",
        contribution=tables.contribution_table(
            card.contributions, full_advice=True, judges=bool(card.judges)
        ),
        greedy=tables.greedy_steps(card.contributions),
        likeness=[_heat_table(matrix) for matrix in tables.likeness(card.contributions)],
        gammas=_table([_NAME, Column("gamma")], [[name, f"{gamma:.3f}"] for name, gamma in gammas.items()]),
        sources=_sources(card),
        members=_members(members),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2")


def _gammas(file: Path) -> dict[str, float]:
    """Gammas of the last test predictions, from a file that a person could have edited."""
    if not file.is_file():
        return {}
    return cards.read_model(file, GammaNote).gammas


def _headline(built: Ensemble) -> dict[str, Any]:
    own = next(row for row in built.table if row.kind == "choice")
    prior = next(row for row in built.table if row.kind == "baseline")
    return {
        "count": len(built.members),
        "loss": f"{own.log_loss:.4f} ± {own.se:.4f}",
        "prior": f"{prior.log_loss:.4f}",
        "best": _best_member(built.table),
        "gap": tables.percent(own.gap_closed),
        "shares": "; ".join(
            f"{name} {share:.0%}" for name, share in built.stacker.selection_frequency_.items()
        ),
        "by_group": built.card.folds_verified,
    }


def _best_member(rows: Sequence[ScoreRow]) -> dict[str, str] | None:
    members = [row for row in rows if row.kind == "member"]
    if not members:
        return None
    best = min(members, key=lambda row: row.log_loss)
    difference = f"{best.difference:+.4f} ± {best.difference_se:.4f}"
    return {"name": best.name, "loss": f"{best.log_loss:.4f}", "difference": difference}


def _warnings(card: EnsembleCard, members: Mapping[str, MemberCard]) -> list[str]:
    warnings = [
        f"{suspicion['member']} looks leaked: {'; '.join(suspicion['reasons'])}"
        for suspicion in card.suspicions
    ]
    if card.key is None and not card.judges:
        warnings.append("all members are external; whether their own training saw these rows is unverified")
    warnings += [f"{name} {alarm}" for name, alarms in card.alarms.items() for alarm in alarms]
    for name, member in members.items():
        warnings += [f"{name}: {alarm}" for alarm in member.alarms]
        if not member.folds_verified:
            warnings.append(f"{name} is external; its folds are unverified")
    return warnings


def _heat_table(matrix: tables.Matrix) -> dict[str, Any]:
    """A matrix with short names and, for each cell, its text and the opacity of its background."""
    rows = [
        [{"text": f"{value:.2f}", "opacity": f"{max(0.0, min(1.0, value)) * 0.6:.2f}"} for value in row]
        for row in matrix.values
    ]
    names = [shortened(name) for name in matrix.names]
    return {"caption": matrix.caption, "names": names, "rows": list(zip(names, rows, strict=True))}


def _sources(card: EnsembleCard) -> TextTable:
    key = card.key
    rows = [["data", "" if key is None else key.data], ["folds", "" if key is None else key.folds]]
    rows += [["seed", str(card.seed)]]
    rows += [[name, version] for name, version in ({} if key is None else key.versions).items()]
    return _table([_NAME, Column("sha-256 or version", numeric=False)], rows)


def _members(members: Mapping[str, MemberCard]) -> TextTable:
    rows = []
    for name, card in members.items():
        recipe = "" if card.key is None else card.key.recipe
        rows.append([name, *(_value(value) for value in (card.backbone, card.rows, card.seconds, recipe))])
    columns = [Column("member", numeric=False), *(Column(key) for key in _MEMBER_FACTS)]
    return _table(columns, rows)


def _value(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:_LONGEST_VALUE]


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> TextTable:
    return TextTable(tuple(columns), tuple(Row(tuple(row)) for row in rows))
