"""A Ray cluster of three nodes on this machine, of which a test may lose some."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cluster_runs
import pytest

from arena_ensemble.pipeline import executors

HELPERS = Path(__file__).resolve().parents[1] / "helpers"
PACKAGE = Path(executors.__file__).resolve().parents[3]
STORE_BYTES = 80 * 2**20
FAST = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}


@dataclass
class Machines:
    """Three nodes: the driver's, on which nothing runs, and two of one core each."""

    cluster: Any
    place: Path
    nodes: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))

    def lose(self) -> None:
        """Kill a node that runs tasks, its workers with it."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)

    def starts(self) -> Counter[str]:
        """Member and fold → how often its training was begun."""
        return Counter((self.place / "starts.txt").read_text().splitlines())

    def asleep(self) -> list[int]:
        """Processes that wait in a fold."""
        return [int(path.name.split("-")[1]) for path in self.place.glob("asleep-*")]


@contextlib.contextmanager
def started_cluster() -> Iterator[Machines]:
    """The cluster, connected to; nothing of it is left behind."""
    place = Path(tempfile.mkdtemp(prefix="c"))  # short: names of sockets have 107 bytes at most
    changed = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": str(place),
        "TMPDIR": str(place),
        "ARENA_TEST_PLACE": str(place),
        "PYTHONPATH": f"{PACKAGE}:{HELPERS}",
        "OMP_NUM_THREADS": "1",
    }
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'arena-ensemble[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        (place / "ray").mkdir()
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": FAST}
        head["object_store_memory"] = STORE_BYTES
        try:
            cluster = Cluster(head_node_args=head, initialize_head=True)
        except Exception as error:
            pytest.skip(f"no Ray node can be started here: {error}")
        machines = Machines(cluster, place)
        try:
            machines.add()
            machines.add()
            cluster_runs.connect(machines.address, place)
            yield machines
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(place, ignore_errors=True)


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
