"""The report page: what is known of an ensemble, section by section, as one HTML text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..artifacts import atomic, cards
from ..artifacts.cards import EnsembleCard, GammaNote, MemberCard
from ..artifacts.members import MemberArtifacts
from ..artifacts.run_log import log_path, read_log
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..errors import ArtifactError, InputError
from ..panels.choice_files import is_best_of_n
from ..panels.folder import JUDGES, USES
from ..pipeline.ensemble import Ensemble, load_folder
from . import choice_page
from .battle_view import BattleView, view
from .comparison import Comparison, Made, compare, open_made
from .document import document
from .sections import headline
from .sections.against import against as against_section
from .sections.annotators import replacement, same_verdicts
from .sections.calibration import calibration
from .sections.ladder import ladder
from .sections.members import contribution, likeness, position
from .sections.panels import biases, judges, uses
from .sections.provenance import provenance, sharpening
from .sections.section import Section
from .sections.slices import slices
from .sections.surprises import surprises
from .sections.training import Lines, curves, step_losses, truncation


def write(
    workspace: Workspace,
    path: Path | None = None,
    *,
    folder: Path | None = None,
    data: Path | None = None,
    form: str | None = None,
    against: Path | None = None,
) -> Path:
    """Write the page of the workspace's ensemble, whole or not at all; returns where it is.

    Parameters
    ----------
    path
        Default: ``report.html`` beside the ensemble.
    folder
        An ensemble of external predictions or a panel, in place of the workspace's.
    data, form
        The battles that it was made from, for what the page shows of single battles, and their format.
    against
        Another workspace, or a folder of ``stack --labels`` or ``panel``, to compare with; needs ``data``.

    Raises
    ------
    InputError
        There is no ensemble yet, ``data`` holds other battles, or there is nothing to compare with.
    ArtifactError
        A file of the ensemble is truncated or edited.
    """
    if against is not None and data is None:
        raise InputError("--against pairs losses battle by battle: give --data FILE, the battles with votes")
    folder_of = folder or workspace.oof / ENSEMBLE
    target = path or folder_of / "report.html"
    if is_best_of_n(folder_of):
        if data is not None:
            raise InputError("--data: the page of a best-of-N panel shows no single battles; leave it out")
        atomic.write_bytes(target, choice_page.render(folder_of).encode("utf-8", "replace"))
        return target
    built = load_folder(folder_of)
    found = {} if folder else {name: MemberArtifacts(workspace, name).card() for name in built.members}
    members = {name: card for name, card in found.items() if card is not None}
    gammas = _gammas(folder_of / "test.json")
    place = None if folder else workspace
    battles = None if data is None else view(built, folder_of, data, workspace=place, form=form)
    versus = None
    if against is not None and battles is not None:
        versus = compare(Made(built, folder_of, place), battles, open_made(against))
    steps = {} if place is None else step_losses(read_log(log_path(place)))
    known = {name: _kept(folder_of, name, built.card) for name in (USES, JUDGES)}
    html = render(built, members, gammas, battles, versus, known[USES], steps, known[JUDGES])
    atomic.write_bytes(target, html.encode("utf-8", "replace"))
    return target


def render(
    built: Ensemble,
    members: Mapping[str, MemberCard],
    gammas: Mapping[str, float],
    battles: BattleView | None = None,
    versus: Comparison | None = None,
    found_uses: Mapping[str, Any] | None = None,
    steps: Mapping[str, Lines] | None = None,
    found_judges: Mapping[str, Any] | None = None,
) -> str:
    """The report as one HTML text: nothing fetched, the same bytes for the same ensemble.

    Parameters
    ----------
    built
        The ensemble with its score table and card.
    members
        Name → card of each member.
    gammas
        Name → factor that sharpens the fold-averaged test predictions; empty if there are none.
    battles
        What it was scored on; without it the page says nothing of single battles.
    versus
        The comparison with another ensemble.
    found_uses
        What a panel's ``uses.json`` holds.
    steps
        Member → training losses by step, of the event log.
    found_judges
        What a panel's ``judges.json`` holds.
    """
    card = built.card
    member, unit = ("judge", "pairs") if card.judges else ("member", "battles")
    found: list[Section | None] = [
        None if versus is None else against_section(versus),
        ladder(built.table, member=member),
        calibration(card, member=member),
        judges(card),
        replacement(card),
        biases(card),
        contribution(card, member=member),
        likeness(card, member=member, more=same_verdicts(found_judges or {})),
        position(card),
        None if battles is None else slices(battles, unit=unit),
        uses(found_uses or {}),
        truncation(members),
        curves(members, steps),
        None if battles is None else surprises(battles, member=member, unit=unit),
        sharpening(gammas),
        provenance(card, members),
    ]
    return document(
        title="arena-ensemble: panel" if card.judges else "arena-ensemble: ensemble",
        kind="A panel of judges, out of fold" if card.judges else "An ensemble, out of fold",
        summary=headline.summary(built.table, card, built.stacker.selection_frequency_, member=member),
        warnings=headline.warnings(card, members),
        sections=[one for one in found if one is not None],
        unit=unit,
    )


def _gammas(file: Path) -> dict[str, float]:
    """Gammas of the last test predictions, from a file that a person could have edited."""
    if not file.is_file():
        return {}
    return cards.read_model(file, GammaNote).gammas


def _kept(folder: Path, name: str, card: EnsembleCard) -> dict[str, Any]:
    """What a panel's folder keeps of its judges and uses; empty where there is no such file."""
    if name not in card.files:
        return {}
    try:
        found = json.loads(cards.verified(folder, name, card))
    except ValueError as error:
        raise ArtifactError(
            f"{folder / name}: not JSON ({error}); run `arena-ensemble panel` again"
        ) from error
    return found if isinstance(found, dict) else {}
