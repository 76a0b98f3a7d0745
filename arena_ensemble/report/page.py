"""The report page: what is known of an ensemble, section by section, as one HTML text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ..artifacts import atomic, cards
from ..artifacts.cards import GammaNote, MemberCard
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..pipeline.ensemble import Ensemble, load_folder
from ..pipeline.tasks import versions
from .sections import headline
from .sections.calibration import calibration
from .sections.ladder import ladder
from .sections.members import contribution, judges, likeness, position
from .sections.provenance import provenance, sharpening
from .sections.section import Section

_TEMPLATES: Final = "templates"


def write(workspace: Workspace, path: Path | None = None, *, folder: Path | None = None) -> Path:
    """Write the page of the workspace's ensemble, whole or not at all; returns where it is.

    Parameters
    ----------
    path
        Default: ``report.html`` beside the ensemble.
    folder
        An ensemble of external predictions or a panel, in place of the workspace's.

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
    atomic.write_bytes(target, render(built, members, gammas).encode("utf-8", "replace"))
    return target


def render(built: Ensemble, members: Mapping[str, MemberCard], gammas: Mapping[str, float]) -> str:
    """The report as one HTML text: nothing fetched, the same bytes for the same ensemble.

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
    member = "judge" if card.judges else "member"
    found: list[Section | None] = [
        ladder(built.table, member=member),
        calibration(card, member=member),
        judges(card),
        contribution(card, member=member),
        likeness(card, member=member),
        position(card),
        sharpening(gammas),
        provenance(card, members),
    ]
    style, script = (Markup(_asset(name)) for name in ("page.css", "page.js"))
    return _template().render(
        title="arena-ensemble: panel" if card.judges else "arena-ensemble: ensemble",
        kind="A panel of judges, out of fold" if card.judges else "An ensemble, out of fold",
        summary=headline.summary(built.table, card, built.stacker.selection_frequency_, member=member),
        warnings=headline.warnings(card, members),
        sections=[one for one in found if one is not None],
        footer=f"arena-ensemble {versions()['arena-ensemble']}",
        style=style,
        style_hash=_sha256(style),
        script=script,
        script_hash=_sha256(script),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2")


@cache
def _asset(name: str) -> str:
    return (files(__package__) / _TEMPLATES / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    """As a content security policy wants it: the browser runs this script and no other."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _gammas(file: Path) -> dict[str, float]:
    """Gammas of the last test predictions, from a file that a person could have edited."""
    if not file.is_file():
        return {}
    return cards.read_model(file, GammaNote).gammas
