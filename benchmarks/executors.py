"""What it costs to run folds side by side: 1 and 2 workers, this machine's processes, Ray, and joblib's loky.

    python benchmarks/executors.py [--seconds 60] [--tasks 2] [--kind wait|work] [--quick] [--json]

A task fits one fold of a member that takes so many seconds, and keeps model and predictions as any member
does. ``wait`` sleeps, so that the clock shows what the executor adds whatever else the machine does; ``work``
computes as much as takes so many seconds of one core here, measured first, and shows what two workers share.
Efficiency is the seconds of the tasks over workers times the seconds of the clock; overhead is the rest,
start of processes and imports included, over the seconds of the tasks. One worker of ours and of loky is this
process itself. The peer is joblib with loky, which runs the same function of the same tasks.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble.artifacts.fold_file import ensure_folds
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones import HEADS
from arena_ensemble.battles import Battles
from arena_ensemble.pipeline import tasks
from arena_ensemble.pipeline.executors import Executor, Local, OnRay
from arena_ensemble.pipeline.tasks import FoldTask, Job
from arena_ensemble.recipes import Recipe, recipe_from
from arena_ensemble.sample import make_arena

SECONDS, LOOPS = "ARENA_BENCH_SECONDS", "ARENA_BENCH_LOOPS"


def patch() -> None:
    """For Ray's workers: importing this module is enough."""


HEADS["timed"] = dataclasses.replace(HEADS["lexical"], module="executors")


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Shares of the outcomes."""

    shares: list[float]
    facts: dict[str, Any]


def prepare(battles: Battles, *, recipe: Recipe, cache: Path, on_progress: Any = None) -> None:
    """Nothing."""


def fit(train: Battles, *, recipe: Recipe, folder: Path, **others: Any) -> Fitted:
    loops = int(os.environ[LOOPS])
    compute(loops) if loops else time.sleep(float(os.environ[SECONDS]))
    shares = (np.bincount(train.outcomes(), minlength=3) / len(train)).tolist()
    (folder / "shares.json").write_text(json.dumps(shares))
    return Fitted(shares, {"device": "none"})


def compute(loops: int) -> int:
    total = 0
    for _ in range(loops):
        total += sum(range(10_000))
    return total


def load(folder: Path, *, recipe: Recipe, cache: Path) -> Fitted:
    return Fitted(json.loads((folder / "shares.json").read_text()), {})


def predict(fitted: Fitted, battles: Battles, *, on_progress: Any = None) -> Any:
    return np.tile(np.log(fitted.shares), (len(battles), 1))


def planned(root: Path, count: int) -> tuple[Job, list[FoldTask]]:
    battles = make_arena(300, seed=1).battles
    job = Job(root, battles, ensure_folds(Workspace(root), battles, n_folds=count, seed=0))
    return job, tasks.plan(job, "timed", recipe_from({"backbone": "timed"}, name="timed"))


def ours(executor: Executor) -> Callable[[Job, list[FoldTask], int], list[float]]:
    def run(job: Job, todo: list[FoldTask], workers: int) -> list[float]:
        seconds: dict[str, float] = {}
        for task, error in executor.run(job, todo, workers, None, seconds):
            assert error is None, (task.label, error)
        return list(seconds.values())

    return run


def one_fold(job: Job, task: FoldTask) -> float:
    """For loky: one task and its seconds."""
    start = time.monotonic()
    tasks.run_fold(job, task)
    return time.monotonic() - start


def loky(job: Job, todo: list[FoldTask], workers: int) -> list[float]:
    import executors  # by its name, so that workers import it
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, backend="loky")
    return list(parallel(delayed(executors.one_fold)(job, task) for task in todo))


def measured(run: Callable[..., list[float]], workers: int, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        job, todo = planned(Path(folder), count)
        start = time.monotonic()
        seconds = run(job, todo, workers)
        clock = time.monotonic() - start
        assert all(tasks.is_done(job, task) for task in todo)
    return {
        "clock": round(clock, 2),
        "tasks": round(sum(seconds), 2),
        "efficiency": round(sum(seconds) / (workers * clock), 4),
        "overhead": round(workers * clock / sum(seconds) - 1, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--kind", choices=("wait", "work"), default="wait")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    seconds, count = (2.0 if given.quick else given.seconds), max(2, given.tasks)
    loops = 0
    if given.kind == "work":
        start = time.process_time()
        compute(500)
        loops = max(1, round(500 * seconds / (time.process_time() - start)))
    os.environ |= {SECONDS: str(seconds), LOOPS: str(loops)}
    runs: dict[str, Callable[..., list[float]]] = {"processes": ours(Local()), "loky": loky}
    if importlib.util.find_spec("ray"):
        import ray

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        hook = {
            "worker_process_setup_hook": "executors.patch",
            "env_vars": {SECONDS: str(seconds), LOOPS: str(loops), "PYTHONPATH": os.environ["PYTHONPATH"]},
        }
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, runtime_env=hook,
        )  # fmt: skip
        runs["ray"] = lambda job, todo, workers: ours(OnRay("local", jobs=workers))(job, todo, workers)
    found: dict[str, Any] = {"kind": given.kind, "seconds": seconds, "tasks": count, "cores": os.cpu_count()}
    print(f"{count} tasks of {seconds:g} s each ({given.kind}), load {os.getloadavg()[0]:.1f}")
    for name, run in runs.items():
        one, two = (measured(run, workers, count) for workers in (1, 2))
        found[name] = {"one": one, "two": two, "speedup": round(one["clock"] / two["clock"], 3)}
        speedup = found[name]["speedup"]
        print(
            f"{name:>10}: 1 worker {one['clock']:.1f} s (overhead {one['overhead']:.1%}), 2 workers "
            f"{two['clock']:.1f} s (overhead {two['overhead']:.1%}), {speedup:.2f} times as fast"
        )
    found["ratio"] = round(found["processes"]["two"]["clock"] / found["loky"]["two"]["clock"], 3)
    print(f"two processes of ours take {found['ratio']:.2f} of loky's time")
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    if __spec__ is None:  # workers import this module by its name, so it must have one
        here = str(Path(__file__).resolve().parent)
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        os.execv(sys.executable, [sys.executable, "-m", "executors", *sys.argv[1:]])
    main()
