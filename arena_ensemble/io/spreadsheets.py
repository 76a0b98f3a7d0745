"""CSV for people, who open it in a spreadsheet: what a text holds must not run there.

The submission is no such file: it is for a machine and stays raw.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

_FORMULA: Final = re.compile(r"[\s\x00-\x1f\ufeff]*[=+\-@|%＝＋－＠]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_CELL_CHARS: Final = 1000
"""characters of a cell that are shown; spreadsheets refuse 32,768 and more"""


def spreadsheet_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A table as UTF-8 CSV with a byte-order mark, every text quoted and none a formula.

    A text that a spreadsheet would take for a formula, or that begins with a tab or a carriage return,
    gets an apostrophe before it (OWASP, "CSV Injection"). Numbers stay numbers, long texts are cut.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(map(plain_cell, columns))
    writer.writerows([plain_cell(cell) for cell in row] for row in rows)
    return out.getvalue().encode("utf-8-sig", "replace")


def plain_cell(cell: Any) -> Any:
    """One cell as a spreadsheet may have it."""
    if cell is None:
        return ""
    if isinstance(cell, (int, float)):
        return cell
    text = str(cell)
    if len(text) > _CELL_CHARS:
        text = text[: _CELL_CHARS - 1] + "…"
    risky = _FORMULA.match(text) or text[:1] in ("\t", "\r", "\n")
    text = _CONTROL.sub("\ufffd", text)
    return f"'{text}" if risky else text
