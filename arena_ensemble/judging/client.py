"""One question to an OpenAI-compatible server, with retries; the key comes from the environment alone."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..errors import DependencyError, InputError
from .answers import Answer, Rubbish, read_reply

if TYPE_CHECKING:
    import httpx

_LONGEST_WAIT: Final = 60.0
_REFUSED: Final = {
    401: "the server wants a key; export it as {env}",
    403: "the key in {env} may not use this; give another",
    404: "there is no such path or model; give --endpoint as http://HOST/v1 and a --model that it serves",
}


class GaveUp(Exception):
    """A question that no try could get an answer to; it is asked again by the next run."""


@dataclass(frozen=True)
class Endpoint:
    """A server and how it is asked.

    Raises
    ------
    InputError
        The address is no http address, or holds a user or password.
    """

    url: str
    """of the API, such as ``http://localhost:8000/v1``"""
    model: str
    key_env: str = "OPENAI_API_KEY"
    temperature: float = 0.0
    max_tokens: int = 16
    timeout: float = 120.0
    """seconds without an answer until a try is given up"""
    tries: int = 6
    pause: float = 1.0
    """seconds before the second try; each later pause is twice as long, with a random part"""
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)
    _unknown: set[str] = field(default_factory=set, compare=False, repr=False)
    """parts of a request that the server has refused"""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--endpoint {self.url!r}: give an address such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise InputError(f"--endpoint: leave keys out of the address; export one as {self.key_env}")

    def settings(self) -> dict[str, Any]:
        """What an answer depends on."""
        return {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def client(self) -> httpx.Client:
        """An HTTP client with the key's header.

        Raises
        ------
        DependencyError
            httpx is not installed.
        """
        try:
            import httpx
        except ImportError:
            raise DependencyError(
                "the judge runner needs httpx; pip install 'arena-ensemble[judge]'"
            ) from None
        key = os.environ.get(self.key_env, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(headers=headers, timeout=httpx.Timeout(self.timeout), follow_redirects=False)

    def ask(self, client: httpx.Client, text: str) -> Answer:
        """One answer.

        Raises
        ------
        GaveUp
            No try gave one.
        InputError
            The server refuses the key, the path or the model: no question will do better.
        """
        import httpx

        reason, wait = "", 0.0
        for attempt in range(self.tries):
            if attempt:
                self.sleep(wait or self._pause(attempt))
            wait = 0.0
            try:
                reply = client.post(f"{self.url.rstrip('/')}/chat/completions", json=self._body(text))
            except httpx.HTTPError as error:
                reason = type(error).__name__
                continue
            if reply.status_code == 400 and "logprobs" not in self._unknown and "logprobs" in reply.text:
                self._unknown.add("logprobs")
                continue
            if reply.status_code in _REFUSED:
                remedy = _REFUSED[reply.status_code].format(env=self.key_env)
                raise InputError(f"{self.url}: HTTP {reply.status_code}: {remedy}")
            if reply.status_code in (400, 413, 422):  # this question, not the server: too long, most often
                return Answer(why=f"HTTP {reply.status_code}")
            if reply.status_code != 200:
                reason, asked = f"HTTP {reply.status_code}", reply.headers.get("retry-after", "")
                wait = min(float(asked), _LONGEST_WAIT) if asked.isdigit() else 0.0
                continue
            try:
                return read_reply(reply.json())
            except (ValueError, Rubbish):
                reason = "a reply that is no chat completion"
        raise GaveUp(reason)

    def _body(self, text: str) -> dict[str, Any]:
        body = {**self.settings(), "messages": [{"role": "user", "content": text}]}
        return body if "logprobs" in self._unknown else {**body, "logprobs": True, "top_logprobs": 20}

    def _pause(self, attempt: int) -> float:
        """Seconds before a further try, twice as long each time, with a random part."""
        return float(min(self.pause * 2 ** (attempt - 1), _LONGEST_WAIT) * random.uniform(0.5, 1.0))
