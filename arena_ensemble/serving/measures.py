"""What Prometheus may ask: counts, seconds and refusals, in a registry of the app's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Measures:
    """The server's metrics; ``working`` tells how many pieces of work run or wait."""

    def __init__(self, working: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "arena_requests", "requests answered", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "arena_request_seconds",
            "seconds from the first byte of a request's head to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.battles = Counter("arena_battles", "battles predicted", registry=self.registry)
        self.refused = Counter(
            "arena_refused", "requests refused, by reason", ["reason"], registry=self.registry
        )
        working_now = Gauge("arena_working", "requests that are predicted or wait", registry=self.registry)
        working_now.set_function(lambda: float(working()))

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self.registry)
