"""The simulator of `doctor --plan --nodes` against this engine: small real runs, killed at random moments.

    python benchmarks/cost_check.py [--sections streaming,executors,driver] [--quick] [--json]

streaming: `predict --shards` of a lexical ensemble. Calibrated on undisturbed runs of one process with small
and large chunks (the start, seconds a row, seconds a chunk) and of two processes (their start, and what two
lose beside each other); then predicted: another chunk size, and runs that are killed (SIGKILL, the driver and
all its workers) and begun again until they end, with one and two processes. The kills' moments are drawn as
a vanishing node's are; the simulator replays them. `--rounds` kills each setting so many times.

executors: folds that take some seconds, in two processes of the local executor, calibrated on two folds and
predicted for more, undisturbed and killed.

driver: what one process spends to hand out rows of Kaggle's lengths and to note a shard.

Errors are the simulator's seconds over those of the clock, minus 1. Everything else that runs on the machine
is in them: the load stands beside.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import executors  # its head has to be known to whoever reads a task, workers too
import numpy as np
import polars as pl

from arena_ensemble import sample
from arena_ensemble.artifacts.shard_folder import Shard, ShardFolder, read_manifest, shard_name
from arena_ensemble.io import open_chunks
from arena_ensemble.pipeline import tasks
from arena_ensemble.pipeline.chunk_passes import content_digest
from arena_ensemble.pipeline.executors import Local
from arena_ensemble.planning.fleet import Fleet, Outcome, Stage, Storage
from arena_ensemble.planning.simulation import simulate

ROOT = Path(__file__).resolve().parents[1]
NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Life:
    """One process from its start until it ended or was killed."""

    begun: float
    ended: float
    killed: bool
    finished: list[float]
    """when chunks were finished in it, in order"""


def lives(command: Sequence[str], lifetimes: Sequence[float], marks: Callable[[], list[float]]) -> list[Life]:
    """Run a command, killing it after each lifetime in turn, until it ends by itself."""
    found: list[Life] = []
    for life in [*lifetimes, None]:
        begun = time.time()
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            process.communicate(timeout=life)
            killed = False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed = True
        ended = time.time()
        found.append(Life(begun, ended, killed, sorted(t for t in marks() if begun <= t <= ended)))
        if not killed:
            if process.returncode:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            break
    return found


@dataclass(frozen=True)
class Place:
    """A workspace with an ensemble, and a file to predict."""

    workspace: Path
    file: Path
    rows: int
    folder: Path

    def predict(self, name: str, chunk_rows: int, jobs: int, lifetimes: Sequence[float] = ()) -> list[Life]:
        out = self.folder / name
        words = [
            "predict", "--test", str(self.file), "--shards", str(out), "--workspace", str(self.workspace),
            "--jobs", str(jobs), "--chunk-rows", str(chunk_rows), "--json",
        ]  # fmt: skip
        command = [sys.executable, "-m", "arena_ensemble", *words]
        return lives(command, lifetimes, lambda: [p.stat().st_mtime for p in out.glob("part-*.parquet")])


def placed(folder: Path, rows: int) -> Place:
    (folder / "train.csv").write_text(sample.files(150, 2, seed=3)["train.csv"])
    arguments = ["--data", str(folder / "train.csv"), "--models", "lexical", "--folds", "3", "--jobs", "1"]
    command = [sys.executable, "-m", "arena_ensemble", "stack", *arguments, "--workspace", str(folder / "w")]
    subprocess.run(command, check=True, capture_output=True)
    battles = sample.make_arena(rows, seed=8).battles
    sample.kaggle_frame(battles, labelled=False).write_parquet(folder / "new.parquet", row_group_size=4096)
    return Place(folder / "w", folder / "new.parquet", rows, folder)


@dataclass(frozen=True)
class Calibration:
    """What undisturbed runs say of `predict --shards`. Seconds."""

    start: float
    """from the command to the first chunk"""
    row: float
    chunk: float
    """around each chunk, whatever its rows"""
    end: float
    """from the last chunk to the end of the process"""
    recheck: float
    """a row, of looking at shards that are there"""


def spans(found: list[Life], jobs: int = 1) -> tuple[float, float, float]:
    """Start, seconds of a worker a chunk, and end of an undisturbed run."""
    (one,) = found
    first, last, count = one.finished[0], one.finished[-1], len(one.finished)
    each = (last - first) / max(count - jobs, 1) * jobs
    return first - one.begun - each, each, one.ended - last


def calibrated(place: Place, small: int, large: int) -> Calibration:
    """From two undisturbed runs of one process; seconds of a shard that is there are taken in this one."""
    short, long_ = (spans(place.predict(f"calibrate-{rows}", rows, 1)) for rows in (small, large))
    row = (long_[1] - short[1]) / (large - small)
    chunks = open_chunks(place.file, rows=small)
    begun = time.perf_counter()
    for raw in chunks.raw():
        content_digest(chunks.battles(raw))
    recheck = (time.perf_counter() - begun) / place.rows
    return Calibration(
        statistics.mean((short[0], long_[0])), row, max(short[1] - small * row, 0.0),
        statistics.mean((short[2], long_[2])), recheck,
    )  # fmt: skip


def simulated(
    place: Place, found: Calibration, chunk_rows: int, jobs: int, lifetimes: Sequence[float] = ()
) -> tuple[float, Outcome]:
    """Seconds until the last process has ended, and the outcome."""
    stage = Stage("lexical", place.rows, chunk_rows, found.row, read_bytes=1e-9)
    fleet = Fleet(1, jobs, start_seconds=found.start, recheck_seconds=chunk_rows * found.recheck / jobs)
    done = simulate(stage, fleet, Storage(latency=found.chunk), lifetimes=lifetimes)
    return done.seconds + found.end, done


def compared(name: str, real: list[Life], predicted: float, done: Outcome, jobs: int) -> dict[str, Any]:
    """One line: seconds, kills, and where one worker alone was killed the seconds of work that were lost."""
    seconds = sum(life.ended - life.begun for life in real)
    kills = [life for life in real if life.killed]
    facts: dict[str, Any] = {
        "setting": name, "kills": len(kills), "seconds": round(seconds, 2),
        "simulated": round(predicted, 2), "error": round(predicted / seconds - 1, 4),
        "simulated_kills": done.vanished,
    }  # fmt: skip
    if kills and jobs == 1:
        facts["lost"] = round(sum(one.ended - one.finished[-1] for one in kills if one.finished), 2)
        facts["simulated_lost"] = round(done.parts["lost"], 2)
    lost = f"; lost {facts['lost']:.1f} s, simulated {facts['simulated_lost']:.1f}" if "lost" in facts else ""
    print(
        f"{name:40}{seconds:8.1f} s{predicted:8.1f} simulated {facts['error']:+7.1%}, {len(kills)} kills"
        f"{lost}",
        flush=True,
    )
    return facts


def streaming(folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    """`predict --shards`, calibrated and predicted."""
    place = placed(folder, rows)
    one = calibrated(place, rows // 48, rows // 6)
    print(
        f"one process: start {one.start:.2f} s, {1e6 * one.row:.0f} µs a row, {one.chunk:.3f} s a chunk, "
        f"end {one.end:.2f} s, {1e6 * one.recheck:.0f} µs a row to look at a shard that is there"
    )
    chunk = rows // 16
    predicted, done = simulated(place, one, chunk, 1)
    lines = [
        compared("one process, chunks of another size", place.predict("b", chunk, 1), predicted, done, 1)
    ]
    start, each, end = spans(place.predict("two", chunk, 2), 2)
    two = Calibration(start, (each - one.chunk) / chunk, one.chunk, end, one.recheck)
    print(f"two processes: start {start:.2f} s, {1e6 * two.row:.0f} µs a row of each, end {end:.2f} s")
    draws = random.Random(0)
    for jobs, found in ((1, one), (2, two)):
        work = rows * found.row / jobs
        for k in range(rounds):
            lifetimes = [found.start + draws.expovariate(3 / work) for _ in range(4)]
            real = place.predict(f"killed-{jobs}-{k}", chunk, jobs, lifetimes)
            lived = [life.ended - life.begun for life in real if life.killed]
            predicted, done = simulated(place, found, chunk, jobs, lived)
            name = f"{jobs} {'process' if jobs == 1 else 'processes'}, killed ({k + 1})"
            lines.append(compared(name, real, predicted, done, jobs))
            assert read_manifest(place.folder / f"killed-{jobs}-{k}").rows == rows
    return {
        "one": vars(one), "two": vars(two), "rows": rows, "chunk_rows": chunk, "lines": lines,
        "mean_absolute_error": round(statistics.mean(abs(line["error"]) for line in lines), 4),
    }  # fmt: skip


def folds(root: Path, count: int, workers: int) -> None:
    """All folds of a member that takes some seconds; run in a process of its own."""
    job, todo = executors.planned(root, count)
    todo = [task for task in todo if not tasks.is_done(job, task)]
    for task, error in Local(workers).run(job, todo, workers, None, {}):
        assert error is None, (task.label, error)


def fold_lives(root: Path, count: int, lifetimes: Sequence[float] = ()) -> list[Life]:
    call = json.dumps(["folds", str(root), count, 2])
    command = [sys.executable, "-m", "cost_check", "--call", call]

    def marks() -> list[float]:
        files = [*root.glob("oof/timed/fold-*.parquet"), *root.glob("oof/timed/oof.parquet")]
        return [path.stat().st_mtime for path in files]

    return lives(command, lifetimes, marks)


def fold_executor(folder: Path, seconds: float, count: int) -> dict[str, Any]:
    """The local executor: two processes, folds that sleep."""
    os.environ |= {executors.SECONDS: str(seconds), executors.LOOPS: "0"}
    (first,) = fold_lives(folder / "calibrate", 2)
    start = first.ended - first.begun - seconds
    print(f"two processes, two folds of {seconds:g} s: {start:.2f} s beside them")
    lines = []
    draws = random.Random(1)
    for name, lifetimes in (
        ("undisturbed", []),
        ("killed once", [start + draws.uniform(0.3, 0.7) * count * seconds / 2]),
    ):
        real = fold_lives(folder / name.replace(" ", "-"), count, lifetimes)
        lived = [life.ended - life.begun for life in real if life.killed]
        stage, fleet = Stage("timed", count, 1, seconds), Fleet(1, 2, start_seconds=start)
        done = simulate(stage, fleet, lifetimes=lived)
        lines.append(compared(f"executor, {count} folds, {name}", real, done.seconds, done, 2))
        lines[-1]["folds_begun_again"] = done.attempts - done.chunks
    return {"seconds": seconds, "start": start, "lines": lines}


def driver(folder: Path, rows: int) -> dict[str, float]:
    """Seconds of the process that hands out rows of Kaggle's lengths, and writes and notes shards."""
    from ingest import write_arena

    write_arena(folder / "long.csv", rows)
    frame = pl.read_csv(folder / "long.csv", infer_schema_length=0).select(
        pl.col("id").cast(pl.Int64), "prompt", "response_a", "response_b"
    )
    frame.write_parquet(folder / "long.parquet", row_group_size=4096)
    frame.write_ndjson(folder / "long.jsonl")
    found: dict[str, float] = {}
    for kind in ("parquet", "jsonl"):
        chunks = open_chunks(folder / f"long.{kind}", rows=1024)
        begun, sent = time.process_time(), 0
        for raw in chunks.raw():
            sent += len(pickle.dumps(raw))
        found[f"{kind}_row_seconds"] = (time.process_time() - begun) / rows
        found[f"{kind}_bytes"] = sent / rows
    chunks = open_chunks(folder / "long.parquet", rows=1024)
    begun = time.process_time()
    for raw in chunks.raw():
        content_digest(chunks.battles(raw))
    found["recheck_row_seconds"] = (time.process_time() - begun) / rows
    shards = ShardFolder(folder / "noted", {"key": 1})
    shards.start()
    taken, content = [], bytes(4096 * 32)
    for number in range(200):
        begun = time.perf_counter()
        shard = Shard(file=shard_name(number), first_row=1, rows=1, battles=NO_DIGEST, sha256=NO_DIGEST)
        shards.keep(shard, content)
        taken.append(time.perf_counter() - begun)
    found["note_seconds"] = float(np.median(taken))
    print(
        f"to hand out a row of Kaggle's lengths ({found['parquet_bytes']:.0f} bytes): "
        f"{1e6 * found['parquet_row_seconds']:.1f} µs of processor from parquet, "
        f"{1e6 * found['jsonl_row_seconds']:.1f} from JSON lines; to write and note a shard: "
        f"{1e3 * found['note_seconds']:.2f} ms; to look at a finished shard again: "
        f"{1e6 * found['recheck_row_seconds']:.0f} µs a row"
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sections", help="default: streaming,executors,driver; with --quick not executors")
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="2,400 rows, one round; folds of 2 s")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.call:
        name, root, *numbers = json.loads(given.call)
        assert name == "folds"
        folds(Path(root), *numbers)
        return
    rows, rounds = (2_400, 1) if given.quick else (given.rows, given.rounds)
    sections = given.sections or ("streaming,driver" if given.quick else "streaming,executors,driver")
    out: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    print(f"load {out['load']:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "streaming" in sections:
            out["streaming"] = streaming(folder, rows, rounds)
        if "executors" in sections:
            seconds, count = (2.0, 4) if given.quick else (6.0, 8)
            out["executors"] = fold_executor(folder / "folds", seconds, count)
        if "driver" in sections:
            out["driver"] = driver(folder, 2_048 if given.quick else 16_384)
    if given.json:
        print(json.dumps(out))


if __name__ == "__main__":
    if __spec__ is None:  # workers import this module by its name, so it must have one
        here = str(Path(__file__).resolve().parent)
        paths = [here, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        os.execv(sys.executable, [sys.executable, "-m", "cost_check", *sys.argv[1:]])
    main()
