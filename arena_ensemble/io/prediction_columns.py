"""Which columns of a predictions file belong together: any three that differ only in A, B and tie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..errors import InputError
from .column_names import WINNERS, Columns, canonical

_LOGS: Final = ("logp_a", "logp_b", "logp_tie")
_SWAP_LOGS: Final = ("swap_logp_a", "swap_logp_b", "swap_logp_tie")
_PLAIN: Final = ("p_a", "p_b", "p_tie")
_TOKENS: Final = (
    ("a", ("a", "model_a", "winner_a", "a_wins", "a_win", "win_a")),
    ("b", ("b", "model_b", "winner_b", "b_wins", "b_win", "win_b")),
    ("tie", ("tie", "t", "draw", "c", "ties", "tied")),
)
_LABELS: Final = frozenset(
    ("winner", "label", "labels", "target", "targets", "y", "true", "truth", "gold", "actual", "outcome")
)
_NOT_NAMES: Final = re.compile(r"[^0-9a-z]+")
_SHOWN_TRIOS: Final = 6
_OUTCOMES: Final = ("A wins", "B wins", "tie")


@dataclass(frozen=True)
class Trio:
    """Where one member's columns are, and whether they are logarithms."""

    name: str
    columns: tuple[str, ...]
    """A, B, tie; or A, B where no tie can be voted"""
    logs: bool = False
    swap: tuple[str, ...] | None = None
    named: bool = False
    """``NAME_a, NAME_b, NAME_tie``: of these a file may hold several members"""

    def meanings(self) -> dict[str, str]:
        """Column of the file → what it is taken for, in words."""
        scale = "ln P" if self.logs else "P"
        found = {}
        for order, columns in (("", self.columns), (", swapped order", self.swap or ())):
            for column, outcome in zip(columns, _OUTCOMES, strict=False):
                found[column] = f"{scale}({outcome}) of {self.name}{order}"
        return found


def find_trios(columns: Columns, stem: str) -> list[Trio]:
    """Every group of columns that may be predictions, our own file's alone where it is one.

    Parameters
    ----------
    stem
        Name of the member where the columns do not say one.

    Raises
    ------
    InputError
        There is none.
    """
    ours = _exact(columns, _LOGS)
    if ours is not None:
        return [Trio(stem, ours, logs=True, swap=_exact(columns, _SWAP_LOGS))]
    found = [Trio(stem, names) for names in (_exact(columns, trio) for trio in (WINNERS, _PLAIN)) if names]
    taken = {name for trio in found for name in trio.columns}
    for trio in _named(columns):
        if not taken.intersection(trio.columns):
            found.append(trio)
            taken.update(trio.columns)
    found += [replace(trio, name=stem) for trio in _alike(columns.names, taken)]
    if not found:
        found = [Trio(stem, two) for two in (_exact(columns, trio[:2]) for trio in (WINNERS, _PLAIN)) if two]
    if not found:
        raise InputError(
            f"{columns.file} holds no predictions: its columns are {columns.shown}; name three of them "
            f"{', '.join(_PLAIN)} or {', '.join(WINNERS)} (several members: NAME_a, NAME_b, NAME_tie)"
        )
    return found


def named_as_labels(trio: Trio) -> bool:
    """Whether the names of the columns are those of labels: Kaggle's winner columns, ``label_a``, ``y_a``."""
    return bool(_LABELS.intersection(canonical(trio.columns[-1]).split("_")))


def one_or_named(trios: Sequence[Trio], file: str) -> list[Trio]:
    """The trio of a file, or its named members.

    Raises
    ------
    InputError
        Several trios, and not all are members by name: which one counts cannot be known.
    """
    if len(trios) == 1 or all(trio.named for trio in trios):
        return [*trios]
    shown = "; ".join(", ".join(trio.columns) for trio in trios[:_SHOWN_TRIOS])
    raise InputError(
        f"{file} holds {len(trios)} sets of predictions ({shown}); keep one of them, or name them NAME_a, "
        "NAME_b, "
        "NAME_tie to have several members"
    )


def _exact(columns: Columns, fields: Iterable[str]) -> tuple[str, ...] | None:
    found = [next((name for name in columns.names if canonical(name) == field), None) for field in fields]
    return None if None in found else tuple(map(str, found))


def _named(columns: Columns) -> list[Trio]:
    by_name = {name.lower(): name for name in columns.names}
    found = []
    for name in columns.names:
        base = name[:-4]
        trio = [by_name.get(f"{base.lower()}_{end}") for end in ("a", "b")]
        if base and name.lower().endswith("_tie") and None not in trio:
            found.append(Trio(base, (str(trio[0]), str(trio[1]), name), named=True))
    return found


def _alike(names: Sequence[str], taken: set[str]) -> list[Trio]:
    """Columns that are equal but for A, B and tie, whatever stands before or after, and their case."""
    places: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        if name in taken:
            continue
        words = _NOT_NAMES.sub("_", canonical(name)).strip("_")
        for end, tokens in _TOKENS:
            for token in tokens:
                for affix in _affixes(words, token):
                    places.setdefault(affix, {}).setdefault(end, name)
    found: list[Trio] = []
    for by_end in places.values():
        trio = tuple(by_end[end] for end, _ in _TOKENS if end in by_end)
        if len(trio) == 3 and not any(set(trio) & set(other.columns) for other in found):
            found.append(Trio("", trio))
    return found


def _affixes(words: str, token: str) -> list[tuple[str, str]]:
    """What stands before and after a token, wherever it is a word of its own; ``pa`` counts as p and a."""
    found = []
    for match in re.finditer(rf"(?:^|(?<=_)){re.escape(token)}(?=_|$)", words):
        found.append((words[: match.start()].strip("_"), words[match.end() :].strip("_")))
    if words == f"p{token}":
        found.append(("p", ""))
    return found
