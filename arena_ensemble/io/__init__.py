"""Files ↔ battles, predictions, labels, the submission. The only room that knows column names.

The public names below are imported when they are first used: ``--help`` needs the names of the formats,
not the readers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from .format_names import FORMAT_NAMES, RESULT_NAMES

if TYPE_CHECKING:
    from .array_files import is_array_file
    from .battle_formats import FORMATS, Format
    from .battles import LoadedBattles, load_battles, read_battles
    from .best_votes import BestVotes, read_best_votes
    from .chunks import BattleChunks, RawChunk, open_chunks
    from .columns import read_columns
    from .frames import BattlesLike, as_battles
    from .judgements import LoadedJudgements, load_judgements, read_judgements
    from .labels import read_labels
    from .panel_votes import PanelVotes, read_panel_votes
    from .predictions import LoadedPredictions, load_predictions, read_fold_predictions, read_predictions
    from .repeated_rows import average_seeds
    from .spreadsheets import spreadsheet_csv
    from .submission import (
        COLUMNS,
        WINNER_COLUMNS,
        check_sample,
        check_submission,
        write_submission,
        write_winners,
    )
    from .validation import BattlesReport, CharacterQuantiles, SuspiciousRows, suspicious_rows

_HOME: Final = {
    "COLUMNS": "submission",
    "FORMATS": "battle_formats",
    "WINNER_COLUMNS": "submission",
    "BattleChunks": "chunks",
    "BattlesLike": "frames",
    "BattlesReport": "validation",
    "BestVotes": "best_votes",
    "CharacterQuantiles": "validation",
    "Format": "battle_formats",
    "LoadedBattles": "battles",
    "LoadedJudgements": "judgements",
    "LoadedPredictions": "predictions",
    "PanelVotes": "panel_votes",
    "RawChunk": "chunks",
    "SuspiciousRows": "validation",
    "as_battles": "frames",
    "average_seeds": "repeated_rows",
    "check_sample": "submission",
    "check_submission": "submission",
    "is_array_file": "array_files",
    "load_battles": "battles",
    "load_judgements": "judgements",
    "load_predictions": "predictions",
    "open_chunks": "chunks",
    "read_battles": "battles",
    "read_best_votes": "best_votes",
    "read_columns": "columns",
    "read_fold_predictions": "predictions",
    "read_judgements": "judgements",
    "read_labels": "labels",
    "read_panel_votes": "panel_votes",
    "read_predictions": "predictions",
    "spreadsheet_csv": "spreadsheets",
    "suspicious_rows": "validation",
    "write_submission": "submission",
    "write_winners": "submission",
}

__all__ = [
    "COLUMNS",
    "FORMATS",
    "FORMAT_NAMES",
    "RESULT_NAMES",
    "WINNER_COLUMNS",
    "BattleChunks",
    "BattlesLike",
    "BattlesReport",
    "BestVotes",
    "CharacterQuantiles",
    "Format",
    "LoadedBattles",
    "LoadedJudgements",
    "LoadedPredictions",
    "PanelVotes",
    "RawChunk",
    "SuspiciousRows",
    "as_battles",
    "average_seeds",
    "check_sample",
    "check_submission",
    "is_array_file",
    "load_battles",
    "load_judgements",
    "load_predictions",
    "open_chunks",
    "read_battles",
    "read_best_votes",
    "read_columns",
    "read_fold_predictions",
    "read_judgements",
    "read_labels",
    "read_panel_votes",
    "read_predictions",
    "spreadsheet_csv",
    "suspicious_rows",
    "write_submission",
    "write_winners",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
