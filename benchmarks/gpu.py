"""The engine's inner loop on a GPU, on a model of eight billion weights, beside ``transformers.Trainer``.

    python benchmarks/gpu.py [--votes train.csv] [--seconds 560] [--json]   with CUDA; else it says so
    python benchmarks/gpu.py --device cpu --quick [--json]                  the same code on a tiny shape

A Llama-3.1-8B shape with random bf16 weights, LoRA r = 64 on every linear layer, a classification head,
rows of up to 2,048 tokens. Row lengths are those of ``--votes`` (a file in Kaggle's format, four bytes
taken as a token), else log-normal with the median and spread of the first hundred rows of Kaggle's
train.csv. The token ids themselves are random. It reports, for training and for prediction: real tokens
per second, model-FLOPs utilisation (arithmetic of the whole model on real tokens, causal attention
counted half, nothing for padding or recomputation, over this card's own measured matrix-product peak)
and peak device memory. Each line is printed when it is known, and all ends within `--seconds`: a side that is
out of time is measured by the steps that it took. Needs torch, transformers, peft and numpy (and accelerate,
for Trainer).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_peer import peer
from gpu_sides import MERGED, WINDOW, adapter_rank, ours, release, seconds_of

from arena_ensemble.backbones.language.sequences import TokenSequences
from arena_ensemble.deadline import Deadline

LARGE = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
TINY = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
MEDIAN_TOKENS, SPREAD = 588, 0.83
"""Of kaggle_head100: median tokens of a row, standard deviation of their logarithm (from mean / median)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny shape and few rows")
    parser.add_argument("--votes", type=Path, help="row lengths from this CSV file, in Kaggle's format")
    parser.add_argument("--rows", type=int, default=512, help="rows trained on, and rows read")
    parser.add_argument("--batch-tokens", type=int, default=8192, help="tokens of our micro-batches")
    parser.add_argument(
        "--checkpointing",
        choices=["auto", "on", "off"],
        default="auto",
        help="layers computed again in the backward pass: auto is the engine's own choice by memory,\n"
        "and Trainer's fastest setting that fits",
    )
    parser.add_argument(
        "--kernels",
        choices=["auto", "plain", "liger"],
        default="auto",
        help="norms and feed-forward blocks on our side, as train.kernels: auto is Liger's where installed",
    )
    parser.add_argument(
        "--seconds", type=float, default=560, help="all of it ends within about so many (default %(default)s)"
    )
    parser.add_argument("--ours", action="store_true", help="our side alone")
    parser.add_argument("--profile", action="store_true", help="our side alone, and where its time goes")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing measured (--device cpu --quick rehearses on a tiny shape)")
        return
    if arguments.device == "cpu" and not arguments.quick:
        parser.error("on a CPU only the rehearsal: add --quick")
    warnings.simplefilter("ignore")
    figures = measure(arguments)
    if arguments.json:
        print(json.dumps(figures))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures; each is printed as soon as it is known."""
    limit = Deadline(time.perf_counter() + arguments.seconds, time.perf_counter)
    device = torch.device(arguments.device)
    rows = 48 if arguments.quick else arguments.rows
    lengths = row_lengths(arguments.votes, rows, 128 if arguments.quick else WINDOW)
    shape = TINY if arguments.quick else LARGE
    sequences = random_sequences(lengths, shape["vocab_size"])
    peak, sustained = matrix_rates(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    figures: dict[str, Any] = {"device": name, "torch": torch.__version__, "rows": rows}
    figures |= {"real_tokens": int(lengths.sum()), "matrix_peak_tflops": peak / 1e12}
    figures["matrix_sustained_tflops"] = sustained / 1e12
    print(
        f"{name}: {peak / 1e12:.1f} TFLOP/s in matrix products, {sustained / 1e12:.1f} sustained; "
        f"{rows} rows, {lengths.sum():,} tokens"
    )
    print(
        f"{'':34}{'rows':>6}{'seconds':>9}{'tokens/s':>10}{'MFU':>8}{'padding':>9}{'peak GiB':>10}",
        flush=True,
    )
    sides: dict[str, Any] = {"ours": ours}
    if not (arguments.profile or arguments.ours):
        sides["transformers.Trainer"] = peer
    for side, go in sides.items():
        figures[side] = {}
        try:
            for act, row, done in go(shape, sequences, device, arguments, limit):
                figures[side][act] = row | rates(shape, done, arguments, act, row["seconds"], peak)
                print(
                    f"{side + ', ' + act:34}{len(done):>6}{row['seconds']:>9.2f}"
                    f"{figures[side][act]['tokens_per_second']:>10,.0f}{figures[side][act]['mfu']:>8.1%}"
                    f"{row['padding_share']:>9.1%}{row['peak_gib']:>10.2f}",
                    flush=True,
                )
                ratio(figures, act)
        except Exception as error:  # what is known by then must not be lost on a lent card
            figures[side]["error"] = f"{type(error).__name__}: {error}"[:1000]
            print(f"{side}: {figures[side]['error']}", flush=True)
        release(device)
    print(f"{arguments.seconds - limit.remaining():.0f} s in all", flush=True)
    return figures


def rates(
    shape: dict[str, int], lengths: Any, arguments: argparse.Namespace, act: str, seconds: float, peak: float
) -> dict[str, Any]:
    """What ``seconds`` for rows of these lengths come to."""
    work = operations(shape, lengths, arguments, act)
    found = {"rows": len(lengths), "tokens_per_second": round(int(lengths.sum()) / seconds, 1)}
    return {**found, "mfu": round(work / seconds / peak, 4)}


def ratio(figures: dict[str, Any], act: str) -> None:
    """Real tokens a second beside the peer's, once both are known: a peer out of time has fewer rows."""
    sides = [figures.get(side, {}).get(act) for side in ("ours", "transformers.Trainer")]
    if all(sides):
        own, theirs = (side["tokens_per_second"] for side in sides)
        figures[f"{act}_times_faster"] = round(own / theirs, 2)
        print(f"{act}: {own / theirs:.2f} times as fast as transformers.Trainer", flush=True)


def row_lengths(votes: Path | None, rows: int, window: int) -> Any:
    """(rows,) tokens of each row, cut at the window."""
    rng = np.random.default_rng(0)
    if votes is None:
        tokens = MEDIAN_TOKENS * np.exp(SPREAD * rng.standard_normal(rows))
    else:
        csv.field_size_limit(sys.maxsize)
        with votes.open(encoding="utf-8", errors="replace", newline="") as stream:
            sizes = [
                sum(len(line[key].encode()) for key in ("prompt", "response_a", "response_b"))
                for line in csv.DictReader(stream)
            ]
        tokens = rng.choice(np.asarray(sizes) / 4, rows)
    return np.clip(tokens * window / WINDOW, 8, window).astype(np.int64)


def random_sequences(lengths: Any, vocabulary: int) -> TokenSequences:
    """Random token ids of these lengths."""
    total = int(lengths.sum())
    return TokenSequences(
        tokens=np.random.default_rng(1).integers(3, vocabulary, total, dtype=np.int32),
        segments=np.zeros(total, dtype=np.int8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        sequence=np.arange(len(lengths))[:, None],
    )


def operations(shape: dict[str, int], lengths: Any, arguments: argparse.Namespace, act: str) -> float:
    """Floating-point operations on real tokens: 2 per weight forward, 2 backward, 6 per adapter weight.

    A frozen weight's own gradient is never made, so LoRA training is about two thirds of full training.
    """
    d, f, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    kv = d * shape["num_key_value_heads"] // shape["num_attention_heads"]
    sizes = [(d, d), (d, kv), (d, kv), (d, d), (d, f), (d, f), (f, d)]
    weights = layers * sum(a * b for a, b in sizes)
    adapters = layers * adapter_rank(arguments) * sum(a + b for a, b in sizes)
    tokens, squares = float(lengths.sum()), float((lengths.astype(np.float64) ** 2).sum())
    attention = layers * 2 * d * squares  # two products of 2 d T^2, half of it causal
    if act == MERGED:
        return tokens * 2 * weights + attention
    if act == "training":
        return tokens * (4 * weights + 6 * adapters) + 3 * attention
    return tokens * 2 * (weights + adapters) + attention


def matrix_rates(device: torch.device) -> tuple[float, float]:
    """FLOP/s of a large square matrix product in the type that models run in here: best, and over 2 s.

    A card that is hot or short of power does not keep up its best, which MFU is over.
    """
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (512, torch.float32)
    a = torch.randn(size, size, device=device, dtype=dtype)
    b = torch.randn(size, size, device=device, dtype=dtype)
    work, best = 5 * 2 * size**3, float("inf")
    for _ in range(10):
        best = min(best, seconds_of(lambda: [a @ b for _ in range(5)], device))
    times = max(1, round((2 if device.type == "cuda" else 0.1) / best))
    return work / best, times * work / seconds_of(lambda: [a @ b for _ in range(5 * times)], device)


if __name__ == "__main__":
    main()
