"""The engine's inner loop on a GPU, on a model of eight billion weights, beside ``transformers.Trainer``.

    python benchmarks/gpu.py [--votes train.csv] [--json]          with CUDA; else it says so and ends
    python benchmarks/gpu.py --device cpu --quick [--json]         the same code on a tiny shape

A Llama-3.1-8B shape with random bf16 weights, LoRA r = 64 on every linear layer, a classification head,
rows of up to 2,048 tokens. Row lengths are those of ``--votes`` (a file in Kaggle's format, four bytes
taken as a token), else log-normal with the median and spread of the first hundred rows of Kaggle's
train.csv. The token ids themselves are random. It reports, for training and for prediction: real tokens
per second, model-FLOPs utilisation (arithmetic of the whole model on real tokens, causal attention
counted half, nothing for padding or recomputation, over this card's own measured matrix-product peak)
and peak device memory. Needs torch, transformers, peft and numpy (and accelerate, for Trainer).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_sides import MERGED, WINDOW, adapter_rank, ours, peer, release, seconds_of

from arena_ensemble.backbones.language.sequences import TokenSequences

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
    parser.add_argument("--liger", action="store_true", help="Liger kernels on our side")
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
    """All figures, and a table on the way."""
    device = torch.device(arguments.device)
    rows = 24 if arguments.quick else arguments.rows
    lengths = row_lengths(arguments.votes, rows, 128 if arguments.quick else WINDOW)
    shape = TINY if arguments.quick else LARGE
    sequences = random_sequences(lengths, shape["vocab_size"])
    peak = matrix_peak(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    figures: dict[str, Any] = {"device": name, "torch": torch.__version__, "rows": rows}
    figures |= {"real_tokens": int(lengths.sum()), "matrix_peak_tflops": peak / 1e12}
    print(f"{name}: {peak / 1e12:.1f} TFLOP/s in matrix products; {rows} rows, {lengths.sum():,} tokens")
    print(f"{'':34}{'seconds':>9}{'tokens/s':>10}{'MFU':>8}{'padding':>9}{'peak GiB':>10}")
    alone = arguments.profile or arguments.ours
    sides = {"ours": ours} if alone else {"ours": ours, "transformers.Trainer": peer}
    for side, go in sides.items():
        found = go(shape, sequences, device, arguments)
        release(device)
        for act, row in found.items():
            row["tokens_per_second"] = round(int(lengths.sum()) / row["seconds"], 1)
            work = operations(shape, lengths, arguments, act)
            row["mfu"] = round(work / row["seconds"] / peak, 4)
            print(
                f"{side + ', ' + act:34}{row['seconds']:>9.2f}{row['tokens_per_second']:>10,.0f}"
                f"{row['mfu']:>8.1%}{row['padding_share']:>9.1%}{row['peak_gib']:>10.2f}"
            )
        figures[side] = found
    for act in () if alone else ("training", "prediction"):
        ratio = figures["transformers.Trainer"][act]["seconds"] / figures["ours"][act]["seconds"]
        figures[f"{act}_times_faster"] = round(ratio, 2)
        print(f"{act}: {ratio:.2f} times as fast as transformers.Trainer")
    return figures


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


def matrix_peak(device: torch.device) -> float:
    """FLOP/s of a large square matrix product in the type that models run in here."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (512, torch.float32)
    a = torch.randn(size, size, device=device, dtype=dtype)
    b = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        best = min(best, seconds_of(lambda: [a @ b for _ in range(5)], device))
    return 5 * 2 * size**3 / best


if __name__ == "__main__":
    main()
