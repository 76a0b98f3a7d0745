"""Good files of every shape for the fuzz of the readers, and what a plain second reader makes of them.

The second reader shares no code with ours: the standard library's ``csv``, ``json`` and ``zipfile``, and
a few lines on votes. It counts rows and reads votes of files as they are after the damage.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
from typing import Any

WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
WORDS = ("model_a", "model_b", "tie")
Rows = list[dict[str, Any]]


def battles() -> dict[str, Rows]:
    """Battles by shape."""
    turns = [["why?", "and?"], ['say "hi",\nthen'], ["привет 😀"], [None], ["x" * 50]]

    def hot(k: int, values: tuple[Any, Any] = (0, 1)) -> dict[str, Any]:
        return {name: values[k % 3 == j] for j, name in enumerate(WINNERS)}

    def talk(answer: str, keys: tuple[str, str] = ("role", "content")) -> Rows:
        names = ("user", "assistant") if keys[0] == "role" else ("human", "gpt")
        return [dict(zip(keys, pair, strict=True)) for pair in zip(names, ("q", answer), strict=True)]

    kaggle = [
        {"id": k * 11, "prompt": t, "response_a": [f"a{k}"] * len(t), "response_b": [None] * len(t), **hot(k)}
        for k, t in enumerate(turns)
    ]
    words = ["model_a", "tie", "tie (bothbad)", "model_b"]
    arena = [
        {"question_id": f"q{k}", "conversation_a": talk("a"), "conversation_b": talk("b"), "winner": w,
         "language": "English"}
        for k, w in enumerate(words)
    ]  # fmt: skip
    wsdm = [
        {"id": f"w{k}", "prompt": f"p, {k}", "response_a": 'a "q"', "response_b": "b\nb", "winner": "model_a"}
        for k in range(4)
    ]
    pairs = [{"prompt": f"p{k}", "chosen": "good", "rejected": "bad"} for k in range(4)]
    plain = [
        {"id": k, "Prompt": ("q", "42", '["sort"]', "r", "s", "t")[k], "response_A": "a", "response_B": "b",
         **hot(k, (False, True))} for k in range(6)
    ]  # fmt: skip
    python = [
        {"id": float(k), "prompt": str(["it's", None]), "response_a": str(["a", "b"]),
         "response_b": str([None, 'say "x"']), "label": k % 3} for k in range(5)
    ]  # fmt: skip
    sides = ("conversation_a", "conversation_b")
    beside = [
        {
            **row,
            "chosen": row[sides[row["winner"] == "model_b"]],
            "rejected": row[sides[row["winner"] != "model_b"]],
        }
        for row in arena
    ]
    judged = [
        {"question_id": 81 + k // 2, "conversation_a": talk("a") * 2, "conversation_b": talk("b") * 2,
         "winner": WORDS[k % 3], "judge": "j", "turn": 1 + k % 2} for k in range(6)
    ]  # fmt: skip
    keys = ("from", "value")
    sharegpt = [
        {"conversations": talk("", keys)[:1], "system": "s", "chosen": talk("good", keys)[1],
         "rejected": talk("bad", keys)[1], "tie": k == 1} for k in range(4)
    ]  # fmt: skip
    asked = [
        {"instruction": f"do {k}", "input": "" if k % 2 else "this", "chosen": "good", "rejected": "bad"}
        for k in range(4)
    ]
    unvoted = [{**row, "winner": "" if k == 2 else row["winner"]} for k, row in enumerate(wsdm)]
    bench = [{**row, "chosen_model": "m", "rejected_model": "n", "id": k} for k, row in enumerate(pairs)]
    return {
        "kaggle": kaggle, "arena": arena, "wsdm": wsdm, "pairs": pairs, "plain": plain, "python": python,
        "beside": beside, "judged": judged, "sharegpt": sharegpt, "asked": asked, "unvoted": unvoted,
        "bench": bench,
    }  # fmt: skip


def tables() -> dict[str, tuple[str, Rows]]:
    """Name → role and rows, of predictions and labels."""
    third = -1.0986123
    return {
        "probs": ("predictions", [
            {"id": k, "winner_model_a": 0.5, "winner_model_b": 0.25, "winner_tie": 0.25} for k in range(5)]),
        "trio": ("predictions", [
            {"": k, "ID": float(k), "A": 0.5, "B": 0.25, "tie": 0.245, "label": k % 3} for k in range(5)]),
        "logs": ("predictions", [
            {"id": k, "fold": k % 2, "logp_a": third, "logp_b": third, "logp_tie": third} for k in range(5)]),
        "labels": ("labels", [{"id": k, "label": k % 3} for k in range(5)]),
        "hot": ("labels", [
            {"id": f"i{k}", **{name: float(k % 3 == j) for j, name in enumerate(WINNERS)}}
            for k in range(5)]),
    }  # fmt: skip


def good_files() -> dict[str, tuple[str, bytes]]:
    """Name → (role, content); the name ends with how the file is written and packed."""
    import numpy as np
    import polars as pl
    import zstandard

    def table(rows: Rows, delimiter: str = ",") -> bytes:
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(
            {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in r.items()} for r in rows
        )
        return out.getvalue().encode()

    def lines(rows: Rows) -> bytes:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    def parquet(rows: Rows) -> bytes:
        out = io.BytesIO()
        pl.DataFrame(rows).write_parquet(out)
        return out.getvalue()

    def zipped(name: str, content: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(name), content)
        return out.getvalue()

    files: dict[str, tuple[str, bytes]] = {}
    shapes = {name: ("battles", rows) for name, rows in battles().items()} | tables()
    for name, (role, rows) in shapes.items():
        by_column = {k: {str(n): row.get(k) for n, row in enumerate(rows)} for k in rows[0]}
        files |= {
            f"{name}.csv": (role, table(rows)),
            f"{name}.semicolon.csv": (role, table(rows, ";")),
            f"{name}.tab.csv": (role, table(rows, "\t")),
            f"{name}.jsonl": (role, lines(rows)),
            f"{name}.array.json": (role, json.dumps(rows).encode()),
            f"{name}.indent.json": (role, json.dumps(rows, indent=1).encode()),
            f"{name}.columns.json": (role, json.dumps(by_column).encode()),
            f"{name}.parquet": (role, parquet(rows)),
            f"{name}.csv.gz": (role, gzip.compress(table(rows), mtime=0)),
            f"{name}.csv.zst": (role, zstandard.compress(table(rows))),
            f"{name}.csv.zip": (role, zipped("x.csv", table(rows))),
            f"{name}.jsonl.zip": (role, zipped("x.jsonl", lines(rows))),
        }
    for dtype in ("float64", "float16"):
        out = io.BytesIO()
        np.save(out, np.full((5, 3), 1 / 3, dtype=dtype))
        files[f"array-{dtype}.npy"] = ("arrays", out.getvalue())
    out = io.BytesIO()
    np.savez_compressed(out, ids=np.arange(5), p=np.full((5, 3), 1 / 3))
    files["array.npz"] = ("predictions", out.getvalue())
    return files


def unpacked(content: bytes) -> bytes:
    """The plain bytes of a packed file, by the libraries' one-shot functions."""
    import zstandard

    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content)
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (info,) = archive.infolist()
            return archive.read(info)
    if content[:2] == b"\x28\xb5":
        plain = b""
        while content:
            frame = zstandard.ZstdDecompressor().decompressobj()
            plain += frame.decompress(content)
            content = frame.unused_data
        return plain
    return content


def second_reading(content: bytes) -> tuple[int, Rows | None]:
    """Rows of data, counted and, where the second reader can, as dictionaries."""
    import numpy as np
    import polars as pl

    if content[:4] == b"PAR1":
        frame = pl.read_parquet(io.BytesIO(content))
        return frame.height, frame.to_dicts()
    if content[:6] == b"\x93NUMPY":
        return len(np.load(io.BytesIO(content))), None
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if all(name.endswith(".npy") for name in archive.namelist()):
                arrays = np.load(io.BytesIO(content))
                return next(len(array) for array in arrays.values() if array.ndim == 2), None
    text = unpacked(content).decode("utf-8", "surrogatepass").removeprefix("\ufeff")
    if text.lstrip()[:1] in ("[", "{"):
        rows = _json_rows(text)
        return len(rows), rows
    return _csv_rows(text)


def _json_rows(text: str) -> Rows:
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, list):
        return whole
    if isinstance(whole, dict) and all(isinstance(v, dict) and "0" in v for v in whole.values()):
        keys = list(next(iter(whole.values())))
        return [{name: column[key] for name, column in whole.items()} for key in keys]
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        if text[place] in " \t\r\n":
            place += 1
        else:
            value, place = decoder.raw_decode(text, place)
            found.append(value)
    return found


def _csv_rows(text: str) -> tuple[int, Rows | None]:
    counts = {mark: _count(text, mark) for mark in ",;\t"}
    header = text.lstrip("\r\n").split("\n", 1)[0]
    mark = max(",;\t", key=header.count)
    rows = list(csv.DictReader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=mark))
    return counts[mark], [{(k or "").strip(): v for k, v in row.items()} for row in rows]


def _count(text: str, delimiter: str) -> int:
    """Rows of data of CSV, letter by letter."""
    rows, quoted, fresh, closed, seen = 0, False, True, False, False
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for char in text:
        if quoted:
            # a doubled quote closes here and opens again at the next character
            quoted, closed = char != '"', char == '"'
            continue
        # a quote opens a cell only at its beginning; inside a cell without quotes it is a letter
        opens, closed = char == '"' and (fresh or closed), False
        if opens:
            quoted, fresh, seen = True, False, True
        elif char == "\n":
            rows, fresh, seen = rows + seen, True, False
        else:
            fresh, seen = char == delimiter, True
    return rows + seen - 1


def second_votes(rows: Rows) -> list[int | None] | None:
    """The votes of rows whose columns are spelled as they were; None where they are not all there."""
    if not rows or not all(isinstance(row, dict) for row in rows):
        return None
    if all(name in row for row in rows for name in WINNERS):
        return [_one_hot([row[name] for name in WINNERS]) for row in rows]
    for name in ("winner", "label"):
        if all(name in row for row in rows):
            votes = [_word(row[name], numbers=name == "label") for row in rows]
            if 2 * votes.count(None) < len(votes):
                return votes
    return None


def _one_hot(cells: list[Any]) -> int | None:
    values = [float({"true": 1, "false": 0}.get(str(cell).strip().lower(), cell) or 0) for cell in cells]
    return values.index(1) if sum(values) == 1 and 1 in values else None


def _word(cell: Any, *, numbers: bool) -> int | None:
    text = re.sub("[ _-]+", "_", str(cell).strip().lower())
    if numbers and text[:1] in ("0", "1", "2"):
        return int(float(text))
    if text in ("a", "b"):
        return "ab".index(text)
    return next((k for k, word in enumerate(WORDS) if text.startswith(word)), None)
