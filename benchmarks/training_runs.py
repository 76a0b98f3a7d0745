"""Runs of training.py's sides in turns: each in a process of its own, with busy jobs beside it or none."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ASLEEP = "trainer, threads asleep"
OPENMP = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
BESIDE = {
    "loops": "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(100_000))",
    "openmp": "import os, sys, torch\ntorch.set_num_threads(2)\na = torch.randn(400, 400)\n"
    "while os.getppid() == int(sys.argv[1]): a = (a @ a).tanh_()",
}
"""What each of the two jobs beside the runs does, until its parent is gone."""


class Side:
    """One side in a process of its own, which lives as long as the turns do, or until a run is ended."""

    def __init__(
        self, name: str, number: int, job: dict[str, Any], folder: Path, arguments: argparse.Namespace
    ) -> None:
        self.name, self.limit = name, arguments.limit
        self.predictions = folder / f"{number}.npy"
        self.job = {**job, "side": "trainer" if name == ASLEEP else name}
        self.environment = {key: value for key, value in os.environ.items() if key not in OPENMP}
        if arguments.passive or name == ASLEEP or (arguments.beside and name == "ours"):
            self.environment["OMP_WAIT_POLICY"] = "passive"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Load libraries and warm up, unless that was done."""
        if self.process is not None:
            return
        script = Path(__file__).with_name("training_sides.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), json.dumps(self.job)],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer(None)

    def run(self) -> dict[str, Any]:
        """A run's figures; of one that was ended, its seconds so far."""
        self.start()
        assert self.process is not None
        before, worked = time.perf_counter(), processor_seconds(self.process.pid)
        line = self._ask(str(self.predictions), self.limit)
        if line is not None:
            return dict(json.loads(line))
        worked = processor_seconds(self.process.pid) - worked
        self.process.kill()
        self.end()
        return {"seconds": time.perf_counter() - before, "processor": worked}

    def profiled(self) -> Any:
        """Where a run's time goes."""
        self.start()
        return json.loads(self._ask("profile", None) or "null")

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.wait()
            self.process = None

    def _ask(self, line: str, limit: float | None) -> str | None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._answer(limit)

    def _answer(self, limit: float | None) -> str | None:
        """The process's next line; None where it does not come in time."""
        assert self.process is not None
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], limit)[0]:
            return None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the process ended with code {self.process.wait()}")
        return line


def alternate(
    sides: list[Side], kinds: list[str], repeats: int, *, profile: bool
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Every side's runs beside every kind of job, in turns."""
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {k: {s.name: [] for s in sides} for k in kinds}
    try:
        for side in sides:
            side.start()
        with busy(kinds) as only:
            for _ in range(repeats):
                for kind, side in itertools.product(kinds, sides):
                    only("")
                    side.start()  # again, after a run that was ended
                    only(kind)
                    last = side.run()
                    runs[kind][side.name].append(last)
                    shown = f"  {side.name}: {last['seconds']:.1f} s, processor {last['processor']:.1f} s"
                    ended = "" if "real" in last else ", ended by --limit"
                    beside = f", beside {kind}" if kind else ""
                    load = os.getloadavg()[0]
                    print(f"{shown}{ended}{beside}, load {load:.1f}", file=sys.stderr, flush=True)
        for side in sides if profile else ():
            runs[kinds[-1]][side.name][-1]["profile"] = side.profiled()
    finally:
        for side in sides:
            side.end()
    return runs


@contextlib.contextmanager
def busy(kinds: list[str]) -> Iterator[Callable[[str], None]]:
    """Two jobs of each kind, held until the function that is given lets those of one kind go on."""
    environment = {name: value for name, value in os.environ.items() if name not in OPENMP}
    jobs = {
        kind: [
            subprocess.Popen([sys.executable, "-c", BESIDE[kind], str(os.getpid())], env=environment)
            for _ in range(2)
        ]
        for kind in kinds
        if kind
    }

    def only(wanted: str) -> None:
        for kind, pair in jobs.items():
            for one in pair:
                one.send_signal(signal.SIGCONT if kind == wanted else signal.SIGSTOP)

    try:
        yield only
    finally:
        for one in (one for pair in jobs.values() for one in pair):
            one.kill()
            one.wait()


def processor_seconds(process: int) -> float:
    """What a process has worked so far, of all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
