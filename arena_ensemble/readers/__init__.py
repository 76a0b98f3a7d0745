"""Files ↔ nouns: battles, predictions, labels, the submission. The only room that knows column names."""

from .battle_files import Reading, read, read_battles
from .columns import read_columns
from .formats import FORMATS, Format
from .people import people_csv
from .prediction_files import read_labels, read_predictions, read_readings
from .report import Report, Spread, Suspicion, suspicious_rows
from .submission import (
    COLUMNS,
    WINNER_COLUMNS,
    check_sample,
    check_submission,
    write_submission,
    write_winners,
)

__all__ = [
    "COLUMNS",
    "FORMATS",
    "WINNER_COLUMNS",
    "Format",
    "Reading",
    "Report",
    "Spread",
    "Suspicion",
    "check_sample",
    "check_submission",
    "people_csv",
    "read",
    "read_battles",
    "read_columns",
    "read_labels",
    "read_predictions",
    "read_readings",
    "suspicious_rows",
    "write_submission",
    "write_winners",
]
