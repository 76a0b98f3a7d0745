"""A real server in a process of its own: sockets, signals, load."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

from arena_ensemble import Ensemble, cli, read_battles

PAIR = {"prompt": "Why?", "response_a": "Because.", "response_b": "No idea, sorry."}


class Running:
    """The verb in a process, on a port of its choice."""

    def __init__(self, work: Path, *more: str) -> None:
        command = [sys.executable, "-m", "arena_ensemble", "serve", "--workspace", str(work), "--port", "0"]
        self.process = subprocess.Popen([*command, *more], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if found := re.search(r"on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError("".join(lines))

    def post(self, body: Any) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            content = json.dumps(body)
            connection.request("POST", "/v1/preferences", content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def raw(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """What comes back on a connection that sends these parts; empty where it is closed without a word."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as sock:
            for part in parts:
                sock.sendall(part)
                time.sleep(pause)
            found = b""
            with contextlib.suppress(ConnectionError):
                while chunk := sock.recv(65536):
                    found += chunk
            return found

    def refuses(self) -> bool:
        """Whether connections are refused, perhaps after a while."""
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except ConnectionError:
                return True
            time.sleep(0.01)
        return False

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[Running]:
    with Running(work, "--body-seconds", "0.5", "--max-bytes", "100000", "--queue", "200") as running:
        yield running
        assert running.end(signal.SIGTERM) == 0


def test_fifty_batches_at_once_are_answered_as_offline(server: Running, work: Path) -> None:
    rows = read_battles(work / "test.csv").frame.select("id", "prompt", "response_a", "response_b").to_dicts()
    batches = [[rows[(k + j) % len(rows)] for j in range(5)] for k in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda batch: server.post({"battles": batch}), batches))
    assert {status for status, _ in answers} == {200}
    offline = Ensemble.load(work).in_memory()
    for batch, (_, answer) in zip(batches[::10], answers[::10], strict=True):
        served = [[one["a"], one["b"], one["tie"]] for one in answer["preferences"]]
        np.testing.assert_array_equal(np.array(served), offline.predict_proba(batch))


HEAD = b"POST /v1/preferences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_malformed_oversized_and_slow_bodies_are_refused(server: Running) -> None:
    assert server.raw(b"\x16\x03\x01\x02\x00 no http\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000).startswith(
        b"HTTP/1.1 4"
    )
    assert server.raw(HEAD + b"Content-Length: 3\r\nConnection: close\r\n\r\n{x}").startswith(b"HTTP/1.1 422")
    large = HEAD + b"Content-Length: 2000000\r\n\r\n" + b" " * 2_000_000
    assert server.raw(large).startswith(b"HTTP/1.1 413")
    endless = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"fffff\r\n" + b" " * 0xFFFFF + b"\r\n0\r\n\r\n"
    assert server.raw(endless).startswith(b"HTTP/1.1 413")
    slow = server.raw(HEAD + b"Content-Length: 50\r\n\r\n", b"{", b'"', b"b", pause=0.1)
    assert slow.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in slow
    assert server.post({"battles": [PAIR]})[0] == 200


def test_a_client_that_leaves_does_no_harm(server: Running) -> None:
    for part in (HEAD, HEAD + b"Content-Length: 50\r\n\r\n{", HEAD[:20]):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(part)
    assert server.post({"battles": [PAIR]})[0] == 200


def test_sigterm_answers_what_has_begun_and_takes_nothing_new(work: Path) -> None:
    content = json.dumps({"battles": [PAIR]}).encode()
    with Running(work) as running, contextlib.ExitStack() as opened:
        begun = [
            opened.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=30))
            for _ in range(3)
        ]
        for sock in begun:
            sock.sendall(HEAD + f"Content-Length: {len(content)}\r\n\r\n".encode() + content[:9])
        assert running.post({"battles": [PAIR]})[0] == 200, "the heads before it have been read"
        running.process.send_signal(signal.SIGTERM)
        assert running.refuses(), "new connections"
        assert running.process.poll() is None
        for sock in begun:
            sock.sendall(content[9:])
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        assert running.ended() == 0


def test_a_kill_loses_only_what_was_in_flight(work: Path) -> None:
    with Running(work) as running, ThreadPoolExecutor(1) as pool:
        before = running.post({"battles": [PAIR]})[1]["preferences"]
        tree = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
        future = pool.submit(running.post, {"battles": [PAIR] * 200})
        time.sleep(0.02)
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
        with contextlib.suppress(OSError, http.client.HTTPException):
            future.result()
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == tree
    with Running(work) as again:
        assert again.post({"battles": [PAIR]})[1]["preferences"] == before


def test_the_verb_refuses_what_cannot_be_served(
    work: Path, server: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ["serve", "--workspace", str(work)]
    for options, message in (
        (["--host", "0.0.0.0"], "give --token"),
        (["--token", "short"], "give at least 16"),
        (["--port", "99999"], "--port 99999: expected a number from 0 to 65535"),
        (["--threads", "0"], "--threads 0: expected"),
        (["--port", str(server.port)], "cannot be listened on; choose another --port"),
        (["--workspace", str(work / "nowhere")], "no ensemble"),
    ):
        assert cli.run([*place, *options]) == 1, options
        assert message in capsys.readouterr().err
    monkeypatch.setenv("ARENA_ENSEMBLE_TOKEN", "short")
    assert cli.run(place) == 1
    assert "the token has 5 characters" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [one for one in sys.modules if one.startswith("arena_ensemble.serving")]:
        monkeypatch.delitem(sys.modules, name)
    assert cli.run(place) == 1
    assert "pip install 'arena-ensemble[serve]'" in capsys.readouterr().err


def test_a_head_that_never_ends_is_closed_with_a_408(ensemble: Ensemble) -> None:
    import asyncio

    from arena_ensemble.serving.frame import Limits
    from arena_ensemble.serving.server import Address, make_server
    from arena_ensemble.serving.service import Service

    async def talk(port: int, parts: list[bytes]) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.05)
        found = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return found

    async def run() -> list[bytes]:
        urls: list[str] = []
        server = make_server(Service(ensemble), Limits(), Address(port=0, head_seconds=0.3), urls.append)
        task = asyncio.create_task(server.serve())
        while not urls:
            await asyncio.sleep(0.01)
        port = int(urls[0].rsplit(":", 1)[1])
        whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        found = [await talk(port, parts) for parts in ([], [b"GET / HT"], [whole, b"GET / HT"])]
        server.should_exit = True
        await task
        return found

    silent, begun, second = asyncio.run(run())
    for answer in (silent, begun):
        assert answer.startswith(b"HTTP/1.1 408")
    assert second.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in second, "a kept connection has no more time for its second head"
