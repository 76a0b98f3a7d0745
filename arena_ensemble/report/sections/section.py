"""What every part of the page is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """A heading of the page: its anchor, its words, and values for ``templates/<template>.html.j2``."""

    anchor: str
    title: str
    values: Mapping[str, Any]
    template: str = ""

    @property
    def file(self) -> str:
        """The template, by default named like the anchor."""
        return f"{self.template or self.anchor}.html.j2"
