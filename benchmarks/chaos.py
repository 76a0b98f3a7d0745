"""Kill and starve runs at random moments; what was finished must stay, and the end must be the same.

Part 1 sends SIGKILL to the whole process group of ``arena-ensemble submission`` at random moments,
resumes, and compares the final artifacts byte for byte with an uninterrupted run's; after every kill,
what a card vouches for must be there still, unchanged. Part 2 (root only) runs again and again on a
tmpfs of 64 MiB with a random rest of space, and starts afresh whenever a run gets to its end. There
is no peer to compare with: AutoGluon's request for resuming (its issue 475) has been open since 2020.
The figure is what was lost.

    python benchmarks/chaos.py [--kills 50] [--points 30] [--members NAME,…] [--json] [--quick]
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


def finished(workspace: Path) -> dict[str, str]:
    """Digests of what a card vouches for, and of the fold file: work that no later kill may lose."""
    return {
        name: digest
        for name, digest in digests(workspace).items()
        if (workspace / name).with_name("card.json").is_file() or name == "oof/folds.parquet"
    }


def phase(workspace: Path, members: str) -> str:
    """Where a run was when it was killed, judged by what it left."""
    if all((workspace / "oof" / name / "card.json").is_file() for name in members.split(",")):
        return "killed_in_stack_or_submission"
    return "killed_in_oof" if (workspace / "oof" / "folds.parquet").is_file() else "killed_before_oof"


def kill_often(folder: Path, data: Path, members: str, kills: int, jobs: int, seed: int) -> dict[str, float]:
    calm = folder / "calm"
    start = time.monotonic()
    subprocess.run(command(calm, data, members, jobs), check=True, capture_output=True)
    whole = time.monotonic() - start
    expected = digests(calm)
    draw = random.Random(seed)
    done = lost = torn = failed = different = completed = 0
    phases = dict.fromkeys(("killed_before_oof", "killed_in_oof", "killed_in_stack_or_submission"), 0)
    stormy = folder / "stormy"

    def ended(code: int, output: bytes) -> None:
        nonlocal completed, failed, different
        completed += 1
        failed += code != 0
        different += digests(stormy) != expected
        if code:
            print(
                f"after {done} kills, exit {code}: {output.decode(errors='replace')[-400:]}", file=sys.stderr
            )

    while done < kills:
        before = finished(stormy)
        process = subprocess.Popen(
            command(stormy, data, members, jobs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        try:
            _, output = process.communicate(timeout=draw.uniform(0.2, whole))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            done += 1
            phases[phase(stormy, members)] += 1
            after = finished(stormy)
            lost += sum(after.get(name) != digest for name, digest in before.items())
            torn += sum(expected.get(name) != digest for name, digest in after.items())
            print(f"{done} kills, {lost} lost, {torn} torn, {different} ends differ", file=sys.stderr)
        else:
            ended(process.returncode, output)
            shutil.rmtree(stormy)
    last = subprocess.run(command(stormy, data, members, jobs), check=False, capture_output=True)
    ended(last.returncode, last.stderr)
    return {
        "kills": done,
        **phases,
        "uninterrupted_seconds": round(whole, 1),
        "artifacts_compared": len(expected),
        "resumed_to_the_end": completed,
        "resumes_that_failed": failed,
        "ends_that_differ": different,
        "finished_artifacts_lost": lost,
        "finished_artifacts_torn": torn,
    }


def starve(folder: Path, data: Path, members: str, points: int) -> dict[str, float] | None:
    """Runs on a 64 MiB tmpfs with ever more free space; None where tmpfs cannot be mounted."""
    mount = folder / "small"
    mount.mkdir()
    calm = folder / "calm-small"
    subprocess.run(command(calm, data, members, 1), check=True, capture_output=True)
    expected = digests(calm)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mount)], check=False
    ).returncode:
        return None
    unclear = silent = lost = torn = refused = 0
    stopped: set[int] = set()
    try:
        workspace = mount / "w"
        ballast = mount / "ballast"
        draw = random.Random(points)
        for _ in range(points):
            free = int(draw.uniform(0, 1_600_000))  # a fold of the member takes about 1.1 MB
            ballast.unlink(missing_ok=True)
            left = shutil.disk_usage(mount).free - free
            if left > 0:
                ballast.write_bytes(b"\0" * left)
            before = finished(workspace)
            done = subprocess.run(
                command(workspace, data, members, 1), capture_output=True, text=True, check=False
            )
            refused += done.returncode != 0
            unclear += done.returncode not in (0, 1, 4) or "Traceback" in done.stderr
            silent += done.returncode != 0 and "space" not in done.stderr
            after = finished(workspace)
            stopped.add(len(after))
            lost += sum(after.get(path) != digest for path, digest in before.items())
            print(f"{free:,} bytes free: exit {done.returncode}, {len(after)} kept", file=sys.stderr)
            torn += sum(expected.get(path) != digest for path, digest in after.items())
            if done.returncode == 0:
                shutil.rmtree(workspace)
        ballast.unlink(missing_ok=True)
        subprocess.run(command(workspace, data, members, 1), check=True, capture_output=True)
        different = int(digests(workspace) != expected)
    finally:
        subprocess.run(["umount", str(mount)], check=False)
    return {
        "full_disk_runs": points,
        "stopped_by_it": refused,
        "different_stops": len(stopped),
        "unclear_exits": unclear,
        "messages_without_space": silent,
        "full_disk_lost": lost,
        "full_disk_torn": torn,
        "full_disk_end_differs": different,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--points", type=int, default=30, help="runs on a full disk")
    parser.add_argument("--members", default="tiny-classify,lexical")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="under a minute: lexical only, four kills")
    options = parser.parse_args()
    if options.quick:
        options.kills, options.members, options.rows, options.points = 3, "lexical", 150, 3
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
        figures: dict[str, float] = {"rows": options.rows}
        if options.kills:
            figures |= kill_often(folder, data, options.members, options.kills, options.jobs, options.seed)
        starved = starve(folder, data, "lexical", options.points) if options.points else {}
    if starved is None:
        print("full disk: skipped, a tmpfs cannot be mounted here (needs root)")
    figures |= starved or {}
    for key, value in figures.items():
        print(f"{key:<30} {value}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
