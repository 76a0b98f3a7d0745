"""The ASGI frame around the app: request ids, tokens, hosts, bodies of bounded size and time, counts."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from .measures import Measures

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

ROUTES: Final = (
    *("/", "/page.css", "/page.js", "/healthz", "/metrics", "/openapi.json"),
    *("/v1/preferences", "/v1/model"),
)
OPEN: Final = frozenset(("/", "/page.css", "/page.js", "/healthz"))
"""Served without the token: the page itself holds nothing, and asks for the token."""
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_SECURITY: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
        b"form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
]
FAULT: Final = "this is a fault of the server; its log has it under the request's id"
_DRAIN_SECONDS: Final = 2.0
"""How long the rest of too large a body is read and thrown away, so that the client sees the answer."""


@dataclass(frozen=True)
class Limits:
    """What a request may be. ``hosts``: names in a Host header that are answered; None for any."""

    max_bytes: int = 4 * 2**20
    body_seconds: float = 10.0
    max_battles: int = 256
    token: str | None = None
    hosts: frozenset[str] | None = None


class Refusal(Exception):
    """A request that is not passed on: status, reason (for the metrics) and message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


def error_body(status: int, message: str, request_id: str) -> bytes:
    """Every refusal's body."""
    return json.dumps({"error": {"status": status, "message": message, "request_id": request_id}}).encode()


class Frame:
    """Wraps the app; see the module."""

    def __init__(self, app: App, limits: Limits, measures: Measures) -> None:
        self.app, self.limits, self.measures = app, limits, measures

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        headers = {name.lower(): value for name, value in scope["headers"]}
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        own = [(b"x-request-id", request_id.encode()), *_SECURITY]

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        try:
            self._check(scope, headers)
            body = await self._body(headers, receive)
            if body is not None:
                await self.app(scope, _replayed(body, receive), sending)
        except Refusal as refusal:
            self.measures.refused.labels(refusal.reason).inc()
            if not status:
                await _refuse(sending, refusal, request_id)
        except Exception:
            log.exception("request %s failed", request_id)
            if not status:
                await _refuse(sending, Refusal(500, "fault", FAULT), request_id)
        finally:
            path = scope["path"]
            route = path if path in ROUTES else "other"
            self.measures.requests.labels(route, str(status or 499)).inc()
            self.measures.seconds.labels(route).observe(time.perf_counter() - start)
            log.debug("%s %s %s %d", request_id, scope["method"], path[:100], status)

    def _check(self, scope: MutableMapping[str, Any], headers: dict[bytes, bytes]) -> None:
        """Host, token and content type, before a byte of the body is read."""
        limits = self.limits
        if limits.hosts is not None and _host(headers.get(b"host", b"")) not in limits.hosts:
            # another site's name that was made to point here (DNS rebinding)
            raise Refusal(400, "host", "this Host is not served here; see serve --allow-host")
        if limits.token is not None and scope["path"] not in OPEN:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            good = secrets.compare_digest(given.strip(), limits.token.encode())
            if scheme.lower() != b"bearer" or not good:
                raise Refusal(401, "token", "give the server's token: Authorization: Bearer TOKEN")
        if scope["method"] == "POST":
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != b"application/json":  # a form of another site cannot send this
                raise Refusal(415, "content type", "send JSON: Content-Type: application/json")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The whole body; None where the client has gone."""
        limit, parts, size, more = self.limits.max_bytes, [], 0, True
        length = headers.get(b"content-length", b"0")
        announced = int(length) if length.isdigit() and len(length) < 20 else limit + 1
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while more and size <= limit and announced <= limit:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    more = message.get("more_body", False)
        except TimeoutError:
            seconds = self.limits.body_seconds
            text = f"the body did not arrive within {seconds:g} seconds; send it faster or in smaller batches"
            raise Refusal(408, "slow body", text) from None
        if size > limit or announced > limit:
            if more:
                await _thrown_away(receive)
            text = f"the body is larger than {limit:,} bytes; send smaller batches or start with --max-bytes"
            raise Refusal(413, "large body", text)
        return b"".join(parts)


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _ID.match(given) else uuid.uuid4().hex


def _host(value: bytes) -> str:
    """A Host header without its port."""
    text = value.decode("latin-1").lower()
    return text[: text.index("]") + 1] if text.startswith("[") and "]" in text else text.partition(":")[0]


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then whatever else comes: a disconnect."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _thrown_away(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def _refuse(send: Send, refusal: Refusal, request_id: str) -> None:
    body = error_body(refusal.status, refusal.message, request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status in (408, 413):
        headers.append((b"connection", b"close"))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
