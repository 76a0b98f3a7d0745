"""The server under load from another process, beside the same ensemble without it and two bare FastAPI apps.

Single small pairs of the sample arena on the lexical ensemble, in a closed loop over a few connections:
requests per second, p50 and p99, the server's resident memory as requests go by; then 50 batches at once.
Peers, in turns with the server: the same `Ensemble.in_memory()` called in this process; a bare FastAPI app
around it, without limits, ids or metrics; and a bare FastAPI app around scikit-learn's TF-IDF difference and
logistic regression, kept by joblib, which is what many would write.

Loopback only, bounded in count and by ``--seconds``.

    python benchmarks/serving.py                20,000 requests: about a quarter of an hour on two idle cores
    python benchmarks/serving.py --quick        300 requests
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble import Ensemble, build_ensemble, predict_test, read_battles, sample, train_members

TURNS = 5
BARE = """
import socket, sys
import uvicorn
from fastapi import FastAPI, Request
{setup}
app = FastAPI()
@app.post("/v1/preferences")
async def preferences(request: Request):
    battles = (await request.json())["battles"]
    return {{"preferences": probabilities(battles).tolist()}}
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"on http://127.0.0.1:{{port}}", file=sys.stderr, flush=True)
Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, http="h11", loop="asyncio")).run()
"""
OURS = """
from arena_ensemble import Ensemble
ensemble = Ensemble.load({work!r}).in_memory()
probabilities = ensemble.predict_proba
"""
SKLEARN = """
import joblib
vectorizer, model = joblib.load({path!r})
def probabilities(battles):
    a, b = ([battle[name] for battle in battles] for name in ("response_a", "response_b"))
    return model.predict_proba(vectorizer.transform(a) - vectorizer.transform(b))
"""


@contextlib.contextmanager
def server(*command: str) -> Iterator[tuple[int, int]]:
    """Port and process id of a server that tells its URL on standard error."""
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"on http://127\.0\.0\.1:(\d+)", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield int(found[1]), process.pid
                return
        raise SystemExit("".join(lines))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def load(
    port: int, bodies: list[str], requests: int, clients: int, seconds: float, pid: int | None = None
) -> dict[str, Any]:
    """A closed loop: each client sends its next request when the last is answered."""
    took: list[float] = []
    memory: list[tuple[int, float]] = []
    lock, start = threading.Lock(), time.perf_counter()
    left = iter(range(requests))

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.perf_counter() - start < seconds:
            with lock:
                number = next(left, None)
            if number is None:
                break
            begun = time.perf_counter()
            body = bodies[number % len(bodies)]
            connection.request("POST", "/v1/preferences", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            with lock:
                took.append(time.perf_counter() - begun)
                if pid is not None and len(took) % max(1, requests // 20) == 0:
                    memory.append((len(took), round(resident_mib(pid), 1)))
        connection.close()

    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(client) for _ in range(clients)]:
            future.result()
    total = time.perf_counter() - start
    p50, p99 = np.percentile(took, [50, 99]) * 1e3
    return {
        "requests": len(took),
        "clients": clients,
        "per_second": round(len(took) / total, 1),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        **({"memory_mib": memory} if memory else {}),
    }


def sklearn_peer(train: Any, path: Path) -> None:
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    a, b = (train.frame[name].list.join("\n").to_list() for name in ("response_a", "response_b"))
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)).fit(a + b)
    model = LogisticRegression(max_iter=1000).fit(
        vectorizer.transform(a) - vectorizer.transform(b), train.outcomes()
    )
    joblib.dump((vectorizer, model), path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1800.0, help="bound of each load")
    given = parser.parse_args()
    requests, rows = (300, 150) if given.quick else (given.requests, 600)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, text in sample.files(rows, 60, seed=1).items():
            (work / name).write_text(text)
        run = train_members(
            work / "train.csv", ["lexical"], workspace=work, test=work / "test.csv", n_folds=5, jobs=1
        )
        predict_test(run, build_ensemble(run))
        test = read_battles(work / "test.csv")
        texts = [
            test.frame[name].list.join("\n").to_list() for name in ("prompt", "response_a", "response_b")
        ]
        pairs = [{"prompt": p, "response_a": a, "response_b": b} for p, a, b in zip(*texts, strict=True)]
        bodies = [json.dumps({"battles": [pair]}) for pair in pairs]
        few = min(requests, 600)

        ensemble = Ensemble.load(work).in_memory()
        ensemble.predict_proba([pairs[0]])
        took = []
        for number in range(min(few, 200)):
            begun = time.perf_counter()
            ensemble.predict_proba([pairs[number % len(pairs)]])
            took.append(time.perf_counter() - begun)
        found["in_process_p50_ms"] = round(float(np.median(took)) * 1e3, 1)

        verb = ("-m", "arena_ensemble", "serve", "--workspace", str(work), "--port", "0", "--queue", "128")
        with server(*verb) as (port, pid):
            found["one_client"] = load(port, bodies, min(few, 200), 1, given.seconds)
            found["served"] = load(port, bodies, requests, given.clients, given.seconds, pid)
            batches = [json.dumps({"battles": pairs})] * 50
            found["batches_of_60"] = load(port, batches, 50, 50, given.seconds)
        sklearn_peer(run.train, work / "peer.joblib")
        setups = {
            "bare_fastapi": OURS.format(work=str(work)),
            "bare_fastapi_sklearn": SKLEARN.format(path=str(work / "peer.joblib")),
        }
        with contextlib.ExitStack() as stack:
            ports = {"server": stack.enter_context(server(*verb))[0]}
            for name, setup in setups.items():
                (work / f"{name}.py").write_text(textwrap.dedent(BARE.format(setup=setup)))
                ports[name] = stack.enter_context(server(str(work / f"{name}.py")))[0]
            rounds = [
                {
                    name: load(port, bodies, few // TURNS, given.clients, given.seconds)
                    for name, port in ports.items()
                }
                for _ in range(TURNS)
            ]
        found["in_turns"] = {name: [one[name]["per_second"] for one in rounds] for name in ports}
    rates = {name: statistics.median(values) for name, values in found["in_turns"].items()}
    rate = found["served"]["per_second"]
    batched = found["batches_of_60"]["per_second"] * len(pairs)
    found["ratios"] = {
        "served / bare FastAPI, requests per second": round(rates["server"] / rates["bare_fastapi"], 3),
        "served / scikit-learn in bare FastAPI": round(rates["server"] / rates["bare_fastapi_sklearn"], 3),
        "one client's p50 / in process": round(found["one_client"]["p50_ms"] / found["in_process_p50_ms"], 3),
        "battles per second, batches of 60 / one by one": round(batched / rate, 1),
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
