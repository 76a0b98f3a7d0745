"""One cluster for the tests of a file: a process can hold one connection, and files may share a process."""

from __future__ import annotations

from collections.abc import Iterator

import cluster_backbone
import pytest
from cluster_machines import Machines, started_cluster

from arena_ensemble.backbones import HEADS


@pytest.fixture(scope="module")
def started() -> Iterator[Machines]:
    """The cluster, connected to; nothing of it is left behind."""
    with started_cluster() as machines:
        yield machines


@pytest.fixture
def machines(started: Machines, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """The cluster with two working nodes, and nothing noted yet."""
    monkeypatch.setitem(HEADS, "faulty", HEADS["lexical"])
    cluster_backbone.patch()
    monkeypatch.setenv("ARENA_TEST_PLACE", str(started.place))
    for path in [
        *started.place.glob("asleep-*"),
        *(started.place / name for name in ("go", "hold", "starts.txt")),
    ]:
        path.unlink(missing_ok=True)
    while len(started.nodes) < 2:
        started.add()
    return started
