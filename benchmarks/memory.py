"""Memory as rows grow: texts in one pass, groups, the stacker, `stack --labels` and the lexical member.

    python benchmarks/memory.py [--sections texts,stacker,stack,lexical] [--rows 300000,1000000]
        [--answers 100] [--quick] [--json]

Every figure comes from a process of its own: the largest sum of anonymous pages of it and its children,
looked at four times a second. Mapped files are not in it: the system takes their pages back as it needs them.
The slope between the two largest sizes, in bytes a row, gives what ten million rows would take; that is
extrapolated, and marked so.

Texts are synthetic: prompts of 16 random words, one in ten repeated, answers of ``--answers`` characters on
average. ``texts`` compares reading them in one pass with reading them into memory, on the smallest size;
``stacker`` is `Stacker.fit` alone on four members; ``stack`` reads labels, four files of predictions and the
texts, and stacks; ``lexical`` trains three folds of a lexical member and predicts all rows out of fold.
``--quick`` makes the package think that two thousand rows are many, and takes some thousands: it shows that
texts and the lexical member run so, and gives no slopes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scaling import shown, watched
from simulated_oof import simulate

MEMBERS = ["strong", "weak", "sure", "shy"]
PART = 50_000
TEN_MILLION = 10_000_000


def few_are_many() -> None:
    """Sizes at which the package goes to the disk or to a sample, made small."""
    from arena_ensemble.artifacts import fold_file
    from arena_ensemble.backbones.lexical import model
    from arena_ensemble.io import battles
    from arena_ensemble.pipeline import build, guards, text_pass
    from arena_ensemble.stacking import sampling

    for place in (fold_file, text_pass, battles):
        place.MANY_ROWS = 2_000
    model.LEARNED_ROWS = 2_000
    sampling.PLENTY_ROWS = 2_000
    for place in (sampling, build, guards):
        place.FITTED_ROWS = 4_000


def write_battles(path: Path, rows: int, answers: int) -> None:
    """Battles with votes that follow length, in Kaggle's columns: ids 0, 1, …"""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("abcdefghijklmnop"), 2 + k % 8)) for k in range(5_000)])
    long_text = " ".join(words[np.minimum(rng.zipf(1.3, 200_000), 5_000) - 1])
    folder = path.with_suffix(".parts")
    folder.mkdir()
    for number, start in enumerate(range(0, rows, PART)):
        count = min(PART, rows - start)
        prompts = [" ".join(line) for line in words[rng.integers(0, 5_000, (count, 16))]]
        again = np.flatnonzero(rng.random(count) < 0.1)
        for k in again.tolist():
            prompts[k] = prompts[k // 2]
        size = rng.gamma(2.0, answers / 2, (2, count)).astype(np.int64) + 5
        place = rng.integers(0, len(long_text) - 20 * answers - 10, (2, count))
        sides = [
            [json.dumps([long_text[at : at + n]]) for at, n in zip(p, s, strict=True)]
            for p, s in zip(place.tolist(), size.tolist(), strict=True)
        ]
        delta = np.log(size[0] / size[1])
        logits = np.stack([delta / 2, -delta / 2, -0.4 * np.abs(delta)], axis=1)
        won = np.eye(3, dtype=np.int8)[np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)]
        pl.DataFrame(
            {
                "id": np.arange(start, start + count),
                "prompt": [json.dumps([text]) for text in prompts],
                "response_a": sides[0],
                "response_b": sides[1],
                **{
                    name: won[:, k]
                    for k, name in enumerate(("winner_model_a", "winner_model_b", "winner_tie"))
                },
            }
        ).write_parquet(folder / f"{number:05d}.parquet")
    pl.scan_parquet(folder / "*.parquet").sink_parquet(path)


def write_members(folder: Path, rows: int) -> None:
    """Labels, and a file of out-of-fold predictions for each member."""
    scene = simulate("memory", MEMBERS, rows, 0)
    ids = np.arange(rows)
    pl.DataFrame({"id": ids, "label": scene.y}).write_parquet(folder / "labels.parquet")
    for name, probs in scene.members.items():
        frame = pl.DataFrame({"id": ids, "p_a": probs[:, 0], "p_b": probs[:, 1], "p_tie": probs[:, 2]})
        frame.write_parquet(folder / f"{name}.parquet")


def texts(folder: Path, *, whole: bool) -> dict[str, Any]:
    """Features and groups of a file: in one pass, or read into memory."""
    from arena_ensemble.features import extract
    from arena_ensemble.folds import group_keys
    from arena_ensemble.io import read_battles
    from arena_ensemble.pipeline.text_pass import read_texts

    ids = pl.scan_parquet(folder / "battles.parquet").select("id").collect()["id"]
    figures: dict[str, Any] = {}
    with watched(figures):
        if whole:
            battles = read_battles(folder / "battles.parquet")
            groups, features = group_keys(battles), extract(battles)
        else:
            facts = read_texts(folder / "battles.parquet", ids, None, groups=True, scratch=folder)
            groups, features = facts.groups, facts.features
    assert groups is not None
    mean = float(features.odd[:1000].mean())
    return {"rows": len(ids), **figures, "groups": int(groups.max()) + 1, "check": round(mean, 6)}


def stacker(rows: int) -> dict[str, Any]:
    """`Stacker.fit` on four members."""
    from arena_ensemble.stacking import Stacker

    scene = simulate("memory", MEMBERS, rows, 0)
    groups = np.random.default_rng(0).integers(0, rows * 3 // 4, rows)
    figures: dict[str, Any] = {}
    with watched(figures):
        fitted = Stacker(random_state=0).fit(scene.members, scene.y, groups=groups)
    honest = next(row.log_loss for row in fitted.table_ if row.kind == "choice")
    return {"rows": rows, **figures, "log_loss": honest, "choice": fitted.choice_}


def stack(folder: Path) -> dict[str, Any]:
    """All of `stack --labels`, from files."""
    from arena_ensemble.pipeline import external
    from arena_ensemble.pipeline.external_files import NamedFile

    files = [NamedFile(path) for path in sorted(folder.glob("*.parquet")) if path.stem[:-1] in MEMBERS]
    figures: dict[str, Any] = {}
    reading: dict[str, Any] = {}
    with watched(figures):
        with watched(reading):
            data = external.read_external(
                folder / "labels.parquet", files, text=folder / "battles.parquet", scratch=folder
            )
        made = external.stack_external(data, folder / "out")
    return {
        "rows": len(data.ids),
        **figures,
        "reading_seconds": reading["seconds"],
        "reading_peak_mib": reading["peak_mib"],
        "log_loss": made.card.log_loss,
    }


def lexical(folder: Path) -> dict[str, Any]:
    """Three folds of a lexical member, all rows predicted out of fold."""
    from arena_ensemble.pipeline.workflow import train_members

    figures: dict[str, Any] = {}
    with watched(figures):
        run = train_members(
            folder / "battles.parquet", ["lexical"], workspace=folder / "work", n_folds=3, jobs=1
        )
        rows = len(run.result.oof("lexical"))
    card = json.loads((folder / "work" / "oof" / "lexical" / "card.json").read_text())
    return {"rows": rows, **figures, "log_loss": card["log_loss"], "prior_log_loss": card["prior_log_loss"]}


CALLS: dict[str, Any] = {
    "texts": lambda folder, rows: texts(Path(folder), whole=False),
    "in_memory": lambda folder, rows: texts(Path(folder), whole=True),
    "stacker": lambda folder, rows: stacker(int(rows)),
    "stack": lambda folder, rows: stack(Path(folder)),
    "lexical": lambda folder, rows: lexical(Path(folder)),
}


def apart(function: str, folder: Path, rows: int, *, quick: bool) -> dict[str, Any]:
    """One call in a process of its own."""
    command = [sys.executable, __file__, "--call", json.dumps([function, str(folder), rows])]
    done = subprocess.run(command + ["--quick"] * quick, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def section(name: str, sizes: list[int], answers: int, *, quick: bool) -> dict[str, Any]:
    """One function at growing sizes, and what ten million rows would take."""
    found: dict[str, Any] = {"runs": []}
    for rows in sizes:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
            folder = Path(place)
            if name != "stacker":
                write_battles(folder / "battles.parquet", rows, answers)
            if name == "stack":
                write_members(folder, rows)
            if name == "texts" and rows == sizes[0]:
                found["in_memory"] = apart("in_memory", folder, rows, quick=quick)
                shown("texts, read into memory", found["in_memory"])
            one = apart(name, folder, rows, quick=quick)
            shown(name, one)
            found["runs"].append(one)
    if "in_memory" in found:
        ours = found["runs"][0]
        for kind in ("peak_mib", "seconds", "processor_seconds"):
            found[f"in_memory_{kind}_ratio"] = round(found["in_memory"][kind] / ours[kind], 2)
        print(
            f"in memory beside in one pass, {sizes[0]:,} rows: {found['in_memory_peak_mib_ratio']} × the "
            f"memory, {found['in_memory_processor_seconds_ratio']} × the processor time"
        )
    if len(sizes) > 1 and not quick:
        before, last = found["runs"][-2:]
        more = last["rows"] - before["rows"]
        slope = (last["peak_mib"] - before["peak_mib"]) * 2**20 / more
        seconds = (last["processor_seconds"] - before["processor_seconds"]) / more
        found["bytes_a_row"] = round(slope)
        found["gib_at_ten_million"] = round(
            last["peak_mib"] / 1024 + slope * (TEN_MILLION - last["rows"]) / 2**30, 1
        )
        found["processor_hours_at_ten_million"] = round(
            (last["processor_seconds"] + seconds * (TEN_MILLION - last["rows"])) / 3600, 2
        )
        print(
            f"{name}: {found['bytes_a_row']:,} bytes a further row; ten million rows, extrapolated: "
            f"{found['gib_at_ten_million']} GiB, {found['processor_hours_at_ten_million']} processor hours"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sections", help="default: all; with --quick texts,lexical")
    parser.add_argument("--rows", default="300000,1000000")
    parser.add_argument("--answers", type=int, default=100, help="characters of an answer, on average")
    parser.add_argument("--quick", action="store_true", help="3,000 and 6,000 rows, under a minute")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        few_are_many()
    if options.call:
        function, folder, rows = json.loads(options.call)
        print(json.dumps(CALLS[function](folder, rows)))
        return
    sizes = [3_000, 6_000] if options.quick else [int(rows) for rows in options.rows.split(",")]
    names = options.sections or ("texts,lexical" if options.quick else "texts,stacker,stack,lexical")
    out = {name: section(name, sizes, options.answers, quick=options.quick) for name in names.split(",")}
    if options.json:
        print(json.dumps(out))


if __name__ == "__main__":
    main()
