"""Files ↔ nouns: battles, predictions, labels, the submission. The only room that knows column names."""

from .battle_formats import FORMATS, Format
from .battles import Reading, read, read_battles
from .columns import read_columns
from .predictions import read_labels, read_predictions, read_readings
from .spreadsheet_csv import people_csv
from .submission import (
    COLUMNS,
    WINNER_COLUMNS,
    check_sample,
    check_submission,
    write_submission,
    write_winners,
)
from .validation import Report, Spread, Suspicion, suspicious_rows

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
