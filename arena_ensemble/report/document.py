"""Sections → one HTML text with its style and script: nothing fetched, the same bytes for the same facts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from .sections.section import Section

_TEMPLATES: Final = "templates"
_BREAKS: Final = re.compile(r"(?<=[/:_|])(?=.)")
_PIECE: Final = 24
"""characters without a place to break"""


def document(
    *,
    title: str,
    kind: str,
    summary: Mapping[str, Any],
    warnings: Sequence[str],
    sections: Sequence[Section],
    unit: str,
) -> str:
    """The page.

    Parameters
    ----------
    title, kind
        What the page is about, for the browser's tab and above the heading.
    summary
        ``loss``, ``se``, ``sentence``, ``comparisons`` and ``facts``, see `sections.headline.summary`.
    warnings
        What makes the figures doubtful, a line each.
    unit
        What was predicted, in the plural: battles, pairs or items.
    """
    style, script = (Markup(_asset(name)) for name in ("page.css", "page.js"))
    return _template().render(
        title=title,
        kind=kind,
        summary=summary,
        warnings=warnings,
        sections=sections,
        unit=unit,
        footer=f"arena-ensemble {version('arena-ensemble')}",
        style=style,
        style_hash=_sha256(style),
        script=script,
        script_hash=_sha256(script),
    )


def soft(name: str) -> Markup:
    """A name, escaped, that may break after a slash, a colon or an underscore, and within very long words.

    Elsewhere it stays whole, so that no table cuts ``gpt-4-turbo`` after the ``u``.
    """
    pieces = [
        piece[start : start + _PIECE]
        for piece in _BREAKS.split(name)
        for start in range(0, max(len(piece), 1), _PIECE)
    ]
    return Markup("<wbr>").join(pieces)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__, _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["soft"] = soft
    return environment.get_template("page.html.j2")


@cache
def _asset(name: str) -> str:
    return (files(__package__) / _TEMPLATES / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    """As a content security policy wants it: the browser runs this script and no other."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
