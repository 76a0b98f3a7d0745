"""An OpenAI-compatible server on this machine that answers, fails, stalls, or talks rubbish by a script."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, bytes, dict[str, str]]


@dataclass
class JudgeServer:
    """What the server is asked, and what it does: ``act(text, times_asked)`` gives a reply."""

    act: Callable[[str, int], Reply]
    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def completion(text: str, listed: dict[str, float] | None = None) -> Reply:
    """A chat completion; ``listed`` are probabilities of tokens at its first place."""
    logprobs = None
    if listed is not None:
        top = [{"token": token, "logprob": math.log(share)} for token, share in listed.items()]
        logprobs = {"content": [{"token": text, "logprob": -0.1, "top_logprobs": top}]}
    choice = {"message": {"role": "assistant", "content": text}, "logprobs": logprobs}
    body = {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}
    return 200, json.dumps(body).encode(), {}


def failure(status: int, text: str = "", **headers: str) -> Reply:
    """An HTTP error."""
    return status, text.encode(), headers


@contextmanager
def serving(act: Callable[[str, int], Reply]) -> Iterator[JudgeServer]:
    """A server on a free port of this machine."""
    state = JudgeServer(act)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = body["messages"][0]["content"]
            with state.lock:
                state.asked[text] += 1
                state.bodies.append(body)
                state.headers.append(dict(self.headers))
                times = state.asked[text]
            status, content, headers = state.act(text, times)
            if status == 0:  # a connection that breaks
                self.close_connection = True
                return
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the client has given up
                self.close_connection = True

        def log_message(self, format: str, *values: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def stall(seconds: float) -> Reply:
    """An answer that comes too late."""
    time.sleep(seconds)
    return completion("A")
