"""A worker that takes more memory than its node has is killed by Ray's own monitor: what becomes of it."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_backbone
import cluster_runs
import pytest
from cluster_runs import faulty, run

from arena_ensemble.backbones import HEADS
from arena_ensemble.pipeline import executors

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'arena-ensemble[ray]'")

HELPERS = Path(__file__).resolve().parents[1] / "helpers"
PACKAGE = Path(executors.__file__).resolve().parents[3]
GIB = 2**20
"""in the kB of /proc/meminfo"""
ROOM, EATEN = 4 * GIB, 10 * GIB
"""what a worker may take before the monitor ends it, and what it takes if nobody does"""


def meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Folder of the notes of a cluster of one working node, whose monitor ends a worker at four GiB more."""
    memory = meminfo()
    if memory["MemAvailable"] < EATEN + 2 * GIB:
        pytest.skip("less than 12 GiB of memory are free")
    folder = Path(tempfile.mkdtemp(prefix="c"))  # short: names of sockets have 107 bytes at most
    threshold = 1 - (memory["MemAvailable"] - ROOM) / memory["MemTotal"]
    changed = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": str(folder),
        "TMPDIR": str(folder),
        "ARENA_TEST_PLACE": str(folder),
        "PYTHONPATH": f"{PACKAGE}:{HELPERS}",
        "OMP_NUM_THREADS": "1",
        "RAY_memory_usage_threshold": f"{threshold:.4f}",
        "RAY_memory_monitor_refresh_ms": "100",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        (folder / "ray").mkdir()
        from ray.cluster_utils import Cluster

        small = {"object_store_memory": 80 * 2**20}
        try:
            cluster = Cluster(
                head_node_args={"num_cpus": 0, "include_dashboard": False, **small}, initialize_head=True
            )
        except Exception as error:
            pytest.skip(f"no Ray node can be started here: {error}")
        try:
            cluster.add_node(num_cpus=1, **small)
            cluster_runs.connect(cluster.address, folder)
            yield folder
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def address(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(HEADS, "faulty", HEADS["lexical"])
    cluster_backbone.patch()
    for path in [*place.glob("fed-*"), place / "starts.txt"]:
        path.unlink(missing_ok=True)
    return ray.get_runtime_context().gcs_address


def starts(place: Path) -> Counter[str]:
    return Counter((place / "starts.txt").read_text().splitlines())


@pytest.mark.slow
def test_a_worker_out_of_memory_costs_one_more_try(
    place: Path, address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="arena_ensemble"):
        found = run(tmp_path / "there", faulty("hungry"), address)
    assert found.finished == ["hungry"], found.failed
    assert starts(place) == {"hungry fold-0": 1, "hungry fold-1": 2, "hungry fold-2": 2}
    assert "its node ran out of memory; it is begun again (1 of 3)" in caplog.text
    run(tmp_path / "here", faulty("hungry"))  # it has eaten already
    for name in ("oof.parquet", "test.parquet"):
        there, here = (tmp_path / where / "oof" / "hungry" / name for where in ("there", "here"))
        assert there.read_bytes() == here.read_bytes()


@pytest.mark.slow
def test_a_member_that_never_fits_fails_with_the_key_to_raise(
    place: Path, address: str, tmp_path: Path
) -> None:
    found = run(tmp_path, faulty("starving"), address)
    assert found.finished == []
    assert "it was begun 2 times, each time in vain: its node ran out of memory" in found.failed["starving"]
    assert "raise machine.memory_gib in its recipe" in found.failed["starving"]
