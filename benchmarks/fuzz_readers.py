"""Damage good files at random and read them: a clear error or the right rows, never anything else.

Every case takes one good file (each format, each container), damages it (bytes flipped, cut, doubled,
moved; quotes, newlines, NULs and numbers put in), and reads it as battles, predictions or labels. The
outcome must be an ``ArenaError``, or a table with as many rows, and the votes, that an independent
reader finds (``fuzz_files.py``).
Cases run in child processes, so that a signal or a hang is seen and named by its seed; a case that
takes 10 s of processor time is a hang and ends its process. There is no peer: what others do with
such files is mostly a traceback.

    python benchmarks/fuzz_readers.py [--cases 100000] [--first 0] [--json]
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz_files import good_files, second_reading, second_votes

os.environ.setdefault("POLARS_MAX_THREADS", "1")

LIMIT_S = 10
BATCH = 1000


INSERTS = [
    b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\x00", b"[", b"]", b"{", b"}", b"\\", b"\\ud83d", b"\xff",
    b"\xed\xa0\xbd", b"null", b"NaN", b"-1", b"1e999", b"9" * 30, b"\xef\xbb\xbf", b"\x1f\x8b", b"PAR1",
    b" ", b"\t", b"'", b"\xc3", b"0", b"1",
]  # fmt: skip

WORDS = [
    b"0", b"1", b"2", b"0.0", b"1.0", b"true", b"false", b"True", b"model_a", b"model_b", b"tie", b'""',
    b"null", b"winner", b"label", b"prompt", b"chosen", b"id", b"NaN",
]  # fmt: skip
"""what stands for a vote or a column: one is put for another, and most such files can still be read"""


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One to three random damages."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not content:
            return content
        i, j = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
        kind = rng.randrange(10)
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
        elif kind == 6:
            content = content[:i] + content[j : j + 20] + content[i:j] + content[j + 20 :]
        elif kind == 7:
            lines = content.split(b"\n")
            a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[a], lines[b] = lines[b], lines[a]
            content = b"\n".join(lines)
        else:
            old, new = rng.choice(WORDS), rng.choice(WORDS)
            places = [match.start() for match in re.finditer(re.escape(old), content)]
            place = rng.choice(places) if places else len(content)
            content = content[:place] + new + content[place + len(old) :]
    return content


def child(first: int, count: int, folder: Path) -> None:
    """Run cases; the seed in hand is written before each, and a tally at the end."""
    from arena_ensemble.errors import ArenaError
    from arena_ensemble.io import load_battles, read_labels, read_predictions
    from arena_ensemble.io.tables import open_table

    files = good_files()
    names = list(files)
    # Parquet is first tried in a process of its own, a hundred times the cost of a case: it comes up less.
    weights = [0.1 if name.endswith(".parquet") else 1.0 for name in names]
    ids = folder / "ids.csv"
    ids.write_text("id\n1\n2\n3\n4\n5\n")

    def use(role: str, path: Path) -> tuple[int, list[int | None] | None]:
        """Rows and votes of a case."""
        if role == "battles":
            frame = load_battles(path, need_ids=False).battles.frame
            return frame.height, frame["outcome"].to_list()
        if role == "labels":
            frame = read_labels(path)
            return frame.height, frame["outcome"].to_list()
        held = read_predictions(path, ids=ids if role == "arrays" else None)
        return len(next(iter(held.values()))), None

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
            if content[:4] == b"PAR1":
                open_table(path, isolated=True)
            found, votes = use(role, path)
            signal.setitimer(signal.ITIMER_PROF, 0)
            try:
                expected, rows = second_reading(content)
            except Exception:  # it reads every column, ours those that count
                tally["read, not compared"] += 1
                continue
            wanted = second_votes(rows) if rows is not None and votes is not None else None
            # where a second column of votes was made by the damage, or chosen texts hold the votes
            paired = name.split(".")[0] in ("pairs", "bench", "asked", "sharegpt")
            if name.startswith("logs") and found != expected:
                tally["averaged"] += 1  # a row per (id, fold) is averaged to a row per id
            elif found != expected:
                bad.append(f"{seed} {name}: {found} rows, expected {expected}")
            elif wanted is not None and not paired and votes != wanted:
                bad.append(f"{seed} {name}: votes {votes}, expected {wanted}")
            else:
                tally["read"] += 1
                tally["votes compared"] += wanted is not None and not paired
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
