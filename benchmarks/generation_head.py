"""The generation head: three rows of the output layer against the whole vocabulary.

    python benchmarks/generation_head.py [--quick] [--json]

A training micro-batch of two rows of 1,024 tokens: hidden states of a 256-wide base to verdict logits,
choice-only cross-entropy, and back to the hidden states. Three ways: the head of this engine (three rows
at the last position), the whole vocabulary at every position (what a causal model's forward does), and
at the last position alone (``logits_to_keep=1``), each with 128,256 rows (Llama 3) and 256,000 (Gemma).
Medians of five runs in alternation, of the clock and of the processor (the ratio is of these). Peak
memory is that of a process of its own, above what stood before its first run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from arena_ensemble.backbones.language.heads import GenerationHeadModel

VOCABULARIES = (128_256, 256_000)
WAYS = ("sliced", "last position", "whole")
ROWS, TOKENS, WIDTH, QUICK_TOKENS = 2, 1024, 256, 128


class Model(nn.Module):
    """An output layer on its own, as the head model expects a causal model."""

    base_model_prefix = "body"

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="none", final_logit_softcapping=30.0)
        self.body = nn.Identity()
        self.lm_head = nn.Linear(WIDTH, vocabulary, bias=False).requires_grad_(False)

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head


def step(way: str, vocabulary: int, tokens: int) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """A call that gives the verdict logits (rows, 3) and the gradient of the last hidden states."""
    torch.manual_seed(0)
    model = Model(vocabulary)
    verdicts = [317, 363, vocabulary - 7]
    head_model = GenerationHeadModel(model, verdicts)
    hidden = torch.randn(ROWS, tokens, WIDTH)
    last = torch.tensor([tokens - 1, tokens // 2])
    labels = torch.tensor([0, 2])
    row = torch.arange(ROWS)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        x = hidden.clone().requires_grad_(True)
        if way == "sliced":
            logits = head_model.logits(x[row, last])
        else:
            every = model.lm_head(x if way == "whole" else x[row, last][:, None])
            every = torch.tanh(every / 30.0) * 30.0
            logits = every[row, last if way == "whole" else 0][:, verdicts]
        nn.functional.cross_entropy(logits, labels).backward()
        assert x.grad is not None
        return logits.detach(), x.grad[row, last]

    return run


def measured(vocabulary: int, tokens: int, repeats: int) -> dict[str, Any]:
    """Seconds of each way in turns, how far they are apart, and each one's memory."""
    calls = {way: step(way, vocabulary, tokens) for way in WAYS}
    by_way = {way: call() for way, call in calls.items()}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    worked: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, call in calls.items():
            start, used = time.perf_counter(), time.process_time()
            call()
            seconds[way].append(time.perf_counter() - start)
            worked[way].append(time.process_time() - used)
    found: dict[str, Any] = {way: {"seconds": statistics.median(seconds[way])} for way in WAYS}
    for way in WAYS:
        found[way]["peak_mib"] = alone(way, vocabulary, tokens)
        found[way]["processor_seconds"] = statistics.median(worked[way])
        times = found[way]["processor_seconds"] / statistics.median(worked["sliced"])
        found[way]["times_sliced"] = round(times, 1)
        apart = [float((a - b).abs().max()) for a, b in zip(by_way[way], by_way["sliced"], strict=True)]
        found[way]["apart"] = max(apart)
        if max(apart) > 1e-5:
            raise SystemExit(f"{way}: {max(apart):.2g} from the sliced head, more than 1e-5")
    return found


def alone(way: str, vocabulary: int, tokens: int) -> float:
    """MiB that a way needs beyond weights and hidden states, in a new process."""
    order = [sys.executable, __file__, "--alone", way, str(vocabulary), str(tokens)]
    order += ["--threads", str(torch.get_num_threads())]
    return float(subprocess.run(order, check=True, capture_output=True, text=True).stdout)


def peak() -> float:
    """Largest resident memory of this process so far, MiB (``ru_maxrss`` would inherit the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TOKENS} tokens a row, three runs")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--alone", nargs=3, metavar=("WAY", "VOCABULARY", "TOKENS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        way, vocabulary, tokens = arguments.alone
        call = step(way, int(vocabulary), int(tokens))
        before = peak()
        call()
        print(round(peak() - before, 1))
        return
    tokens = QUICK_TOKENS if arguments.quick else TOKENS
    figures: dict[str, Any] = {"rows": ROWS, "tokens": tokens, "width": WIDTH}
    figures["threads"] = torch.get_num_threads()
    print(f"{ROWS} rows of {tokens} tokens, {WIDTH} wide, {figures['threads']} threads")
    print(
        f"{'vocabulary':>10}  {'way':14}{'ms':>10}{'processor':>10}{'x sliced':>10}{'peak MiB':>10}"
        f"{'apart':>10}"
    )
    for vocabulary in VOCABULARIES:
        found = measured(vocabulary, tokens, 3 if arguments.quick else 5)
        figures[str(vocabulary)] = found
        for way in WAYS:
            row = found[way]
            print(
                f"{vocabulary:>10,}  {way:14}{1e3 * row['seconds']:>10.2f}"
                f"{1e3 * row['processor_seconds']:>10.2f}{row['times_sliced']:>10,.1f}"
                f"{row['peak_mib']:>10,.1f}{row['apart']:>10.1e}"
            )
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
