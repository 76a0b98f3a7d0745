"""JSON as rows: one object a line, one array of objects, objects over several lines, pandas' orients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from ..errors import InputError
from .streams import MAX_CELL_CHARS, open_text

Record = tuple[int, Any]
_MAX_CHARS: Final = MAX_CELL_CHARS * 4
"""longest line or object that is read"""
_CHUNK_CHARS: Final = 1 << 20
_REMEDY: Final = "write one JSON object per line (JSON lines)"
LINES, OBJECTS, ARRAY, WHOLE = "lines", "objects", "array", "whole"


def json_layout(path: Path, compression: str, first: bytes) -> str:
    """How the rows of a JSON file are laid out, from its first line.

    Parameters
    ----------
    first
        The first byte that is no white space: ``[`` or ``{``.

    Returns
    -------
    str
        ``lines`` (an object a line), ``objects`` (objects over several lines), ``array`` (of objects) or
        ``whole`` (one object that holds the table in one of pandas' orients).
    """
    if first == b"[":
        return ARRAY
    with open_text(path, compression) as text:
        line = _first_line(text)
        if line.rstrip()[-1:] in ("{", "[", ",", ":"):  # an object that goes on in the next line
            whole = next(_objects(path, compression), (0, None))[1]
            return WHOLE if oriented(whole) is not None else OBJECTS
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return LINES  # the reader of lines names what is wrong
        if oriented(value) is not None and not _first_line(text):
            return WHOLE
    return LINES


def _first_line(text: IO[str]) -> str:
    while line := text.readline(_MAX_CHARS):
        if not line.isspace():
            return line
    return ""


def records(path: Path, compression: str, layout: str) -> Iterator[Record]:
    """Numbered JSON values (1 = the first), in file order.

    Raises
    ------
    InputError
        A value is cut off, too large or no JSON; named by row.
    """
    if layout == LINES:
        yield from _lines(path, compression)
    elif layout == WHOLE:
        values = list(islice(_objects(path, compression), 2))
        if len(values) > 1:
            raise InputError(f"{path.name}: a second value after the table in one object; remove it")
        yield from enumerate(oriented(values[0][1]) or [], start=1)
    else:
        yield from _objects(path, compression, array=layout == ARRAY)


def _lines(path: Path, compression: str) -> Iterator[Record]:
    number = 0
    with open_text(path, compression) as text:
        while line := text.readline(_MAX_CHARS):
            if line.isspace():
                continue
            number += 1
            if len(line) == _MAX_CHARS:
                raise InputError(
                    f"{path.name} row {number}: a line of over {_MAX_CHARS:,} characters; {_REMEDY}"
                )
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path.name} row {number}: not one whole JSON object ({error}); {_REMEDY}"
                ) from None


def _objects(path: Path, compression: str, *, array: bool = False) -> Iterator[Record]:
    """Values one after the other, decoded as the text comes in: a large array needs no memory of its size."""
    decoder = json.JSONDecoder()
    number, buffer, place = 0, "", 0
    due = "[" if array else "value"  # what must come next
    with open_text(path, compression) as text:
        while True:
            place = _skipped(buffer, place)
            mark = buffer[place : place + 1]
            if mark and due in ("[", ","):
                if mark == "]" and due == ",":
                    _refuse_more(path, buffer[place + 1 :] + text.read(_CHUNK_CHARS))
                    return
                if mark != due:
                    raise _broken(path, number, f"{mark!r} where a comma or a bracket is due")
                place, due = place + 1, "value"
                continue
            if mark == "]" and array and not number:
                return  # an empty array
            reason = "the file ends before it"
            if mark:
                try:
                    value, place = decoder.raw_decode(buffer, place)
                except (ValueError, RecursionError) as error:
                    reason = str(error)
                else:
                    number, due = number + 1, "," if array else "value"
                    yield number, value
                    continue
                if len(buffer) - place > _MAX_CHARS:
                    raise _broken(path, number, f"over {_MAX_CHARS:,} characters; {reason}")
            # the value may go on in what is not read yet; twice as much each time keeps the work linear
            more = text.read(max(_CHUNK_CHARS, len(buffer) - place))
            if not more and not mark and not array:
                return
            if not more:
                raise _broken(path, number, reason)
            buffer, place = buffer[place:] + more, 0


def _broken(path: Path, number: int, reason: str) -> InputError:
    return InputError(
        f"{path.name} row {number + 1}: not one whole JSON object ({reason}); the file is cut off or was "
        "edited: "
        "fetch it again"
    )


def _skipped(buffer: str, place: int) -> int:
    while place < len(buffer) and buffer[place] in " \t\r\n":
        place += 1
    return place


def _refuse_more(path: Path, rest: str) -> None:
    if rest.strip():
        raise InputError(
            f"{path.name}: text after the end of the JSON array ({rest.strip()[:30]!r}); remove it"
        )


def oriented(value: Any) -> list[Any] | None:
    """The rows of one object that holds a whole table, as pandas writes it; None where it is a single row.

    Known are ``columns`` (the default of ``DataFrame.to_json``), ``index``, ``split``, ``table``, and a
    dictionary of lists, as ``to_dict("list")`` makes it.
    """
    if not isinstance(value, dict) or not value:
        return None
    data, names = value.get("data"), value.get("columns")
    if isinstance(data, list) and isinstance(names, list) and all(isinstance(row, list) for row in data):
        return [
            dict(zip(map(str, names), row, strict=False)) if len(row) == len(names) else row for row in data
        ]
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data) and len(value) <= 3:
        return data if "schema" in value or len(value) == 1 else None
    columns = list(value.values())
    if all(isinstance(column, dict) and column for column in columns):
        if all(_is_number(key) for key in value):
            return columns  # orient "index": a row under each number
        keys = list(columns[0])
        if all(map(_is_number, keys)) and all(list(column) == keys for column in columns):
            return [{name: column[key] for name, column in value.items()} for key in keys]
    sizes = {len(column) for column in columns if isinstance(column, list)}
    listed = all(isinstance(column, list) for column in columns)
    if listed and len(sizes) == 1 and any(name.lower() in ("id", "question_id") for name in value):
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return None


def _is_number(key: Any) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdigit()
