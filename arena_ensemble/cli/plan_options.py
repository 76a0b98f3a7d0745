"""The options of ``doctor --plan``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

PANEL: Final = "Plan (estimates from shapes; nothing is downloaded)"
_FLEET: Final = "Plan of a large file on nodes that may vanish"


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What ``doctor --plan`` takes."""

    models: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…",
            help="recipes to plan",
            show_default="all with a real base",
            rich_help_panel=PANEL,
        ),
    ] = None
    card: Annotated[
        str,
        typer.Option(
            help="P100, T4, L4, A10G, RTX4090, A100-40, A100-80, H100 or H200; several of one kind: T4x2",
            rich_help_panel=PANEL,
        ),
    ] = "H100"
    hours: Annotated[
        float | None,
        typer.Option(
            help="plan a session of so many hours that only predicts, with members trained elsewhere",
            show_default="plan training",
            rich_help_panel=PANEL,
        ),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="battles whose lengths are planned for", rich_help_panel=PANEL),
    ] = None
    rows: Annotated[
        int | None,
        typer.Option(
            help="battles, without --data",
            show_default="57477, the Kaggle set; 25000 with --hours, its hidden test; 100000000 with --nodes",
            rich_help_panel=PANEL,
        ),
    ] = None
    tokens: Annotated[float, typer.Option(help="mean tokens of a battle", rich_help_panel=PANEL)] = 830
    folds: Annotated[int, typer.Option(help="cross-fitting folds", rich_help_panel=PANEL)] = 5
    utilisation: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="of the card's peak",
            show_default="0.4 fit, 0.5 read",
            rich_help_panel=PANEL,
        ),
    ] = None
    nodes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="plan predicting --rows on so many nodes that may vanish, each with --card: hours, dollars",
            show_default="no fleet",
            rich_help_panel=_FLEET,
        ),
    ] = None
    price: Annotated[
        float | None,
        typer.Option(
            metavar="DOLLARS",
            help="of a node and hour",
            show_default="of L4, A10G and H100, as the plan says",
            rich_help_panel=_FLEET,
        ),
    ] = None
    spot_rate: Annotated[
        float, typer.Option(metavar="RATE", help="how often a node vanishes, an hour", rich_help_panel=_FLEET)
    ] = 0.0
    chunk_rows: Annotated[
        int, typer.Option(metavar="N", help="rows that a node predicts at a time", rich_help_panel=_FLEET)
    ] = 4096
