"""Damage good files at random and read them: a clear error or the right rows, never anything else.

Every case takes one good file (each format, each container), damages it (bytes flipped, cut, doubled,
moved; quotes, newlines, NULs and numbers put in), and reads it as battles, predictions or labels. The
outcome must be an ``ArenaError``, or a table with as many rows as an independent counter finds.
Cases run in child processes, so that a signal or a hang is seen and named by its seed; a case that
takes 10 s of processor time is a hang and ends its process. There is no peer: what others do with
such files is mostly a traceback.

    python benchmarks/fuzz_readers.py [--cases 100000] [--first 0] [--json]
"""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")

LIMIT_S = 10
BATCH = 1000


def good_files() -> dict[str, tuple[str, bytes]]:
    """Name → (role, content)."""
    import csv

    import polars as pl
    import zstandard

    turns = [["why?", "and?"], ['say "hi",\nthen'], ["привет 😀"], [None], ["x" * 50]]
    winners = ("winner_model_a", "winner_model_b", "winner_tie")
    kaggle = [
        {"id": k * 11, "prompt": t, "response_a": [f"a{k}"] * len(t), "response_b": [None] * len(t),
         **{name: int(k % 3 == j) for j, name in enumerate(winners)}}
        for k, t in enumerate(turns)
    ]  # fmt: skip
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    arena = [
        {
            "question_id": f"q{k}",
            "conversation_a": talk,
            "conversation_b": talk,
            "winner": w,
            "language": "English",
        }
        for k, w in enumerate(["model_a", "tie", "tie (bothbad)", "model_b"])
    ]
    wsdm = [
        {"id": f"w{k}", "prompt": f"p, {k}", "response_a": 'a "q"', "response_b": "b\nb", "winner": "model_a"}
        for k in range(4)
    ]
    pairs = [{"prompt": f"p{k}", "chosen": "good", "rejected": "bad"} for k in range(4)]
    parts = [
        {
            "id": f"p{k}",
            "conversation_a": [
                {"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in talk
            ],
            "conversation_b": talk,
            "winner": w,
        }
        for k, w in enumerate(["both_bad", "model_a", "tie"])
    ]
    bench = [{**row, "chosen_model": "m", "rejected_model": "n", "id": k} for k, row in enumerate(pairs)]
    probs = [{"id": k, "winner_model_a": 0.5, "winner_model_b": 0.25, "winner_tie": 0.25} for k in range(5)]
    logs = [
        {"id": k, "fold": k % 2, "logp_a": -1.0986123, "logp_b": -1.0986123, "logp_tie": -1.0986123}
        for k in range(5)
    ]
    labels = [{"id": k, "label": k % 3} for k in range(5)]

    def table(rows: list[dict[str, Any]]) -> bytes:
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows
        )
        return out.getvalue().encode()

    def lines(rows: list[dict[str, Any]]) -> bytes:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    def parquet(rows: list[dict[str, Any]]) -> bytes:
        out = io.BytesIO()
        pl.DataFrame(rows).write_parquet(out)
        return out.getvalue()

    files: dict[str, tuple[str, bytes]] = {}
    for name, role, rows in [
        ("kaggle", "battles", kaggle), ("arena", "battles", arena), ("wsdm", "battles", wsdm),
        ("pairs", "battles", pairs), ("bench", "battles", bench), ("probs", "predictions", probs),
        ("logs", "predictions", logs),
        ("labels", "labels", labels),
    ]:  # fmt: skip
        files[f"{name}.csv"] = (role, table(rows))
        files[f"{name}.jsonl"] = (role, lines(rows))
        files[f"{name}.parquet"] = (role, parquet(rows))
        files[f"{name}.csv.gz"] = (role, gzip.compress(table(rows), mtime=0))
        files[f"{name}.csv.zst"] = (role, zstandard.compress(table(rows)))
        files[f"{name}.jsonl.zst"] = (role, zstandard.compress(lines(rows)))
    files["parts.jsonl"] = ("battles", lines(parts))
    files["parts.jsonl.gz"] = ("battles", gzip.compress(lines(parts), mtime=0))
    return files


INSERTS = [
    b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\x00", b"[", b"]", b"{", b"}", b"\\", b"\\ud83d", b"\xff",
    b"\xed\xa0\xbd", b"null", b"NaN", b"-1", b"1e999", b"9" * 30, b"\xef\xbb\xbf", b"\x1f\x8b", b"PAR1",
    b" ", b"\t", b"'", b"\xc3", b"0", b"1",
]  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One to three random damages."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not content:
            return content
        i, j = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
        kind = rng.randrange(7)
        if kind == 0:
            content = content[:i]
        elif kind == 1:
            place = rng.randrange(len(content))
            content = (
                content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
            )
        elif kind == 2:
            content = content[:i] + rng.choice(INSERTS) + content[i:]
        elif kind == 3:
            content = content[:i] + content[j:]
        elif kind == 4:
            content = content[:j] + content[i:j] + content[j:]
        elif kind == 5:
            place = rng.randrange(len(content))
            content = content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
        else:
            content = content[:i] + content[j : j + 20] + content[i:j] + content[j + 20 :]
    return content


def unpacked(content: bytes) -> bytes:
    """The plain bytes of a gzip or zstandard file, by the libraries' one-shot functions."""
    import zstandard

    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content)
    if content[:2] == b"\x28\xb5":
        plain = b""
        while content:
            frame = zstandard.ZstdDecompressor().decompressobj()
            plain += frame.decompress(content)
            content = frame.unused_data
        return plain
    return content


def counted(content: bytes) -> int:
    """Rows of data, by a counter that shares no code with the readers."""
    import polars as pl

    if content[:4] == b"PAR1":
        return pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
    text = unpacked(content).decode("utf-8", "surrogatepass").removeprefix("\ufeff")
    if text.lstrip()[:1] == "{":
        return sum(not line.isspace() for line in io.StringIO(text, newline=None))
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
            fresh, seen = char == ",", True
    return rows + seen - 1


def child(first: int, count: int, folder: Path) -> None:
    """Run cases; the seed in hand is written before each, and a tally at the end."""
    from arena_ensemble.errors import ArenaError
    from arena_ensemble.io import load_battles, read_labels, read_predictions

    files = good_files()
    names = list(files)
    # Parquet is first tried in a process of its own, a hundred times the cost of a case: it comes up less.
    weights = [0.25 if name.endswith(".parquet") else 1.0 for name in names]
    use: dict[str, Callable[[Path], int]] = {
        "battles": lambda path: len(load_battles(path).battles),
        "predictions": lambda path: len(next(iter(read_predictions(path).values()))),
        "labels": lambda path: read_labels(path).height,
    }

    tally: collections.Counter[str] = collections.Counter()
    bad: list[str] = []
    path = folder / "case"
    for seed in range(first, first + count):
        (folder / "seed").write_text(str(seed))
        rng = random.Random(seed)
        (name,) = rng.choices(names, weights)
        role, content = files[name]
        content = damaged(content, rng)
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)  # of processor time: a busy machine is no hang
        try:
            found = use[role](path)
            signal.setitimer(signal.ITIMER_PROF, 0)
            expected = counted(content)
            if (
                name.startswith("logs") and found != expected
            ):  # a row per (id, fold) is averaged to a row per id
                tally["averaged"] += 1
            elif found != expected:
                bad.append(f"{seed} {name}: {found} rows, expected {expected}")
            else:
                tally["read"] += 1
        except ArenaError as error:
            tally["refused"] += 1
            if not str(error).isprintable():
                bad.append(f"{seed} {name}: a message that is no line of printable text")
        except BaseException as error:
            bad.append(f"{seed} {name}: {type(error).__name__}: {str(error)[:150]}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    (folder / "tally").write_text(json.dumps({"tally": tally, "bad": bad}))


def run(first: int, cases: int) -> tuple[collections.Counter[str], list[str]]:
    """Cases in child processes of a thousand; a child that dies is named by the seed in hand."""
    tally: collections.Counter[str] = collections.Counter()
    bad: list[str] = []
    start, end = first, first + cases
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        while start < end:
            count = min(BATCH, end - start)
            (folder / "tally").unlink(missing_ok=True)
            command = [
                sys.executable,
                __file__,
                "--child",
                str(folder),
                "--first",
                str(start),
                "--cases",
                str(count),
            ]
            try:
                code = subprocess.run(
                    command, stderr=subprocess.DEVNULL, timeout=LIMIT_S * count, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                code = "hang"
            if (folder / "tally").exists():
                result = json.loads((folder / "tally").read_text())
                tally.update(result["tally"])
                bad += result["bad"]
                start += count
            else:
                seed = int((folder / "seed").read_text())
                bad.append(f"{seed}: the process ended with {code}")
                tally["cut short"] += seed - start
                start = seed + 1
    return tally, bad


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.first, options.cases, options.child)
        return
    begun = time.perf_counter()
    tally, bad = run(options.first, options.cases)
    seconds = time.perf_counter() - begun
    if options.json:
        print(json.dumps({"cases": options.cases, "seconds": seconds, "tally": tally, "bad": bad}))
    else:
        print(f"{options.cases:,} cases in {seconds:.0f} s: {dict(tally)}; {len(bad)} bad")
        print("\n".join(bad[:40]))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
