"""One epoch and one prediction of a model on a card: by this engine and by ``transformers.Trainer``.

Device, rows and settings come from gpu.py, which is the command.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
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

WINDOW = 2048
PEER_SETTINGS = ((8, False), (4, False), (2, False), (8, True))
"""Rows a batch and gradient checkpointing that Trainer may have: the fastest that fits is taken."""
PEER_TRIAL = 32
MERGED = "prediction, merged"


def ours(
    shape: dict[str, int], sequences: TokenSequences, device: torch.device, arguments: argparse.Namespace
) -> dict[str, Any]:
    """The engine: token ids and plain settings in, seconds out."""
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


def adapted(
    shape: dict[str, int], device: torch.device, arguments: argparse.Namespace
) -> tuple[ClassificationHeadModel, SimpleNamespace, loading.Policy, Callable[[], None]]:
    """Our side's model with its adapters, plain settings, number types, and what computes layers again."""
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
    return head_model, train, policy, recompute


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
    found: dict[str, Any] = {"seconds": seconds_of(call, device), "peak_gib": 0.0}
    if device.type == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        found["allocator_retries"] = torch.cuda.memory_stats(device)["num_alloc_retries"]
    return found


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
