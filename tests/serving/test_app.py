"""What the app answers, and what it refuses, without a socket."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")

from arena_ensemble import Ensemble, read_battles  # noqa: E402
from arena_ensemble.errors import InputError  # noqa: E402
from arena_ensemble.pipeline.neighbours import TrainingPrompts  # noqa: E402
from arena_ensemble.serving.app import create_app  # noqa: E402
from arena_ensemble.serving.frame import Limits  # noqa: E402
from arena_ensemble.serving.gate import Gate  # noqa: E402
from arena_ensemble.serving.schema import Preference  # noqa: E402
from arena_ensemble.serving.server import checked_limits, is_loopback  # noqa: E402
from arena_ensemble.serving.service import Service  # noqa: E402

PAIR = {"prompt": "Why?", "response_a": "Because.", "response_b": "No idea, sorry."}
URL = "/v1/preferences"
TOKEN = "a-token-of-22-characters"


def using(
    service: Any,
    work: Callable[[Any], Awaitable[Any]],
    limits: Limits | None = None,
    gate: Gate | None = None,
) -> Any:
    """What ``work(client)`` returns, with a client of an app of its own."""

    async def run() -> Any:
        app = create_app(service, limits or Limits(), gate or Gate(1, 4))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await work(client)

    return asyncio.run(run())


def post(service: Any, body: Any, limits: Limits | None = None, **options: Any) -> Any:
    """The answer to one POST; bytes and iterables go as they are."""
    headers = {"content-type": "application/json", **options.pop("headers", {})}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return using(service, lambda c: c.post(URL, content=content, headers=headers), limits)


def battles(work: Path) -> list[dict[str, Any]]:
    frame = read_battles(work / "test.csv").frame
    return frame.select("id", "prompt", "response_a", "response_b").to_dicts()


def refused(answer: Any, status: int) -> str:
    """The message of a refusal, which has one form."""
    assert answer.status_code == status, answer.text[:300]
    error = answer.json()["error"]
    assert error["status"] == status
    assert error["request_id"] == answer.headers["x-request-id"]
    return str(error["message"])


def test_served_probabilities_are_those_of_predict_proba_to_the_bit(work: Path, ensemble: Ensemble) -> None:
    given = battles(work)
    offline = Ensemble.load(work)
    for some in (given, given[:1], given[5:8]):
        answer = post(Service(ensemble), {"battles": some})
        assert answer.status_code == 200
        found = answer.json()["preferences"]
        assert [one["id"] for one in found] == [one["id"] for one in some]
        served = [[one["a"], one["b"], one["tie"]] for one in found]
        np.testing.assert_array_equal(np.array(served), offline.predict_proba(some))
    unnamed = [PAIR, {**PAIR, "prompt": ["Hi!", "And now?"], "response_b": ["Bye.", None]}]
    found = post(Service(ensemble), {"battles": unnamed}).json()["preferences"]
    assert [one["id"] for one in found] == [1, 2]
    served = [[one["a"], one["b"], one["tie"]] for one in found]
    np.testing.assert_array_equal(np.array(served), offline.predict_proba(unnamed))


def test_an_explanation_comes_when_it_is_asked_for(work: Path, ensemble: Ensemble) -> None:
    service = Service(ensemble, TrainingPrompts(read_battles(work / "train.csv")))
    given = battles(work)[:2]
    found = post(service, {"battles": given, "explain": True}).json()["preferences"]
    for battle, one in zip(given, found, strict=True):
        why = one["explanation"]
        assert why["id"] == battle["id"]
        assert (why["chances"]["a"], why["chances"]["b"]) == (one["a"], one["b"])
        parts = [*why["members"], *why["features"], why["order"], why["rest"]]
        assert sum(part["delta"] for part in parts) == pytest.approx(why["delta"], abs=1e-9)
        assert why["nearest"]
    assert "explanation" not in post(service, {"battles": given}).json()["preferences"][0]
    assert "at most 8" in refused(post(service, {"battles": [PAIR] * 9, "explain": True}), 422)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"battles": []}',
        b'{"battles": [1]}',
        b"[" * 100_000,
        json.dumps({"battles": [{**PAIR, "prompt": 3}]}).encode(),
        json.dumps({"battles": [{**PAIR, "prompt": [["deep"]]}]}).encode(),
        json.dumps({"battles": [{**PAIR, "id": 2**64}]}).encode(),
        json.dumps({"battles": [{**PAIR, "id": True}]}).encode(),
        json.dumps({"battles": [{**PAIR, "id": 1.5}]}).encode(),
        json.dumps({"battles": [{**PAIR, "more": 1}]}).encode(),
        json.dumps({"battles": [{"prompt": "p", "response_a": "a"}]}).encode(),
        json.dumps({"battles": [{**PAIR, "id": 7}, {**PAIR, "id": 7}]}).encode(),
        json.dumps({"battles": [PAIR], "explain": "yes"}).encode(),
        json.dumps({"battles": [{**PAIR, "prompt": ["x"] * 1001}]}).encode(),
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_a_body_that_is_not_as_described_is_refused(ensemble: Ensemble, body: bytes) -> None:
    answer = post(Service(ensemble), body)
    message = refused(answer, 422)
    assert len(message) < 1000
    assert message.startswith("body") or "7" in message
    assert "function" not in message.partition(": ")[0]
    assert " at 0x" not in message


def test_a_refusal_never_repeats_the_text(ensemble: Ensemble) -> None:
    answer = post(Service(ensemble), {"battles": [{**PAIR, "prompt": {"secret": "swordfish"}}]})
    assert "battles.0.prompt" in refused(answer, 422)
    assert "swordfish" not in answer.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word" * 250_000,
        "<script>alert(1)</script>",
        "\u202eright to left\u202c \u0000 \u2028",
        "\ud83d alone",
        "a\ud83d\ude00",
        "🙂" * 2000,
        "\n" * 10_000,
    ],
    ids=["empty", "megabyte", "script", "controls", "surrogate", "pair", "emoji", "lines"],
)
def test_any_text_gets_probabilities(ensemble: Ensemble, text: str) -> None:
    answer = post(Service(ensemble), {"battles": [{"prompt": text, "response_a": text, "response_b": "x"}]})
    assert answer.status_code == 200, answer.text[:300]
    found = answer.json()["preferences"][0]
    assert found["a"] + found["b"] + found["tie"] == pytest.approx(1)


async def _refused_at_its_end(service: Any, limits: Limits) -> int:
    """The status for a body of one part that is too large: nothing more is waited for."""
    given = [{"type": "http.request", "body": b"x" * 2001, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return given.pop()  # an error where a second message is asked for

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": URL, "headers": headers}
    await create_app(service, limits, Gate(1, 4))(scope, receive, send)
    return int(sent[0]["status"])


def test_sizes_are_bounded(ensemble: Ensemble) -> None:
    limits = Limits(max_bytes=2000, max_battles=3)
    service = Service(ensemble)
    assert post(service, {"battles": [PAIR] * 3}, limits).status_code == 200
    assert "at most 3" in refused(post(service, {"battles": [PAIR] * 4}, limits), 422)
    assert "larger than 2,000 bytes" in refused(post(service, b"x" * 2001, limits), 413)

    async def chunked(client: Any) -> Any:
        async def parts() -> Any:
            for _ in range(100):
                yield b"x" * 100

        return await client.post(URL, content=parts(), headers={"content-type": "application/json"})

    assert "larger than 2,000 bytes" in refused(using(service, chunked, limits), 413)
    assert asyncio.run(_refused_at_its_end(service, limits)) == 413
    odd = {"content-length": "9" * 30, "content-type": "application/json"}
    assert refused(using(service, lambda c: c.post(URL, content=b"", headers=odd), limits), 413)


def test_only_json_is_taken_and_only_known_hosts_are_answered(ensemble: Ensemble) -> None:
    service = Service(ensemble)
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert "Content-Type" in refused(
            post(service, {"battles": [PAIR]}, headers={"content-type": kind}), 415
        )
    local = checked_limits("127.0.0.1", None, ())
    for host in ("localhost", "127.0.0.1:8000", "LOCALHOST:1", "[::1]:8000"):
        assert post(service, {"battles": [PAIR]}, local, headers={"host": host}).status_code == 200
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1"):
        assert "Host" in refused(post(service, {"battles": [PAIR]}, local, headers={"host": host}), 400)
    behind = checked_limits("127.0.0.1", None, ("judge.example",))
    assert post(service, {"battles": [PAIR]}, behind, headers={"host": "judge.example"}).status_code == 200


def test_a_token_is_asked_for_everywhere_but_on_the_page_and_health(ensemble: Ensemble) -> None:
    limits = checked_limits("0.0.0.0", TOKEN, ())

    async def ask(client: Any) -> list[int]:
        found = []
        for path in (
            "/",
            "/page.js",
            "/page.css",
            "/healthz",
            "/v1/model",
            "/metrics",
            "/openapi.json",
            "/x",
        ):
            found.append((await client.get(path)).status_code)
        for given in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
            answer = await client.get("/v1/model", headers={"authorization": given.encode("latin-1")})
            assert answer.headers["www-authenticate"] == "Bearer"
            found.append(answer.status_code)
        for given in (f"Bearer {TOKEN}", f"bearer  {TOKEN} "):
            found.append((await client.get("/v1/model", headers={"authorization": given})).status_code)
        return found

    assert using(Service(ensemble), ask, limits) == [200] * 4 + [401] * 4 + [401] * 5 + [200] * 2


@pytest.mark.parametrize("token", [TOKEN + "\n", " " + TOKEN, TOKEN + "é"])
def test_a_token_that_no_header_carries_is_refused(token: str) -> None:
    with pytest.raises(InputError, match="give letters, digits and signs"):
        checked_limits("127.0.0.1", token, ())


def test_a_public_address_needs_a_token() -> None:
    for host in ("0.0.0.0", "192.168.0.1", "::", "judge.example"):
        assert not is_loopback(host)
        with pytest.raises(InputError, match=r"can be reached from other machines; give --token"):
            checked_limits(host, None, ())
        assert checked_limits(host, TOKEN, ()).hosts is None
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert is_loopback(host)
        assert checked_limits(host, None, ()).hosts is not None
    with pytest.raises(InputError, match="the token has 5 characters; give at least 16"):
        checked_limits("127.0.0.1", "short", ())


def test_a_full_queue_is_a_429_and_what_was_taken_is_answered() -> None:
    open_gate = threading.Event()

    class Slow:
        ensemble, train = None, None

        def preferences(self, given: Any, *, explain: bool) -> list[Preference]:
            assert open_gate.wait(20)
            return [Preference(id=1, a=0.2, b=0.3, tie=0.5)]

    async def work(client: Any) -> tuple[list[int], str]:
        def ask() -> Any:
            return client.post(URL, json={"battles": [PAIR]})

        taken = [asyncio.create_task(ask()) for _ in range(3)]
        while gate.inside < 3:
            await asyncio.sleep(0.01)
        busy = [await ask() for _ in range(2)]
        assert (await client.get("/healthz")).status_code == 200
        assert "arena_working 3.0" in (await client.get("/metrics")).text
        open_gate.set()
        done = await asyncio.gather(*taken)
        assert gate.inside == 0
        assert (await ask()).status_code == 200, "there is room again"
        assert {one.headers["retry-after"] for one in busy} == {"1"}
        assert "try again" in refused(busy[0], 429)
        return [one.status_code for one in [*busy, *done]], (await client.get("/metrics")).text

    gate = Gate(1, 2)
    statuses, metrics = using(Slow(), work, gate=gate)
    assert statuses == [429, 429, 200, 200, 200]
    assert 'arena_refused_total{reason="busy"} 2.0' in metrics
    assert 'arena_requests_total{route="/v1/preferences",status="429"} 2.0' in metrics
    assert "arena_battles_total 4.0" in metrics


def test_a_fault_is_a_500_with_an_id_and_without_its_text(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def preferences(self, given: Any, *, explain: bool) -> list[Preference]:
            raise RuntimeError("secret path")

    monkeypatch.setattr(
        logging.getLogger("arena_ensemble"), "propagate", True
    )  # the command line turns it off
    with caplog.at_level("ERROR", logger="arena_ensemble.serving.frame"):
        answer = post(Broken(), {"battles": [PAIR]}, headers={"x-request-id": "mine-1"})
    assert "fault of the server" in refused(answer, 500)
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "mine-1"
    assert "mine-1" in caplog.text
    assert "secret path" in caplog.text


def test_request_ids_headers_metrics_and_the_schema(ensemble: Ensemble) -> None:
    async def work(client: Any) -> None:
        for given in ("abc-1", "x" * 65, "a b", "é", "a\tb"):
            answer = await client.get("/healthz", headers={"x-request-id": given.encode("latin-1")})
            same = answer.headers["x-request-id"] == given
            assert same == (given == "abc-1")
        page = await client.get("/")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/docs")).status_code == 404, "its scripts would come from elsewhere"
        assert "Not Found" in refused(await client.get("/no/such"), 404)
        assert refused(await client.get(URL), 405)
        schema = (await client.get("/openapi.json")).json()
        assert set(schema["paths"]) == {URL, "/v1/model", "/healthz"}
        assert {"200", "401", "408", "413", "415", "422", "429"} <= set(
            schema["paths"][URL]["post"]["responses"]
        )
        model = (await client.get("/v1/model")).json()
        assert model["members"] == [{"name": "one", "fold_models": 3}]
        metrics = (await client.get("/metrics")).text
        assert 'arena_requests_total{route="other",status="404"} 2.0' in metrics
        assert "no/such" not in metrics, "paths of strangers would fill the memory"
        assert 'arena_request_seconds_bucket{le="0.005",route="/healthz"}' in metrics

    using(Service(ensemble), work)


def test_a_body_that_comes_too_slowly_is_a_408(ensemble: Ensemble) -> None:
    async def work(client: Any) -> Any:
        async def parts() -> Any:
            while True:
                yield b" "
                await asyncio.sleep(0.02)

        return await client.post(URL, content=parts(), headers={"content-type": "application/json"})

    answer = using(Service(ensemble), work, Limits(body_seconds=0.2))
    assert "within 0.2 seconds" in refused(answer, 408)
    assert answer.headers["connection"] == "close"
