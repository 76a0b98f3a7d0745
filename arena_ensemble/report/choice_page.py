"""The page of a best-of-N panel: how often it finds the best answer, what each judge is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..artifacts import cards
from ..artifacts.choice_card import ChoiceCard
from ..errors import ArtifactError
from ..panels import choice_files
from ..panels.best_of_n import PANEL, ChoiceRow
from ..panels.folder import JUDGES
from .document import document
from .intervals import DrawnTable, Line, drawn_table
from .sections.annotators import same_verdicts
from .sections.members import heat
from .sections.panels import added
from .sections.provenance import digests
from .sections.section import Section
from .tables import Column, Row, TextTable, percent

_KINDS: Final = {"uniform": "baseline", PANEL: "choice"}


def render(folder: Path) -> str:
    """The report of a best-of-N panel's folder as one HTML text.

    Raises
    ------
    ArtifactError
        A file is missing, truncated or edited.
    """
    model = choice_files.load(folder)
    card = cards.read_card(folder, ChoiceCard)
    assert card is not None
    try:
        facts = json.loads(cards.verified(folder, JUDGES, card))
    except ValueError as error:
        raise ArtifactError(
            f"{folder / JUDGES}: not JSON ({error}); run `arena-ensemble panel` again"
        ) from error
    rows = model.table_
    alike = same_verdicts(facts, "same_best")
    found = [
        Section("ladder", "From chance to the panel", {"table": _ladder(rows, card)}, "choice_ladder"),
        Section(
            "judges",
            "Each judge",
            {"adds": added(facts["judges"]), "plain": _judges(facts["judges"], model.weights_)},
            "choice_judges",
        ),
        Section("likeness", "How alike the judges are", {"matrices": [heat(one) for one in alike]}, "heats")
        if alike
        else None,
        digests("The panel", {"seed": str(card.seed), "card": card.card_sha256, **card.files}),
    ]
    return document(
        title="arena-ensemble: best of N",
        kind="A panel of judges that finds the best of several answers, out of fold",
        summary=_summary(rows, card),
        warnings=[],
        sections=[one for one in found if one is not None],
        unit="items",
    )


def _summary(rows: Sequence[ChoiceRow], card: ChoiceCard) -> dict[str, Any]:
    own = next(row for row in rows if row.name == PANEL)
    judges = [row for row in rows if row.name in card.judges]
    best = min(judges, key=lambda row: row.log_loss)
    chance = next(row for row in rows if row.name == "uniform")
    return {
        "loss": f"{own.log_loss:.4f}",
        "se": f"{own.se:.4f}",
        "sentence": (
            f"The panel finds the best answer of {own.accuracy:.1%} ± {own.accuracy_se:.1%} of items that it "
            f"did not learn from; chance finds {chance.accuracy:.1%}, the best judge alone, {best.name}, "
            f"{best.accuracy:.1%}."
        ),
        "comparisons": [
            {"what": what, "name": "" if row is chance else row.name, "loss": f"{row.log_loss:.4f}",
             "gain": f"panel {_against(row)}"}
            for what, row in (("chance", chance), ("best judge", best))
        ],
        "facts": [
            f"{card.items:,} items",
            f"{card.answers:,} answers",
            f"{len(card.judges)} judge{'s' if len(card.judges) > 1 else ''}",
            "log-loss of the best answer, in nats",
        ],
    }  # fmt: skip


def _against(row: ChoiceRow) -> str:
    word = "better" if row.difference >= 0 else "worse"
    return f"{abs(row.difference):.4f} ± {row.difference_se:.4f} {word}"


def _ladder(rows: Sequence[ChoiceRow], card: ChoiceCard) -> DrawnTable:
    tied = any(row.ties is not None for row in rows)
    columns = [
        Column("best found"),
        Column("± s.e."),
        Column("log-loss"),
        Column("vs panel"),
        Column("± s.e."),
    ]
    lines = []
    for row in rows:
        own = row.name == PANEL
        cells = [percent(row.accuracy), percent(row.accuracy_se), f"{row.log_loss:.4f}"]
        cells += ["", ""] if own else [f"{row.difference:+.4f}", f"{row.difference_se:.4f}"]
        cells += ["" if row.ties is None else f"{row.ties:.3f}"] if tied else []
        kind = "member" if row.name in card.judges else _KINDS.get(row.name, "candidate")
        lines.append(Line(row.name, row.log_loss, row.se, tuple(cells), kind))
    return drawn_table(
        lines,
        [*columns, *([Column("score of Ties")] if tied else [])],
        caption="Log-loss of the best answer, and how often it is found",
        first="",
        quantity="log-loss",
    )


def _judges(judges: Sequence[Mapping[str, Any]], weights: Mapping[str, Sequence[float]]) -> TextTable:
    headers = (
        "log-loss alone",
        "best found alone",
        "by chance",
        "missing",
        "weight of its score",
        "saturated",
    )
    rows = [
        Row(
            (
                one["name"],
                f"{one['log_loss']:.4f}",
                percent(one["accuracy"]),
                percent(one["base_rate"]),
                percent(one["missing"]),
                *(f"{value:+.2f}" for value in weights[one["name"]]),
            )
        )
        for one in judges
    ]
    return TextTable((Column("judge", numeric=False), *map(Column, headers)), tuple(rows))
