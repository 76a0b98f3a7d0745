"""Kill training inside a fold again and again; what the member says at last must be the same bits.

A member trains ten epochs on three folds of the sample arena, with dropout, averaged weights and a checkpoint
every few steps. Its run is killed (SIGKILL) at random moments and resumed until it ends, several times over.
Compared with the run that nobody disturbed: every out-of-fold log-probability and every trained weight, byte
for byte. The control is a member that keeps no checkpoints inside a fold and starts the fold anew each time.

    python benchmarks/kill_training.py [--rounds 5] [--rows 300] [--seed 0] [--json] [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace

RECIPE = """\
backbone = "{head}"
base = "tiny:decoder"
swap = "paired"
read_orders = 2

[prompt]
template = "short-1"
max_tokens = 384

[train]
epochs = {epochs}
learning_rate = 3e-3
ema = 0.9
checkpoint_every = {every}

[adapter]
kind = "lora"
dropout = 0.1
also = ["embeddings", "norms"]

[tiny]
hidden = 32
layers = 1
dropout = 0.1
"""
EVERY = 4
MEMBERS = {"classify": "classify", "generate": "generate", "anew": "classify"}
"""Members by name, and their heads; ``anew`` keeps no checkpoints inside a fold."""


def command(workspace: Path, data: Path, member: str) -> list[str]:
    return [
        sys.executable, "-m", "arena_ensemble", "oof", "--data", str(data), "--workspace", str(workspace),
        "--models", member, "--folds", "3", "--jobs", "1",
    ]  # fmt: skip


def workspace_of(folder: Path, epochs: int, every: int) -> Path:
    for name, head in MEMBERS.items():
        text = RECIPE.format(head=head, epochs=epochs, every=0 if name == "anew" else every)
        atomic.write_bytes(folder / "models" / name / "recipe.toml", text.encode())
    return folder


def digests(workspace: Path, member: str) -> dict[str, str]:
    """Digests of the trained weights and of all log-probabilities, both orders."""
    found = {
        str(path.relative_to(workspace)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((workspace / "models" / member).rglob("weights.safetensors"))
    }
    reading = MemberArtifacts(Workspace(workspace), member).load()[0]
    assert reading.swap_log_probs is not None
    found["shown"] = hashlib.sha256(reading.log_probs.tobytes()).hexdigest()
    found["swapped"] = hashlib.sha256(reading.swap_log_probs.tobytes()).hexdigest()
    return found


def checkpoint_steps(workspace: Path, member: str) -> int:
    """Steps in the newest whole checkpoint of the fold in training, or 0."""
    places = (workspace / "models" / member).glob("fold-*.partial/checkpoint-*")
    return max((int(p.name.split("-")[1]) for p in places if ".tmp-" not in p.name), default=0)


def training(workspace: Path, member: str) -> bool:
    """Whether a fold is in training now."""
    return any((workspace / "models" / member).glob("fold-*.partial/resume.json"))


def wait(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.003)


def storm(
    workspace: Path, data: Path, member: str, draw: random.Random, steps: int, seconds: float, most: int
) -> dict[str, int]:
    """Kill the run at random moments inside its folds, at most so often; then let it end.

    Where there are checkpoints, a moment is some random step ahead and a random part of a second;
    else a random share of the seconds that a fold takes.
    """
    counts = {"kills": 0, "resumed_from_a_checkpoint": 0, "resumes_that_failed": 0}
    while True:
        process = subprocess.Popen(
            command(workspace, data, member), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if counts["kills"] < most:
            wait(process, lambda: training(workspace, member))
            if member == "anew":
                end = time.monotonic() + draw.uniform(0, seconds)
            else:
                ahead = checkpoint_steps(workspace, member) + draw.randrange(steps // 3)
                target = min(ahead, steps - EVERY)
                wait(process, lambda target=target: checkpoint_steps(workspace, member) >= target)  # type: ignore[misc]
                end = time.monotonic() + draw.uniform(0, 0.2)
            wait(process, lambda end=end: time.monotonic() >= end)  # type: ignore[misc]
            if process.poll() is None and training(workspace, member):
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
                counts["kills"] += 1
                counts["resumed_from_a_checkpoint"] += checkpoint_steps(workspace, member) > 0
                continue
        _, output = process.communicate()
        if process.returncode:
            counts["resumes_that_failed"] += 1
            print(output.decode(errors="replace")[-400:], file=sys.stderr)
        return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="disturbed runs of each member")
    parser.add_argument("--kills", type=int, default=12, help="at most so many in one run")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one run of one member, 60 rows, three kills")
    options = parser.parse_args()
    members = list(MEMBERS)
    if options.quick:
        options.rounds, options.kills, options.rows, members = 1, 3, 60, ["generate"]
    draw = random.Random(options.seed)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = [sys.executable, "-m", "arena_ensemble", "sample", "--test-rows", "2", "--rows"]
        subprocess.run([*sample, str(options.rows), "--out", str(folder)], check=True, capture_output=True)
        data = folder / "train.csv"
        calm = workspace_of(folder / "calm", options.epochs, EVERY)
        for member in members:
            subprocess.run(command(calm, data, member), check=True, capture_output=True)
            expected = digests(calm, member)
            card = MemberArtifacts(Workspace(calm), member).card()
            facts = [] if card is None else card.fold_facts
            steps = min(part["optimizer_steps"] for part in facts)
            seconds = max(part["fit_seconds"] for part in facts)
            totals: dict[str, int] = {}
            different = 0
            for turn in range(options.rounds):
                place = workspace_of(folder / f"{member}-{turn}", options.epochs, EVERY)
                counts = storm(place, data, member, draw, steps, seconds, options.kills)
                different += counts["resumes_that_failed"] > 0 or digests(place, member) != expected
                totals = {key: totals.get(key, 0) + value for key, value in counts.items()}
            values = {
                "steps_of_a_fold": steps, "artifacts_compared": len(expected), **totals,
                "ended": options.rounds, "ends_that_differ": different,
            }  # fmt: skip
            for key, value in values.items():
                figures[f"{member}.{key}"] = value
                print(f"{member + '.' + key:<40} {value}", flush=True)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
