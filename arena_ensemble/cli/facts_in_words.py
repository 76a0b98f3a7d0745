"""Facts of a report as lines for a person: no braces, no quotes, shares as percentages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_SHARES: Final = frozenset(("longer_wins",))
_QUANTILES: Final = {"median": "median", "p90": "90%", "p99": "99%", "max": "longest"}


def fact_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names in words and values as text; what holds nothing is left out, a table has a line a row."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        title = name.replace("_", " ")
        if isinstance(value, Mapping) and value and all(isinstance(one, Mapping) for one in value.values()):
            rows += [(f"{title} of {key}", _pairs(one)) for key, one in value.items()]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows += [(title, _row(one)) for one in value]
        elif isinstance(value, Mapping | str) and not value:
            continue
        elif value is not None:
            rows.append((title, _value(name, value)))
    return rows


def _value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return _pairs(value)
    if name in _SHARES:
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _pairs(given: Mapping[Any, Any]) -> str:
    return ", ".join(
        f"{_QUANTILES.get(str(key), key)}{':' * isinstance(key, int)} {value:,}"
        if isinstance(value, int)
        else f"{key} {value}"
        for key, value in given.items()
    )


def _row(one: Any) -> str:
    """A suspicious kind of row, or plain text."""
    if not isinstance(one, Mapping):
        return str(one)
    ids = ", ".join(map(str, one.get("ids", ())))
    rows = one.get("rows", 0)
    more = ", …" if rows > len(one.get("ids", ())) else ""
    return f"{one.get('what')}: {rows:,} row{'s' if rows != 1 else ''} (id {ids}{more})"
