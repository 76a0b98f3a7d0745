"""One epoch and one prediction of a model on a card by this engine, and what its peer shares with it.

Device, rows and settings come from gpu.py, which is the command; gpu_peer.py is ``transformers.Trainer``.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from arena_ensemble.backbones.language import adapters as _adapters
from arena_ensemble.backbones.language import loading
from arena_ensemble.backbones.language.batching import padding_share, plan_prediction
from arena_ensemble.backbones.language.heads import ClassificationHeadModel
from arena_ensemble.backbones.language.inference import predict_logits
from arena_ensemble.backbones.language.sequences import TokenSequences, TrainingSet
from arena_ensemble.backbones.language.speedups import liger
from arena_ensemble.backbones.language.speedups.fused_lora import fuse
from arena_ensemble.backbones.language.trainer import Trainer as Engine
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import OutOfTime

WINDOW = 2048
MERGED = "prediction, merged"
TRAINING, PREDICTION = 0.4, 0.55
"""of the whole time may be over after our training, and after our prediction; the rest is the peer's"""
Found = Iterator[tuple[str, dict[str, Any], Any]]
"""What was done, its figures, and the lengths of the rows that it was done with."""


def ours(
    shape: dict[str, int],
    sequences: TokenSequences,
    device: torch.device,
    arguments: argparse.Namespace,
    limit: Deadline,
) -> Found:
    """The engine: token ids and plain settings in, seconds out."""
    start, whole_time = limit.clock(), limit.remaining()
    head_model, train, policy, recompute = adapted(shape, device, arguments)
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
    yield (
        "training",
        *_trained(engine, sequences, device, Deadline(start + TRAINING * whole_time, limit.clock)),
    )
    reading: dict[str, Any] = {"policy": policy, "pad_id": 0, "batch_tokens": 2 * arguments.batch_tokens}
    padding = _reading_padding(sequences, reading["batch_tokens"])

    def predict(some: TokenSequences) -> None:
        predict_logits(head_model, some, **reading)

    predict(few)
    if arguments.profile:
        profile(lambda: predict(few), "prediction")
    yield (
        "prediction",
        {**act(lambda: predict(sequences), device), "padding_share": padding},
        sequences.lengths,
    )
    if limit.clock() - start > PREDICTION * whole_time:
        print(f"  {MERGED}: left out, the rest of the time is the peer's", flush=True)
        return
    began = time.perf_counter()
    _adapters.merge_adapters(head_model)  # as predict.merge does
    took = round(time.perf_counter() - began, 3)
    predict(few)
    row = act(lambda: predict(sequences), device)
    yield MERGED, {**row, "padding_share": padding, "merge_seconds": took}, sequences.lengths


def _trained(
    engine: Engine, sequences: TokenSequences, device: torch.device, deadline: Deadline
) -> tuple[dict[str, Any], Any]:
    """Figures of one epoch, or of the steps that there was time for, and the lengths of their rows."""
    facts: dict[str, Any] = {}
    moments: list[float] = []

    def run() -> None:
        steps = partial(engine.run, on_progress=lambda *_: moments.append(time.perf_counter()))
        with suppress(OutOfTime):
            facts.update(steps(deadline=deadline))

    row, plan = act(run, device), engine.plan(0)
    if len(moments) < 2:
        raise RuntimeError("our training had no time for two steps; give --seconds more")
    each = np.diff(moments)
    if facts:  # the rehearsal comes once a fold, before hours of training
        seconds, done, ended = facts["training_seconds"], plan, "whole"
        row["rehearsal_seconds"] = round(row["seconds"] - seconds, 3)
    else:
        seconds, done, ended = float(each.sum()), plan[1 : len(moments)], "time"
    rows = np.concatenate([micro for step in done for micro in step])
    micro = [part for step in done for part in step]
    row |= {"seconds": seconds, "ended": ended, "padding_share": padding_share(micro, sequences.lengths)}
    row["gradient_checkpointing"] = engine.gradients.recomputes
    row["batch_tokens"] = engine.gradients.budget.tokens
    row["median_step_seconds"] = round(float(np.median(each)), 4)
    row["longest_step_seconds"] = round(float(np.max(each)), 4)
    again = ", layers computed again" if row["gradient_checkpointing"] else ""
    print(
        f"  steps: median {row['median_step_seconds']} s, longest {row['longest_step_seconds']} s of "
        f"{len(moments)}; rehearsal {row.get('rehearsal_seconds', 0):.1f} s, "
        f"{row['batch_tokens']:,} tokens a micro-batch{again}",
        flush=True,
    )
    return row, sequences.lengths[rows]


def adapted(
    shape: dict[str, int], device: torch.device, arguments: argparse.Namespace
) -> tuple[ClassificationHeadModel, SimpleNamespace, loading.Policy, Callable[[], None]]:
    """Our side's model with its adapters, plain settings, number types, and what computes layers again."""
    model = base(shape, device)
    fast = liger.wanted(arguments.kernels, model.config, cuda=device.type == "cuda")
    if fast:
        liger.apply(model)
    print(f"  kernels: {'liger' if fast else 'plain'}", flush=True)
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
    return head_model, train, policy, recompute


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


def adapter_rank(arguments: argparse.Namespace) -> int:
    return 4 if arguments.quick else 64


def act(call: Callable[[], Any], device: torch.device) -> dict[str, Any]:
    """Seconds and peak device memory of a call."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found: dict[str, Any] = {"seconds": seconds_of(call, device), "peak_gib": peak_gib(device)}
    if device.type == "cuda":
        found["allocator_retries"] = torch.cuda.memory_stats(device)["num_alloc_retries"]
    return found


def peak_gib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def seconds_of(call: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def release(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


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
    return padding_share(plan_prediction(sequences.lengths, budget), sequences.lengths)
