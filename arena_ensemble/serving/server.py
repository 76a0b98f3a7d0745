"""uvicorn around the app: heads in bounded time, signals that drain, an address that is safe."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import InputError
from .app import create_app
from .frame import Limits
from .gate import Gate
from .service import Service

log = logging.getLogger(__name__)

_MOST_CONNECTIONS: Final = 1000
_FEWEST_TOKEN_CHARS: Final = 16
_LOCAL_HOSTS: Final = frozenset(("localhost", "127.0.0.1", "[::1]"))
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True)
class Address:
    """Where the server listens, and how much it takes on."""

    host: str = "127.0.0.1"
    port: int = 8000
    threads: int = 1
    queue: int = 64
    drain_seconds: float = 30.0
    head_seconds: float = 10.0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def checked_limits(host: str, token: str | None, allowed: Sequence[str], **numbers: Any) -> Limits:
    """The limits of a server at this address.

    Raises
    ------
    InputError
        The address is public and there is no token, or the token is short or none that a header can carry.
    """
    if token is not None and len(token) < _FEWEST_TOKEN_CHARS:
        raise InputError(
            f"the token has {len(token)} characters; give at least {_FEWEST_TOKEN_CHARS}, such as those of "
            "`python -c 'import secrets; print(secrets.token_urlsafe())'`"
        )
    if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise InputError(
            "the token has a blank or a line end at an end, or a character that no header carries; give "
            "letters, digits and signs of ASCII"
        )
    if not is_loopback(host) and token is None:
        raise InputError(
            f"--host {host} can be reached from other machines; give --token, or stay on 127.0.0.1"
        )
    local = is_loopback(host) and token is None
    hosts = _LOCAL_HOSTS | {host.lower(), f"[{host.lower()}]"} | {name.lower() for name in allowed}
    return Limits(token=token, hosts=frozenset(hosts) if local or allowed else None, **numbers)


class _Protocol(H11Protocol):
    """uvicorn's protocol, with an end to waiting for a request's head."""

    head_seconds = 10.0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_watch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._end_watch()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _end_watch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        busy = self.cycle is not None and not self.cycle.response_complete
        if self.conn.their_state is h11.IDLE and not busy and not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server; SIGTERM and Ctrl-C drain, and then it returns instead of raising the signal again."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None and self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def make_server(
    service: Service, limits: Limits, address: Address, on_ready: Callable[[str], None] | None = None
) -> uvicorn.Server:
    """A server that is not started yet; ``on_ready`` is told its URL. ``run()`` serves until a signal."""
    app = create_app(service, limits, Gate(address.threads, address.queue))
    protocol = type("Protocol", (_Protocol,), {"head_seconds": address.head_seconds})
    config = uvicorn.Config(
        app,
        host=address.host.strip("[]"),
        port=address.port,
        http=protocol,
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=round(address.drain_seconds),
    )
    return _Server(config, on_ready)


def serve(
    service: Service, limits: Limits, address: Address, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGTERM or Ctrl-C: what has arrived is answered, nothing new is taken.

    Raises
    ------
    InputError
        The address cannot be listened on.
    """
    server = make_server(service, limits, address, on_ready)
    try:
        server.run()
    except SystemExit:  # uvicorn's way to say that the address is taken
        raise InputError(
            f"{address.host} port {address.port} cannot be listened on; choose another --port, or 0 for any"
        ) from None
