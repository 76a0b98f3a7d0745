"""What every test shares: quick Hypothesis, the optional real data, no network."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fast", max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real votes and real OOF files, or a skip where it is not there."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ARENA_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set ARENA_SHARED_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that opens a connection to anywhere but this machine fails."""
    here = {"", "None", "127.0.0.1", "::1", "localhost", "0.0.0.0", socket.gethostname()}

    def allowed(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in here:
            raise AssertionError(f"a test tried to reach {name}")

    def guarded(name: str) -> None:
        original = getattr(socket.socket, name)

        def checked(self: socket.socket, *values: object) -> object:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                address = values[-1]
                allowed(address[0] if isinstance(address, tuple) else address)
            return original(self, *values)

        monkeypatch.setattr(socket.socket, name, checked)

    for name in ("connect", "connect_ex", "sendto"):
        guarded(name)
    look_up = socket.getaddrinfo

    def looked_up(host: object, *values: object, **named: object) -> object:
        allowed(host)
        return look_up(host, *values, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
