"""What validate says of files of judgements: what they were taken for, what each judge gave and lost."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .panel_options import first_seen, result_format
from .runner import Result

if TYPE_CHECKING:
    from ..io.judgements import LoadedJudgements
    from ..judgements import JudgeColumn

_SIDES: Final = ("A", "B", "tie")
_ORDERS: Final = ("A first", "B first", "order unknown")
_KINDS: Final = {"log_probs": "probabilities"}


def validated(
    paths: Sequence[Path], votes: Path | None, *, numbers: str | None, first: str, format: str | None
) -> Result:
    """Facts of every file, and how they meet the votes."""
    from ..io.judgements import load_judgements
    from . import tables

    files, parts = [], []
    loaded = []
    for path in paths:
        one = load_judgements(path, numbers=numbers, first=first_seen(first), format=result_format(format))
        loaded.append(one)
        facts = _file_facts(path, one)
        files.append(facts)
        parts.append(
            tables.wide_table(*_judge_rows(facts), title=f"{path}: {facts['shape']}, {facts['size']}")
        )
        parts += [f"note: {note}" for note in _notes(one)]
    found = None if votes is None else _vote_facts(loaded, votes)
    if found is not None:
        parts.append(f"{votes}: {found['text']}")
    names = "".join(f" --judgements {shlex.quote(str(path))}" for path in paths)
    known = "VOTES" if votes is None else shlex.quote(str(votes))
    command = f"arena-ensemble panel{names} --votes {known} --out DIR"
    parts.append(f"next: {command}")
    return Result({"files": files, "votes": found, "next": command}, "\n".join(parts))


def _file_facts(path: Path, loaded: LoadedJudgements) -> dict[str, Any]:
    if loaded.answers is not None:
        scores = loaded.answers
        n = len(scores)
        judges = [
            {"name": name, "kind": "scores", "judged": n - lost, "missing": lost, "unread": []}
            for name, lost in scores.missing.items()
        ]
        size = f"{n:,} answers to {scores.items.n_unique():,} items"
    else:
        assert loaded.judgements is not None
        table = loaded.judgements
        judges = [_column_facts(name, column, loaded) for name, column in table.columns.items()]
        size = f"{len(table):,} pairs"
    return {
        "file": str(path),
        "shape": loaded.shape,
        "size": size,
        "judges": judges,
        "notes": list(loaded.notes),
    }


def _column_facts(name: str, column: JudgeColumn, loaded: LoadedJudgements) -> dict[str, Any]:
    verdicts = column.verdicts
    given = verdicts[verdicts >= 0]
    orders = column.present.sum(axis=0)
    return {
        "name": name,
        "kind": _KINDS.get(column.kind, column.kind),
        "judged": len(given),
        "missing": len(verdicts) - len(given),
        "verdicts": {side: int((given == code).sum()) for code, side in enumerate(_SIDES)},
        "orders": {order: int(count) for order, count in zip(_ORDERS, orders, strict=True) if count},
        "unread": [list(text) for text in loaded.unread.get(name, ())],
    }


def _judge_rows(facts: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows, columns without any content left out."""
    from ..io.unread import shown

    header = ("judge", "kind", "judged", "missing", *_SIDES, "order", "commonest texts that are no verdict")
    rows = []
    for one in facts["judges"]:
        total = max(one["judged"], 1)
        sides = [f"{count / total:.0%}" for count in one.get("verdicts", {}).values()] or [""] * 3
        order = ", ".join(f"{name} {count:,}" for name, count in one.get("orders", {}).items())
        texts = shown(tuple((text, count) for text, count in one["unread"]))
        rows.append(
            (one["name"], one["kind"], f"{one['judged']:,}", f"{one['missing']:,}", *sides, order, texts)
        )
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    return tuple(header[k] for k in kept), [tuple(row[k] for k in kept) for row in rows]


def _notes(loaded: LoadedJudgements) -> list[str]:
    """Those that the table does not show."""
    from ..io.unread import unread_lines

    shown = {*unread_lines(loaded.unread)}
    return [note for note in loaded.notes if note not in shown and not note.startswith("missing, ")]


def _vote_facts(loaded: Sequence[LoadedJudgements], votes: Path) -> dict[str, Any]:
    """Who voted, for what, and how many pairs or items have both."""
    import numpy as np

    from ..pipeline.best_of_n import best_data, votes_for_best
    from ..pipeline.panel import panel_data

    best = votes_for_best(loaded, votes)
    if best is not None:
        data = best_data(loaded, best, votes)
        common = len(data.votes.shares)
        text = f"the best answer of {len(best.shares):,} items; {common:,} of them have scores"
        return {"items": len(best.shares), "with_scores": common, "text": text}
    pairs = panel_data(loaded, votes)
    counts = np.bincount(pairs.votes.majority, minlength=3)
    total = int(counts.sum())
    shares = ", ".join(f"{side} {count / total:.1%}" for side, count in zip(_SIDES, counts, strict=True))
    people = len(pairs.votes.annotators)
    by = f" by {people} annotators ({', '.join(pairs.votes.annotators[:6])})" if people > 1 else ""
    text = f"{total:,} pairs have votes{by} and judgements: {shares}"
    if rest := len(pairs.given) - total:
        text += f"; {rest:,} judged pairs have no vote"
    return {
        "pairs": total,
        "outcomes": {side: int(count) for side, count in zip(_SIDES, counts, strict=True)},
        "annotators": list(pairs.votes.annotators),
        "judged_without_vote": rest,
        "text": text,
    }
