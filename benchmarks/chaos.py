"""Kill and starve runs at random moments; what was finished must stay, and the end must be the same.

Part 1 sends SIGKILL to the whole process group of ``arena-ensemble submission`` at random moments,
resumes, and compares the final artifacts byte for byte with an uninterrupted run's. Part 2 (root
only) runs on a small tmpfs with little space left. There is no peer to compare with: AutoGluon's
request for resuming (its issue 475) has been open since 2020. The figure is what was lost.

    python benchmarks/chaos.py [--kills 50] [--members NAME,…] [--json] [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CARDS = {"card.json", "resume.json", "settings.json"}  # hold seconds, which differ from run to run


def command(workspace: Path, data: Path, members: str, jobs: int) -> list[str]:
    return [
        sys.executable, "-m", "arena_ensemble", "submission", "--data", str(data / "train.csv"), "--test",
        str(data / "test.csv"), "--workspace", str(workspace), "--models", members, "--jobs", str(jobs),
    ]  # fmt: skip


def digests(workspace: Path) -> dict[str, str]:
    """SHA-256 of every finished artifact's content, by relative path."""
    wanted = [workspace / "submission.csv", *sorted((workspace / "oof").rglob("*"))]
    wanted += [p for p in sorted((workspace / "models").rglob("*")) if ".partial" not in str(p)]
    return {
        str(p.relative_to(workspace)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in wanted
        if p.is_file() and p.name not in CARDS and ".tmp-" not in str(p)
    }


def fitted(workspace: Path) -> set[str]:
    """Fold models with a card: work that no later kill may lose."""
    return {str(p.parent.relative_to(workspace)) for p in workspace.glob("models/*/fold-*/card.json")}


def kill_often(folder: Path, data: Path, members: str, kills: int, jobs: int, seed: int) -> dict[str, float]:
    calm = folder / "calm"
    start = time.monotonic()
    subprocess.run(command(calm, data, members, jobs), check=True, capture_output=True)
    whole = time.monotonic() - start
    expected = digests(calm)
    draw = random.Random(seed)
    done = lost = different = completed = 0
    stormy = folder / "stormy"
    while done < kills:
        before = fitted(stormy)
        process = subprocess.Popen(
            command(stormy, data, members, jobs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=draw.uniform(0.2, whole))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
        else:
            completed += 1
            different += process.returncode != 0 or digests(stormy) != expected
            shutil.rmtree(stormy)
            continue
        lost += len(before - fitted(stormy))
    subprocess.run(command(stormy, data, members, jobs), check=True, capture_output=True)
    different += digests(stormy) != expected
    return {
        "kills": done,
        "uninterrupted_seconds": round(whole, 1),
        "resumed_to_the_end": completed + 1,
        "finished_folds_lost": lost,
        "ends_that_differ": different,
    }


def starve(folder: Path, data: Path, members: str, points: int) -> dict[str, float] | None:
    """Runs on a 64 MiB tmpfs with ever more free space; None where tmpfs cannot be mounted."""
    mount = folder / "small"
    mount.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mount)], check=False
    ).returncode:
        return None
    unclear = lost = refused = 0
    try:
        workspace = mount / "w"
        ballast = mount / "ballast"
        for point in range(points):
            free = int(4096 * 1.6**point)
            ballast.unlink(missing_ok=True)
            left = shutil.disk_usage(mount).free - free
            if left > 0:
                ballast.write_bytes(b"\0" * left)
            before = {p: h for p, h in digests(workspace).items() if p.startswith("models")}
            done = subprocess.run(
                command(workspace, data, members, 1), capture_output=True, text=True, check=False
            )
            refused += done.returncode != 0
            unclear += done.returncode not in (0, 1, 4)
            after = digests(workspace)
            lost += sum(after.get(path) != digest for path, digest in before.items())
        ballast.unlink(missing_ok=True)
        subprocess.run(command(workspace, data, members, 1), check=True, capture_output=True)
    finally:
        subprocess.run(["umount", str(mount)], check=False)
    return {"full_disk_runs": points, "refused": refused, "unclear_exits": unclear, "artifacts_lost": lost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--members", default="tiny-classify,lexical")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="under a minute: lexical only, four kills")
    options = parser.parse_args()
    if options.quick:
        options.kills, options.members, options.rows = 4, "lexical", 150
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        sample = [
            sys.executable,
            "-m",
            "arena_ensemble",
            "sample",
            "--rows",
            str(options.rows),
            "--test-rows",
            "40",
        ]
        subprocess.run([*sample, "--out", str(data)], check=True, capture_output=True)
        figures = kill_often(folder, data, options.members, options.kills, options.jobs, options.seed)
        starved = starve(folder, data, "lexical", 4 if options.quick else 20)
    if starved is None:
        print("full disk: skipped, a tmpfs cannot be mounted here (needs root)")
    figures |= starved or {}
    for key, value in figures.items():
        print(f"{key:<24} {value}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
