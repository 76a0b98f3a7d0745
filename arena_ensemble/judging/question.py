"""The text that a judge is asked: a template with a request and two answers, in one order or the other."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..battles import Battles
from ..errors import InputError

TEMPLATE: Final = Path(__file__).with_name("compare.txt")
_FIELDS: Final = ("prompt", "first", "second")


@dataclass(frozen=True)
class Question:
    """One question: a battle in one order, one sample of it."""

    row: int
    """of the battle"""
    first: str
    """``a`` or ``b``: which response stands first"""
    sample: int
    text: str

    def key(self, settings: dict[str, Any]) -> str:
        """SHA-256 of all that decides the answer: text, sample and settings; never the battle's id."""
        parts = {"text": self.text, "sample": self.sample, "settings": settings}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "replace")).hexdigest()


def read_template(path: Path | None = None) -> string.Template:
    """The packaged template, or one of the user's own with ``$prompt``, ``$first`` and ``$second``.

    Raises
    ------
    InputError
        The file cannot be read, or lacks one of the three.
    """
    path = path or TEMPLATE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a text file") from None
    template = string.Template(text)
    found = set(template.get_identifiers()) if template.is_valid() else set()
    if found != set(_FIELDS):
        raise InputError(
            f"{path}: the template has {', '.join('$' + name for name in sorted(found)) or 'no places'}; "
            "write $prompt, $first and $second where the texts go, and $$ for a dollar sign"
        )
    return template


def questions(
    battles: Battles, template: string.Template, orders: Sequence[str], samples: int
) -> Iterator[Question]:
    """Every question, battle by battle: each order, each sample."""
    for row, texts in enumerate(battles.frame.select("prompt", "response_a", "response_b").iter_rows()):
        prompt, *answers = (conversation(turns) for turns in texts)
        for first in orders:
            shown = answers if first == "a" else answers[::-1]
            text = template.substitute(prompt=prompt, first=shown[0], second=shown[1])
            for sample in range(samples):
                yield Question(row, first, sample, text)


def conversation(turns: Sequence[str | None]) -> str:
    """Turns as one text: a single turn as it stands, several under numbers that tell the rounds."""
    texts = ["" if turn is None else turn for turn in turns]
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"[turn {number}]\n{text}" for number, text in enumerate(texts, 1))
