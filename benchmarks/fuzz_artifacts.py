"""Damage artifacts at random and load them: a clear error, or the very same numbers.

Every case takes one file of a finished workspace (cards, fold file, OOF and test tables, stacker and
score table, a fold's vocabulary and weights), damages it, and loads it. Half of the cases leave the
hashes alone: then the outcome must be an ``ArenaError`` or what was there before. The other half mend
the hashes, as somebody hostile would: then it must be an ``ArenaError`` or a whole, finite table of
the right number of rows. (LightGBM's text is never parsed before its hash matched, and a mended one is
outside what is promised.) Cases run in child processes, so that a signal or a hang of 10 s is seen.

    python benchmarks/fuzz_artifacts.py [--cases 20000] [--first 0] [--json]
"""

from __future__ import annotations

import argparse
import collections
import hashlib
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

from arena_ensemble.artifacts import cards, fold_file
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.pipeline.ensemble import Ensemble

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

LIMIT_S = 10
BATCH = 2000
RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 8\ninner_folds = 0\n'
FOLD = "models/mine/fold-1"
CARDS = ("oof/mine/card.json", "oof/ensemble/card.json", f"{FOLD}/card.json")
TOKENS = (
    b"1e999",
    b"-1",
    b"null",
    b"[]",
    b"{}",
    b"NaN",
    b'""',
    b"9" * 40,
    b"../../x",
    b"\0",
    b"\xff\xfe",
    b",",
)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """One to three changes of a random kind at random places."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(data) + 1)
        size = draw.choice([1, 2, 8, 40])
        kind = draw.randrange(6)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = draw.choice(TOKENS)
        elif kind == 3:
            data[place : place + size] = draw.choice(TOKENS)
        elif kind == 4:
            data[place : place + size] = draw.randbytes(size)
        else:
            data[place:place] = data[max(0, place - size) : place]
    return bytes(data)


def mended(folder: Path, name: str) -> None:
    """Give a changed file the hashes that its card or note should have."""
    path = folder / name
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if name in CARDS:
        try:
            card = json.loads(path.read_bytes())
            card.pop("card_sha256", None)
            text = json.dumps(card, sort_keys=True, ensure_ascii=False)
        except (ValueError, AttributeError, RecursionError):
            return
        card["card_sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        path.write_text(json.dumps(card))
        return
    card_path, note = path.with_name("card.json"), path.with_suffix(".json")
    if name.endswith(".parquet") and note.is_file():
        note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": found}))
    elif card_path.is_file():
        card = json.loads(card_path.read_text())
        card["files"][path.name] = found
        del card["card_sha256"]
        text = json.dumps(card, sort_keys=True, ensure_ascii=False)
        card_path.write_text(json.dumps({**card, "card_sha256": hashlib.sha256(text.encode()).hexdigest()}))


def loaders(folder: Path) -> dict[str, Callable[[], bytes]]:
    """File → what loads it and returns its numbers as bytes, after checking that they are whole."""
    import numpy as np

    from arena_ensemble.artifacts.cards import FoldCard
    from arena_ensemble.backbones import lexical
    from arena_ensemble.errors import ArtifactError
    from arena_ensemble.features import extract
    from arena_ensemble.io import read_battles
    from arena_ensemble.predictions import Predictions
    from arena_ensemble.recipes import recipe_from

    workspace = Workspace(folder / "w")
    train = read_battles(folder / "train.csv")
    test = read_battles(folder / "test.csv")
    features = extract(test)
    recipe = recipe_from({"backbone": "lexical"}, name="mine")
    even = Predictions(test.ids, np.full((len(test), 3), np.log(1 / 3)), np.zeros(len(test), dtype=np.int64))

    def whole(log_probs: Any, rows: int) -> bytes:
        array = np.asarray(log_probs, dtype=np.float64)
        assert array.shape == (rows, 3), array.shape
        return Predictions(
            test.ids if rows == len(test) else train.ids, array, np.zeros(rows)
        ).probs.tobytes()

    def oof() -> bytes:
        predicted, _ = MemberArtifacts(workspace, "mine").load()
        return whole(predicted.aligned_to(train.ids).log_probs, len(train))

    def tests() -> bytes:
        parts = MemberArtifacts(workspace, "mine").load_test()
        return b"".join(whole(part.aligned_to(test.ids).log_probs, len(test)) for part in parts)

    def folds() -> bytes:
        made = fold_file.read_folds(workspace, train)
        assert len(made) == len(train)
        return made.fold.tobytes() + made.group.tobytes()

    def stacker() -> bytes:
        built = Ensemble.load(workspace)
        predicted = built.stacker_log_probs({"mine": even}, features)
        return whole(predicted, len(test)) + json.dumps([row.name for row in built.table]).encode()

    def fold() -> bytes:
        place = workspace.root / FOLD
        card = cards.read_card(place, FoldCard)
        if card is None or not cards.is_whole(place, card):
            raise ArtifactError("not whole")
        fitted = lexical.load(place, recipe=recipe, cache=folder)
        with np.errstate(all="ignore"):
            return whole(lexical.predict(fitted, test), len(test))

    return {
        "oof/mine/card.json": oof,
        "oof/mine/oof.parquet": oof,
        "oof/mine/test.parquet": tests,
        "oof/mine/test.json": tests,
        "oof/folds.parquet": folds,
        "oof/folds.json": folds,
        "oof/ensemble/card.json": stacker,
        "oof/ensemble/stacker.json": stacker,
        "oof/ensemble/table.json": stacker,
        f"{FOLD}/card.json": fold,
        f"{FOLD}/vocabulary.json": fold,
        f"{FOLD}/weights.safetensors": fold,
    }


def run_cases(folder: Path, first: int, last: int) -> None:
    """In a child: one line of JSON per batch of outcomes, or a traceback naming the case."""
    from arena_ensemble.errors import ArenaError

    table = loaders(folder)
    root = folder / "w"
    names = sorted(table)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    expected = {name: load() for name, load in table.items()}
    counts: collections.Counter[str] = collections.Counter()
    for case in range(first, last):
        (folder / "case").write_text(str(case))
        draw = random.Random(case)
        name = names[case % len(names)]
        mend = draw.random() < 0.5
        path = root / name
        path.write_bytes(damaged(before[path], draw))
        if mend:
            mended(root, name)
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)  # of processor time: a busy machine is no hang
        try:
            answer = table[name]()
        except ArenaError:
            counts["error"] += 1
        else:
            if answer == expected[name]:
                counts["same"] += 1
            elif mend:
                counts["other, whole, hash mended"] += 1
            else:
                raise AssertionError(f"case {case}: {name} gave other numbers without an error")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            for touched in (path, path.with_name("card.json"), path.with_suffix(".json")):
                if touched in before and touched.read_bytes() != before[touched]:
                    touched.write_bytes(before[touched])
    print(json.dumps(counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_cases(Path(options.child[0]), int(options.child[1]), int(options.child[2]))
        return
    counts: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = [sys.executable, "-m", "arena_ensemble"]
        (folder / "w" / "models" / "mine").mkdir(parents=True)
        (folder / "w" / "models" / "mine" / "recipe.toml").write_text(RECIPE)
        sample = [*made, "sample", "--rows", "60", "--test-rows", "8", "--out", place]
        subprocess.run(sample, check=True, capture_output=True)
        submission = [
            *made, "submission", "--data", f"{place}/train.csv", "--test", f"{place}/test.csv",
            "--workspace", f"{place}/w", "--models", "mine", "--folds", "3", "--jobs", "1",
        ]  # fmt: skip
        subprocess.run(submission, check=True, capture_output=True)
        clean = {p: p.read_bytes() for p in (folder / "w").rglob("*") if p.is_file()}
        case, last = options.first, options.first + options.cases
        while case < last:
            end = min(case + BATCH, last)
            child = [sys.executable, __file__, "--child", place, str(case), str(end)]
            try:
                done = subprocess.run(
                    child, capture_output=True, text=True, check=False, timeout=LIMIT_S * BATCH
                )
            except subprocess.TimeoutExpired:
                done = subprocess.CompletedProcess(child, -1, "", "no end")
            if done.returncode == 0:
                counts.update(json.loads(done.stdout.splitlines()[-1]))
                case = end
                continue
            at = int((folder / "case").read_text())
            tail = done.stderr.strip().splitlines()[-1:] or [""]
            failures.append(f"case {at}: exit {done.returncode}: {tail[0][:300]}")
            for path, content in clean.items():
                path.write_bytes(content)
            case = at + 1
    figures = {
        "cases": options.cases,
        "seconds": round(time.monotonic() - start, 1),
        **counts,
        "failures": len(failures),
    }
    for key, value in figures.items():
        print(f"{key:<28} {value}")
    for line in failures[:40]:
        print(line)
    if options.json:
        print(json.dumps(figures))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
