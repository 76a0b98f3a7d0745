"""Texts of battles as a page can hold them: cut to a size in bytes, control characters visible."""

from __future__ import annotations

from typing import Final

from markupsafe import escape

_VISIBLE: Final = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}
"""HTML knows no control characters but tab and line ends; the others get their pictures"""


def visible(text: str) -> str:
    """The text with control characters as visible signs."""
    return text.translate(_VISIBLE)


def clipped(text: str, size: int) -> tuple[str, int]:
    """The beginning of a text that fits ``size`` bytes once escaped, and how many characters are left out."""
    head = visible(text[:size])
    while (needed := len(str(escape(head)).encode("utf-8", "replace"))) > size:
        head = head[: min(int(len(head) * size / needed), len(head) - 1)]
    return head, len(text) - len(head)


def one_line(text: str, characters: int) -> str:
    """The beginning of a text in one line, of so many characters at most."""
    words = " ".join(visible(text[: 4 * characters]).split())
    return words if len(words) <= characters else f"{words[: characters - 1]}…"
