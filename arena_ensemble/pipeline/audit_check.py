"""One question of the audit, its answer and the evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

OK: Final = "ok"
FAIL: Final = "FAIL"
SKIPPED: Final = "not applicable"


@dataclass(frozen=True)
class Check:
    """One question, its answer and what it rests on (plain JSON values)."""

    name: str
    status: str
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
