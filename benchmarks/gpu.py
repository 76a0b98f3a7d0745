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
import gc
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from arena_ensemble.backbones.language import adapters as _adapters
from arena_ensemble.backbones.language import loading
from arena_ensemble.backbones.language.heads import ClassificationHeadModel
from arena_ensemble.backbones.language.inference import predict_logits
from arena_ensemble.backbones.language.sequences import TokenSequences, TrainingSet
from arena_ensemble.backbones.language.speedups import liger
from arena_ensemble.backbones.language.speedups.fused_lora import fuse
from arena_ensemble.backbones.language.trainer import Trainer as Engine

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
WINDOW = 2048
MEDIAN_TOKENS, SPREAD = 588, 0.83
"""Of kaggle_head100: median tokens of a row, standard deviation of their logarithm (from mean / median)."""
PEER_SETTINGS = ((8, False), (4, False), (2, False), (8, True))
"""Rows a batch and gradient checkpointing that Trainer may have: the fastest that fits is taken."""
PEER_TRIAL = 32
MERGED = "prediction, merged"


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


def adapter_rank(arguments: argparse.Namespace) -> int:
    return 4 if arguments.quick else 64


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


def seconds_of(call: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def act(call: Callable[[], Any], device: torch.device) -> dict[str, Any]:
    """Seconds and peak device memory of a call."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found: dict[str, Any] = {"seconds": seconds_of(call, device), "peak_gib": 0.0}
    if device.type == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        found["allocator_retries"] = torch.cuda.memory_stats(device)["num_alloc_retries"]
    return found


def base(shape: dict[str, int], device: torch.device) -> Any:
    """Random weights in the device's type, made where they stay."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    config = LlamaConfig(**shape, max_position_embeddings=WINDOW, num_labels=3, pad_token_id=0)
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = LlamaForSequenceClassification(config)
    finally:
        torch.set_default_dtype(before)
    model.config.use_cache = False
    return model


def ours(
    shape: dict[str, int], sequences: TokenSequences, device: torch.device, arguments: argparse.Namespace
) -> dict[str, Any]:
    """The engine: token ids and plain settings in, seconds out."""
    model = base(shape, device)
    if arguments.liger:
        liger.apply(model)
    rank = adapter_rank(arguments)
    plain = {"target": "linear", "dropout": 0.0, "rslora": False, "dora": False, "also": (), "first_layer": 0}
    head = {"score.weight"}
    _adapters.attach(model, SimpleNamespace(kind="lora", r=rank, alpha=2.0 * rank, **plain), head)
    train = SimpleNamespace(
        **{"precision": "auto", "attention": "auto", "epochs": 1, "learning_rate": 1e-4},
        **{"head_learning_rate": None, "layer_decay": 1.0, "schedule": "cosine", "warmup": 0.1},
        **{"weight_decay": 0.0, "max_grad_norm": 1.0, "batch_rows": 16, "window": 32, "ema": 0.0},
        **{"batch_tokens": arguments.batch_tokens, "early_stopping": 0, "evaluations": 1},
        **{"checkpoint_every": 0, "checkpoint_minutes": 0.0, "packing": False},
        gradient_checkpointing=arguments.checkpointing == "on",
    )
    policy = loading.choose_policy(SimpleNamespace(train=train), model.config)
    policy = loading.Policy(
        device, policy.dtype if device.type == "cuda" else torch.float32, policy.attention
    )
    if policy.autocast:
        _adapters.float32_head(model, head)
    fuse(model)  # as the engine does, in 16 bits too
    recompute = partial(loading.recompute_activations, model)
    if train.gradient_checkpointing:
        recompute()
    head_model = ClassificationHeadModel(model).to(device)
    head_model.patch_last_layer()
    n = len(sequences)
    labels = np.arange(n) % 3
    training_set = TrainingSet(sequences, labels, np.ones(n), np.arange(n)[:, None], list(range(n)))
    warm = np.arange(min(n, 16))
    few = TokenSequences(sequences.tokens, sequences.segments, sequences.offsets, sequences.sequence[warm])
    first = TrainingSet(few, labels[warm], np.ones(len(warm)), warm[:, None], warm.tolist())
    settings: dict[str, Any] = {"policy": policy, "seed": 0, "pad_id": 0, "head": ["model.score.weight"]}
    Engine(head_model, first, train, **settings).run()  # kernels are chosen and memory is taken here
    if arguments.profile:
        profile(lambda: Engine(head_model, first, train, **settings).run(rehearse=False), "training")
    engine = Engine(
        head_model,
        training_set,
        train,
        **settings,
        recompute=recompute if arguments.checkpointing == "auto" else None,
    )
    facts: dict[str, Any] = {}
    moments: list[float] = []
    run = partial(engine.run, on_progress=lambda *_: moments.append(time.perf_counter()))
    found = {"training": act(lambda: facts.update(run()), device)}
    # the rehearsal comes once a fold, before hours of training
    whole, seconds = found["training"]["seconds"], facts["training_seconds"]
    found["training"] |= {"seconds": seconds, "rehearsal_seconds": round(whole - seconds, 3)}
    found["training"] |= {
        name: facts[name] for name in ("padding_share", "gradient_checkpointing", "batch_tokens")
    }
    found["training"]["median_step_seconds"] = round(float(np.median(np.diff(moments))), 4)
    found["training"]["longest_step_seconds"] = round(float(np.max(np.diff(moments))), 4)
    print(
        f"  steps: median {found['training']['median_step_seconds']} s, "
        f"longest {found['training']['longest_step_seconds']} s of {len(moments)}; "
        f"rehearsal {whole - seconds:.1f} s, {facts['batch_tokens']:,} tokens a micro-batch"
        f"{', layers computed again' if facts['gradient_checkpointing'] else ''}"
    )
    reading: dict[str, Any] = {"policy": policy, "pad_id": 0, "batch_tokens": 2 * arguments.batch_tokens}
    predict_logits(head_model, few, **reading)
    if arguments.profile:
        profile(lambda: predict_logits(head_model, few, **reading), "prediction")
    found["prediction"] = act(lambda: predict_logits(head_model, sequences, **reading), device)
    found["prediction"]["padding_share"] = _reading_padding(sequences, reading["batch_tokens"])
    start = time.perf_counter()
    _adapters.merge_adapters(head_model)  # as predict.merge does
    took = time.perf_counter() - start
    predict_logits(head_model, few, **reading)
    found[MERGED] = act(lambda: predict_logits(head_model, sequences, **reading), device)
    found[MERGED] |= {"padding_share": found["prediction"]["padding_share"], "merge_seconds": round(took, 3)}
    return found


def profile(call: Callable[[], Any], what: str) -> None:
    """The kernels that take most of the device's time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    with watch(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        call()
    print(f"--- {what} of 16 rows")
    for key in ("self_cuda_time_total", "self_cpu_time_total"):
        rows = sorted(found.key_averages(), key=lambda row: -getattr(row, key.replace("cuda", "device")))
        total = sum(getattr(row, key.replace("cuda", "device")) for row in rows)
        print(f"{key}: {total / 1000:.0f} ms")
        for row in rows[:22]:
            took = getattr(row, key.replace("cuda", "device")) / 1000
            print(f"  {took:9.1f} ms {row.count:6} {row.key[:100]}")


def _reading_padding(sequences: TokenSequences, budget: int) -> float:
    from arena_ensemble.backbones.language.batching import padding_share, plan_prediction

    return padding_share(plan_prediction(sequences.lengths, budget), sequences.lengths)


def peer(
    shape: dict[str, int], sequences: TokenSequences, device: torch.device, arguments: argparse.Namespace
) -> dict[str, Any]:
    """``transformers.Trainer`` on the same model: random rows, padded to the longest, by the fastest
    setting of ``PEER_SETTINGS`` that fits the card (tried on the longest rows)."""
    settings = PEER_SETTINGS[:1] if device.type == "cpu" else PEER_SETTINGS
    if arguments.checkpointing == "on":
        settings = PEER_SETTINGS[3:]
    best, chosen = float("inf"), settings[-1]
    longest = np.argsort(sequences.lengths)[::-1][:PEER_TRIAL]
    order = np.sort(longest)
    few = TokenSequences(sequences.tokens, sequences.segments, sequences.offsets, sequences.sequence[order])
    for setting in settings if len(settings) > 1 else ():
        try:
            seconds = peer_run(shape, few, device, *setting, arguments)["training"]["seconds"]
            print(f"  Trainer, {setting[0]} rows, checkpointing {setting[1]}: {seconds:.2f} s")
        except torch.cuda.OutOfMemoryError:
            print(f"  Trainer, {setting[0]} rows, checkpointing {setting[1]}: out of memory")
            seconds = float("inf")
        release(device)
        if seconds < best:
            best, chosen = seconds, setting
    # what fits the longest rows may not fit all, for the allocator's leftovers grow: then the next setting
    for setting in [chosen, *(other for other in settings[::-1] if other != chosen)]:
        try:
            found = peer_run(shape, sequences, device, *setting, arguments)
        except torch.cuda.OutOfMemoryError:
            print(f"  Trainer, {setting[0]} rows, checkpointing {setting[1]}: out of memory in the whole run")
            release(device)
            continue
        found["training"] |= {"rows_a_batch": setting[0], "checkpointing": setting[1]}
        return found
    raise SystemExit("transformers.Trainer fits this card with none of its settings")


def peer_run(
    shape: dict[str, int],
    sequences: TokenSequences,
    device: torch.device,
    batch_rows: int,
    checkpointing: bool,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """One training epoch and one prediction by ``transformers.Trainer``."""
    import peft
    import transformers

    model = base(shape, device)
    rank = adapter_rank(arguments)
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="SEQ_CLS", lora_dropout=0.0
    )
    model = peft.get_peft_model(model, config)
    if checkpointing:
        model.enable_input_require_grads()
    own = sequences.sequence[:, 0].tolist()
    rows = [
        {
            "input_ids": sequences.tokens[sequences.offsets[at] : sequences.offsets[at + 1]].astype(np.int64),
            "labels": k % 3,
        }
        for k, at in enumerate(own)
    ]
    count = {"real": 0, "padded": 0}

    def collate(part: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(row["input_ids"]) for row in part], batch_first=True, padding_value=0
        )
        count["real"] += sum(len(row["input_ids"]) for row in part)
        count["padded"] += ids.numel()
        labels = torch.tensor([row["labels"] for row in part])
        return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}

    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            learning_rate=1e-4,
            per_device_train_batch_size=batch_rows,
            per_device_eval_batch_size=8,
            gradient_accumulation_steps=16 // batch_rows,
            gradient_checkpointing=checkpointing,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            weight_decay=0.0,
            max_grad_norm=1.0,
            bf16=device.type == "cuda",
            use_cpu=device.type == "cpu",
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=device.type == "cuda",
        )

        def driver(train: list[dict[str, Any]]) -> Any:
            made = transformers.Trainer(
                model=model, args=settings, data_collator=collate, train_dataset=train
            )
            made.remove_callback(transformers.PrinterCallback)
            return made

        driver(rows[:16]).train()
        made = driver(rows)
        count.update(real=0, padded=0)
        found = {"training": act(made.train, device)}
        found["training"]["padding_share"] = round(1 - count["real"] / count["padded"], 4)
        made.predict(rows[:16])
        count.update(real=0, padded=0)
        found["prediction"] = act(lambda: made.predict(rows), device)
        found["prediction"]["padding_share"] = round(1 - count["real"] / count["padded"], 4)
    return found


def release(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
