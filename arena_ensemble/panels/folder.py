"""A panel's folder: its own files, out-of-fold predictions, score table, and last the card with hashes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ..artifacts import atomic, cards, result_folder
from ..artifacts.cards import CARD, Card, EnsembleCard
from ..artifacts.choice_card import ChoiceCard
from ..artifacts.files import parquet_bytes
from ..artifacts.members import OOF
from ..artifacts.tables import predictions_frame
from ..errors import ArtifactError, InputError
from ..metrics import ScoreRow
from ..predictions import Predictions

TABLE: Final = "table.json"
JUDGES: Final = "judges.json"
USES: Final = "uses.json"
REPORT: Final = "report.html"


def check_out(out: Path) -> Path:
    """The folder to write to, absolute: new, empty, or with nothing in it but a panel of any kind.

    Raises
    ------
    InputError
        A file of that name, or a folder with other files, which would be lost.
    """
    return result_folder.check_out(out, _written)


def _written(folder: Path) -> set[str]:
    try:
        files = _files(cards.read_card(folder, EnsembleCard))
    except ArtifactError:
        files = _files(cards.read_card(folder, ChoiceCard))
    return {*files, CARD, REPORT}


def folder_threshold(folder: Path) -> float | None:
    """The threshold of selective prediction that a panel's folder keeps; None where it has none.

    Raises
    ------
    ArtifactError
        The file is truncated or edited.
    """
    card = cards.read_card(folder, EnsembleCard)
    if card is None or USES not in card.files:
        return None
    selective = json.loads(cards.verified(folder, USES, card)).get("selective")
    return None if selective is None else selective["threshold"]


def _files(card: Card | None) -> Iterable[str]:
    return () if card is None else card.files


def write(
    folder: Path,
    files: Mapping[str, bytes],
    oof: Predictions,
    table: Sequence[ScoreRow],
    card: EnsembleCard,
) -> EnsembleCard:
    """Write all of it, whole or not at all; returns the card with the hashes."""
    contents = dict(files)
    contents[OOF] = parquet_bytes(predictions_frame(oof))
    contents[TABLE] = json.dumps({"rows": [dataclasses.asdict(row) for row in table]}).encode()
    with atomic.new_folder(folder) as partial:
        for name, content in contents.items():
            atomic.write_bytes(partial / name, content)
        return cards.write_card(partial, card, list(contents))


def read(folder: Path, *, main: str) -> tuple[dict[str, bytes], list[ScoreRow], EnsembleCard]:
    """Files, score table and card, after every hash matched; ``main`` is the file that makes it a panel.

    Raises
    ------
    InputError
        There is no panel.
    ArtifactError
        A file is missing, truncated or edited.
    """
    remedy = "run `arena-ensemble panel` again"
    card = cards.read_card(folder, EnsembleCard, remedy=remedy)
    if card is None:
        raise InputError(f"no panel in {folder}; name the folder that `arena-ensemble panel --out` wrote")
    if main not in card.files:
        raise InputError(f"{folder} holds an ensemble of members, no panel; name the --out of `panel`")
    contents = {name: cards.verified(folder, name, card) for name in card.files}
    for name in (OOF, JUDGES, USES):
        contents.pop(name, None)
    try:
        rows = [ScoreRow(**row) for row in json.loads(contents.pop(TABLE))["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / TABLE}: not a score table ({error}); {remedy}") from error
    return contents, rows, card
