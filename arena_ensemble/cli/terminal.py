"""What the terminal can show: its width, colours, block characters."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 118
"""characters of a line where there is no terminal, and at most"""
_NARROW: Final = 40
_STEERING: Final[dict[int, int]] = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}
"""control characters to their pictures, those beyond ASCII and orders of writing direction to one mark"""


@dataclass(frozen=True)
class Terminal:
    """How wide standard output is, and what it can draw."""

    width: int = WIDTH
    colours: bool = False
    blocks: bool = True
    """whether the encoding has block characters, of which bars are drawn"""

    def filled(self, text: str) -> str:
        """Text in lines as wide as the terminal; no word is cut."""
        return textwrap.fill(text.strip(), self.width, break_long_words=False, break_on_hyphens=False)

    @classmethod
    def of_stdout(cls) -> Terminal:
        """What standard output is now.

        Colours need a terminal that is not ``dumb``, and no ``NO_COLOR`` (https://no-color.org) in the
        environment. Width: ``COLUMNS``, or the terminal's, at most `WIDTH`.
        """
        live = sys.stdout.isatty()
        width = min(max(shutil.get_terminal_size((WIDTH, 24)).columns, _NARROW), WIDTH) if live else WIDTH
        colours = live and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(width, colours, _writes(sys.stdout.encoding, "█▌"))


def harmless(text: str) -> str:
    """Text that strangers wrote, without characters that steer a terminal; lines and tabs stay."""
    return text.translate(_STEERING)


def _writes(encoding: str | None, text: str) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
