"""How PyTorch's threads wait for each other, on a machine that has other work: spinning or asleep.

    python benchmarks/waiting_threads.py [--processes N] [--repeats N] [--quick] [--json]

N processes of two threads each train a small transformer side by side, in alternation with libgomp's
default (a thread that waits spins) and with ``OMP_WAIT_POLICY=passive`` (it sleeps), as our command line
and its workers set it. Seconds are of the slowest process, processor seconds of all; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

WAYS: dict[str, dict[str, str]] = {"spinning": {}, "asleep": {"OMP_WAIT_POLICY": "passive"}}
WORK = """
import sys, time, torch
torch.set_num_threads(2)
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(128, 2, 512, dropout=0.0, batch_first=True)
net = torch.nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
optimizer = torch.optim.AdamW(net.parameters(), fused=True)
x = torch.randn(4, 256, 128)
def step():
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()
step()
start, worked = time.perf_counter(), time.process_time()
for _ in range(int(sys.argv[1])):
    step()
print(time.perf_counter() - start, time.process_time() - worked)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one repeat of few steps")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    arguments = parser.parse_args()
    steps = 6 if arguments.quick else 25
    runs: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(1 if arguments.quick else arguments.repeats):
        for way, extra in WAYS.items():
            runs[way].append(together(arguments.processes, steps, extra))
    found: dict[str, dict[str, float]] = {}
    for way, pairs in runs.items():
        seconds, processor = (statistics.median(part) for part in zip(*pairs, strict=True))
        found[way] = {"seconds": round(seconds, 2), "processor_seconds": round(processor, 2)}
        print(f"{way:10}{seconds:>9.2f} s{processor:>9.2f} processor s")
    ratio = round(found["spinning"]["seconds"] / found["asleep"]["seconds"], 2)
    print(f"spinning takes {ratio} times as long; load of the machine {os.getloadavg()[0]:.1f}")
    if arguments.json:
        print(json.dumps({**found, "ratio": ratio, "load": os.getloadavg()[0]}))


def together(processes: int, steps: int, extra: dict[str, str]) -> tuple[float, float]:
    """Seconds of the slowest and processor seconds of all of some processes side by side."""
    ours = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in ours} | extra
    command = [sys.executable, "-c", WORK, str(steps)]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    pairs = [tuple(map(float, process.communicate()[0].split())) for process in started]
    return max(seconds for seconds, _ in pairs), sum(worked for _, worked in pairs)


if __name__ == "__main__":
    main()
