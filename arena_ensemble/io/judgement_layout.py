"""Which shape a file of judgements has: decided from its columns and the first filled cells of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from ..errors import InputError
from ..judgements import First
from ..judgements.known import Known, known_judge
from .column_names import WINNERS, Columns, canonical
from .judge_cells import label_masses
from .judge_columns import (
    HEAD_ROWS,
    filled_heads,
    holds_verdicts,
    is_no_judge,
    is_number,
    names_note,
    numeric_columns,
    unread_note,
)
from .judgement_shapes import SHAPES, LongShape, Wide, WideShape
from .seen_first import order_column
from .tables import Table
from .votes import WORD_COLUMNS
from .wide_columns import Sided, both_orders, margins, orders_note, samples, samples_note, sided, stated

_IDS: Final = ("id", "pair_id", "question_id", "pair", "battle_id", "comparison_id", "example_id")
_VERDICTS: Final = (
    "winner", "preference", "choice", "decision", "judgment", "judgement", "preferred", "pick", "vote",
    "prediction", "label", "outcome",
)  # fmt: skip
"""Columns that hold a judge's verdict beside a column ``judge``, where there is no ``verdict``."""
_OUTPUTS: Final = ("raw_output", "output", "response", "completion", "raw", "raw_response", "text", "answer")
"""Columns of a judge's whole answer, beside a column ``judge``, where nothing else is there."""
_ALONE: Final = ("verdict", *_VERDICTS[1:6], *_OUTPUTS)
"""Columns of a file's one judge, where no other column is one's."""
_OF_VOTES: Final = (*WINNERS, "winner")
_JUDGES: Final = ("llm", "evaluator", "evaluator_model", "reward_model", "grader", "scorer", "judging_model")
"""Columns that may name the judge of a row, where there is no ``judge``."""
_LABELS: Final = (
    "probs", "probabilities", "label_probs", "label_probabilities", "distribution", "logprobs",
    "label_logprobs", "top_logprobs",
)  # fmt: skip
"""Columns that hold an object of probabilities by label."""


def check_numbers(numbers: str | None) -> None:
    """Raise InputError where ``numbers`` is no coding of verdicts."""
    if numbers not in (None, "120", "012"):
        raise InputError(
            f"numbers {numbers!r}: give 120 (1 is A, 2 is B, 0 is a tie) or 012 (0 is A, 1 is B)"
        )


def id_name(table: Table, columns: Columns) -> str:
    """The column of ids.

    Raises
    ------
    InputError
        There is none.
    """
    name = next((found for found in map(columns.find, _IDS) if found is not None), None)
    if name is None:
        raise InputError(f"{table.name} lacks the column id; its columns are {columns.shown}; give {SHAPES}")
    return name


def with_judge(table: Table, columns: Columns) -> Columns:
    """The columns with that of the judges' names, where it has another name: ``llm``, ``reward_model`` ….

    Such a column holds neither numbers nor verdicts, which would be a judge's own. Beside columns of judges
    it is about the row (``evaluator``: who voted), and so is ``llm`` beside answers, which wrote them; but
    not where a pair or an answer has several rows.
    """
    if "judge" in columns:
        return columns
    for name in filter(None, map(columns.find, _JUDGES)):
        cells = filled_heads(table, [name])[name]
        if not cells or any(map(is_number, cells)) or holds_verdicts(cells):
            continue
        wrote = canonical(name) == "llm" and "answer" in columns
        if _repeats(table, columns) or not (wrote or own_columns(table, columns, table.columns)):
            return columns.taking("judge", name)
    return columns


def _repeats(table: Table, columns: Columns) -> bool:
    """Whether the first rows name a pair, or an answer of an item, more than once."""
    found = columns.find("item") or next(filter(None, map(columns.find, _IDS)), None)
    names = [one for one in (found, columns.find("answer")) if one is not None]
    rows = [tuple(map(str, row)) for row in table.head(names, HEAD_ROWS)] if found else []
    return len({*rows}) < len(rows)


def own_columns(table: Table, columns: Columns, names: Sequence[str]) -> list[str]:
    """Columns that are a named judge's: of verdicts, or of numbers about both sides or a margin.

    Names of a row's one verdict (``verdict``, ``preference`` …) and of its order are none.
    """
    nameless = {one for own in stated(names) for one in own.names}
    found = [
        own.names
        for own in (*sided(names).values(), *margins(names).values())
        if not nameless & {*own.names} and numeric_columns(table, own.names)
    ]
    order = order_column(table, columns)
    beside = {*nameless, columns.find("verdict"), None if order is None else order.name}
    beside |= {one for own in found for one in own}
    words = {*_VERDICTS, *_OUTPUTS, *_LABELS, *_IDS, *WINNERS, *WORD_COLUMNS, "item", "answer", "sample"}
    asked = [one for one in names if one not in beside and canonical(one) not in words]
    asked = [one for one in asked if not is_no_judge(one)]
    spoken = [one for one, head in filled_heads(table, asked).items() if holds_verdicts(head)]
    return [*(one for own in found for one in own), *spoken]


def shape_of(
    table: Table,
    columns: Columns,
    name: str,
    numbers: str | None,
    first: First,
    known: Known = (),
) -> LongShape | WideShape:
    """How a file's judgements lie, by its columns and the first filled cells of each; ``known`` as there.

    Raises
    ------
    InputError
        It has judges without verdicts, scores or probabilities, or no judge, or an order that is not clear.
    """
    if "judge" not in columns and (model := columns.find("model")) is not None:
        # of two sides and with ids that repeat, the models are those that judged
        ids = [row[0] for row in table.head([name], HEAD_ROWS)]
        if len({*ids}) < len(ids) and ("verdict" in columns or _nameless(table, table.columns)):
            columns = columns.taking("judge", model)
    if "judge" in columns:
        return _long(table, columns, name, numbers, first)
    return _wide(table, columns, name, numbers, first, known)


def _long(table: Table, columns: Columns, name: str, numbers: str | None, first: First) -> LongShape:
    order = order_column(table, columns)
    lead = (name, str(columns.find("judge")), *([order.name] if order else []))
    sample = columns.find("sample")
    numeric = _nameless(table, [one for one in table.columns if one not in lead])
    verdict = columns.find("verdict")
    labels = _label_columns(table, [one for one in map(columns.find, _LABELS) if one is not None])
    beside = (*(one for own in numeric for one in own.names), *labels)
    if verdict is None and not beside:
        verdict = next((one for one in map(columns.find, _VERDICTS) if one is not None), None)
    notes: tuple[str, ...] = ()
    if verdict is None and not beside:
        texts = [one for one in map(columns.find, _OUTPUTS) if one is not None]
        verdict = next(
            (one for one, head in filled_heads(table, texts).items() if holds_verdicts(head)), None
        )
        notes = () if verdict is None else (f"verdicts are read from the texts of {verdict}",)
    if verdict is not None:
        if beside:
            notes = (f"not read beside {verdict}: {', '.join(beside)}; leave out {verdict} to read them",)
        return LongShape(table.name, lead, (verdict,), "verdicts", numbers, first, order, notes, sample)
    if numeric:
        own = numeric[0]
        rest = [one for other in numeric[1:] for one in other.names]
        notes = (f"not read beside {', '.join(own.names)}: {', '.join(rest)}",) if rest else ()
        kind = own.kind or "probabilities"
        notes = (*notes, *_alone({"": own}))
        return LongShape(table.name, lead, own.names, kind, numbers, first, order, notes, sample)
    if labels:
        return LongShape(table.name, lead, (labels[0],), "labels", numbers, first, order, (), sample)
    raise InputError(
        f"{table.name} has judges, but neither verdict, nor score_a and score_b, nor p_a and p_b; its "
        f"columns are {columns.shown}; name them so"
    )


def _alone(found: Mapping[str, Sided]) -> tuple[str, ...]:
    """A note on probabilities of A without those of B."""
    names = [one.names[0] for one in found.values() if len(one.names) == 1 and one.kind == "probabilities"]
    if not names:
        return ()
    return (f"P(A) alone is given ({', '.join(names[:3])}): P(B) is taken as the rest, without ties",)


def _label_columns(table: Table, names: Sequence[str]) -> list[str]:
    return [one for one, head in filled_heads(table, names).items() if _labelled(head)]


def _labelled(head: Sequence[Any]) -> bool:
    return bool(head) and 2 * sum(label_masses(cell) is not None for cell in head) > len(head)


def _wide(
    table: Table, columns: Columns, name: str, numbers: str | None, first: First, known: Known
) -> WideShape:
    order = order_column(table, columns)
    left_out = {name, *([order.name] if order else []), *WINNERS, *WORD_COLUMNS}
    open_to = [one for one in table.columns if one not in left_out and canonical(one) not in left_out]
    numeric = {
        judge: own for judge, own in sided(open_to, known).items() if numeric_columns(table, own.names)
    }
    numeric = {judge: own for judge, own in numeric.items() if not _verdicts_of_two(own, known)}
    numeric |= {
        judge: own
        for judge, own in margins(open_to, known).items()
        if judge not in numeric and own.names[0] not in known and numeric_columns(table, own.names)
    }
    lone, alone_notes = _nameless(table, open_to), tuple[str, ...]()
    if lone:  # of the file's one judge, who has no other name
        shared = {one for own in lone for one in own.names}
        numeric = {
            judge: own for judge, own in numeric.items() if judge in known or not shared & {*own.names}
        }
        if not any(shared & {*own.names} for own in numeric.values()):
            named_else = _vague(lone[0]) and _file_name(table) not in known
            judged = [one for one in open_to if one in known] or own_columns(table, columns, open_to)
            if named_else and judged:
                alone_notes = (
                    f"not read beside columns of judges: {', '.join(lone[0].names)}; if a judge's, write its "
                    f"name before, NAME_{lone[0].names[0]}",
                )
            else:
                numeric[_file_name(table)] = lone[0]
    taken = {one for own in numeric.values() for one in own.names}
    taken |= {*lone[0].names} if alone_notes else set()
    asked = [one for one in open_to if one not in taken]
    heads = filled_heads(table, [one for one in asked if one in known or not is_no_judge(one)])
    named = names_note(table, [one for one in asked if one not in heads])
    labels = [one for one, head in heads.items() if _labelled(head)]
    spoken = {one: head for one, head in heads.items() if one not in labels}
    folded, ordered = _verdicts(spoken, known)
    verdicts = [one for own in folded.values() for one in own]
    if not (verdicts or numeric or labels):
        cells = filled_heads(table, [one for one in map(columns.find, _ALONE) if one is not None])
        alone = next((one for one, head in cells.items() if holds_verdicts(head)), None)
        if alone is not None:
            lead = (name, *([order.name] if order else []))
            judges = {_file_name(table): Wide("verdicts", (((alone,), None),))}
            rest_notes = names_note(table, [one for one in asked if one not in heads and one != alone])
            return WideShape(table.name, lead, judges, numbers, first, order, tuple(rest_notes))
        votes = [one for one in table.columns if one not in open_to and canonical(one) in _OF_VOTES]
        if votes:
            named = [*named, f"{', '.join(votes)}: as of votes; write a judge's name before, NAME_{votes[0]}"]
        why = "".join(f" ({note})" for note in named)
        raise InputError(f"{table.name} holds no judge{why}; its columns are {columns.shown}; give {SHAPES}")
    judges = {
        judge: Wide("verdicts", tuple(((one,), slot) for stem, slot in own for one in folded[stem]))
        for judge, own in ordered.items()
    }
    judges |= {
        judge: Wide(own.kind or "probabilities", ((own.names, None),)) for judge, own in numeric.items()
    }
    judges |= {judge: Wide("labels", (((judge,), None),)) for judge in labels}
    rest = {one: head for one, head in heads.items() if one not in verdicts and one not in labels}
    notes = (
        *named,
        *alone_notes,
        *unread_note(rest),
        *samples_note(folded),
        *orders_note(ordered),
        *_alone(numeric),
    )
    lead = (name, *([order.name] if order else []))
    return WideShape(table.name, lead, judges, numbers, first, order, notes)


def _verdicts(
    heads: Mapping[str, Sequence[Any]], known: Known
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[tuple[str, First | None], ...]]]:
    """Columns of verdicts: name → columns of samples, and judge → such names with what was seen first.

    Columns go together by their names where none of them holds something else: one that is empty throughout
    is a sample that always failed, and the file's other columns mean the same with and without it.
    """

    def fits(names: Sequence[str]) -> bool:
        cells = [heads[one] for one in names if heads[one]]
        return bool(cells) and all(map(holds_verdicts, cells))

    folded: dict[str, tuple[str, ...]] = {}
    for stem, own in samples(list(heads), known).items():
        if fits(own) or _gives_verdicts(stem, known):
            folded[stem] = own
        else:
            folded |= {one: (one,) for one in own if fits([one]) or _gives_verdicts(one, known)}
    others = [one for one in heads if not any(one in own for own in folded.values())]
    ordered: dict[str, tuple[tuple[str, First | None], ...]] = {}
    for judge, both in both_orders([*folded, *others], known).items():
        spoken = [stem for stem, _ in both if stem in folded]
        silent = [stem for stem, _ in both if stem not in folded]
        if spoken and (_gives_verdicts(judge, known) or not any(heads[one] for one in silent)):
            ordered[judge] = both
            folded |= {one: (one,) for one in silent}
        else:
            ordered |= {one: ((one, None),) for one in spoken}
    return folded, ordered


def _vague(own: Sided) -> bool:
    """Whether names without a judge say little: ``margin``, ``p_a`` without B's, ``A`` and ``B``."""
    return len(own.names) == 1 or len(canonical(own.names[0])) == 1


def _file_name(table: Table) -> str:
    return PurePath(table.name).name.partition(".")[0]


def _nameless(table: Table, names: Sequence[str]) -> list[Sided]:
    """Numbers of A and B without a judge's name; columns named by bare labels only where they are shares."""
    found = stated(names)
    if found and len(canonical(found[0].names[0])) == 1:
        cells = [cell for head in filled_heads(table, found[0].names).values() for cell in head]
        if not numeric_columns(table, found[0].names) or holds_verdicts(cells):
            return []
    return found


def _gives_verdicts(name: str, known: Known) -> bool:
    """Whether a column is a known judge's, of verdicts as far as is known."""
    told = known_judge(known, name)
    return name in known and (told is None or told.kind == "verdicts")


def _verdicts_of_two(own: Sided, known: Known) -> bool:
    """Whether both columns are known judges of their own, named like the two sides of one."""
    return own.kind is None and all(name in known for name in own.names)
