"""``transformers.Trainer`` on the model of gpu.py: the fastest setting that fits, a figure whatever happens.

Device, rows and settings come from gpu.py, which is the command.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gpu_sides import Found, act, adapter_rank, base, peak_gib, release, seconds_of

from arena_ensemble.backbones.language.out_of_memory import is_out_of_memory
from arena_ensemble.backbones.language.sequences import TokenSequences
from arena_ensemble.deadline import Deadline

SETTINGS = ((8, False), (4, False), (2, False), (8, True))
"""Rows a batch, and whether layers are computed again in the backward pass."""
STEP_ROWS = 16
TRIAL_ROWS = 32
ROOM = 0.88
"""of the card's memory may be taken at a trial's peak: over many shapes the allocator's leftovers grow"""
LEAST_STEPS = 4
"""Optimizer steps before memory ran out that are enough for a figure."""
TRIALS, TRAINING = 0.35, 0.6
"""of the time left may go into the trials, and then into training."""
Setting = tuple[int, bool]
Rows = list[dict[str, Any]]


def peer(
    shape: dict[str, int],
    sequences: TokenSequences,
    device: torch.device,
    arguments: argparse.Namespace,
    limit: Deadline,
) -> Found:
    """One training epoch and one prediction: random rows, padded to the longest.

    A run is stopped when its share of the time is over, or by memory: what its steps took until then counts,
    for the rows of these steps.
    """
    model, rows = _model(shape, device, arguments), _rows(sequences)
    for setting in _by_speed(model, rows, device, arguments, limit):
        run = Run(model, rows, setting, device, time.perf_counter() + TRAINING * limit.remaining())
        ended = run.train()
        if ended == "memory" and run.steps < LEAST_STEPS:
            print(f"  Trainer, {_named(setting)}: out of memory in the run over all rows", flush=True)
            run.close()
            continue
        row = {
            "seconds": run.seconds,
            "peak_gib": peak_gib(device),
            "setting": _named(setting),
            "ended": ended,
        }
        yield "training", {**row, "padding_share": run.padding_share(run.done)}, run.lengths(run.done)
        run.close()
        yield _prediction(model, rows, setting, device, limit)
        return
    print("  Trainer: none of its settings ran", flush=True)


def _by_speed(
    model: Any, rows: Rows, device: torch.device, arguments: argparse.Namespace, limit: Deadline
) -> Iterator[Setting]:
    """The settings, the fastest on the longest rows first; those without room to spare come last."""
    settings = SETTINGS[:1] if arguments.quick else SETTINGS
    if arguments.checkpointing == "on":
        settings = SETTINGS[3:]
    if len(settings) == 1:
        yield from settings
        return
    longest = sorted(rows, key=lambda row: -len(row["input_ids"]))[:TRIAL_ROWS]
    until, tried = time.perf_counter() + TRIALS * limit.remaining(), list[tuple[bool, float, Setting]]()
    cuda = device.type == "cuda"
    total = torch.cuda.get_device_properties(device).total_memory / 2**30 if cuda else float("inf")
    for setting in settings:
        if tried and time.perf_counter() > until:
            break
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        run = Run(model, longest, setting, device, float("inf"))
        ended, peak = run.train(), peak_gib(device)
        steps = np.diff(run.moments[-2:])  # the first step chooses kernels
        seconds = float(steps[0]) if ended == "whole" and len(steps) else float("inf")
        text = "out of memory" if ended == "memory" else f"{seconds:.2f} s a step of the longest rows"
        print(f"  Trainer, {_named(setting)}: {text}, {peak:.1f} of {total:.1f} GiB", flush=True)
        run.close()
        if ended != "memory":
            tried.append((peak > ROOM * total, seconds, setting))
    yield from (setting for _, _, setting in sorted(tried))


def _prediction(
    model: Any, rows: Rows, setting: Setting, device: torch.device, limit: Deadline
) -> tuple[str, dict[str, Any], Any]:
    run = Run(model, rows, setting, device, float("inf"))
    few = rows[: 2 * STEP_ROWS]
    run.made.predict(few)
    trial = seconds_of(lambda: run.made.predict(few), device)
    fit = int(0.8 * max(0.0, limit.remaining()) / trial * len(few))
    some = rows[: max(len(few), fit)]
    run.seen.clear()
    found = act(lambda: run.made.predict(some), device)
    row = {**found, "padding_share": run.padding_share(len(some))}
    run.close()
    return "prediction", row, run.lengths(len(some))


class Run:
    """One ``Trainer`` over rows, with the moments of its steps.

    Parameters
    ----------
    until
        The moment of ``time.perf_counter`` after which it stops, at the end of a step.
    """

    def __init__(self, model: Any, rows: Rows, setting: Setting, device: torch.device, until: float) -> None:
        import transformers

        self.device, self.until, self.rows = device, until, rows
        self.start, self.moments = 0.0, list[float]()
        self.seen: list[tuple[list[int], int]] = []  # lengths of each batch as it was padded, and its width
        self.seconds = 0.0
        batch_rows, checkpointing = setting
        _compute_again(model, checkpointing)
        self.folder = tempfile.TemporaryDirectory()
        settings = transformers.TrainingArguments(
            output_dir=self.folder.name,
            num_train_epochs=1,
            learning_rate=1e-4,
            per_device_train_batch_size=batch_rows,
            per_device_eval_batch_size=8,
            gradient_accumulation_steps=STEP_ROWS // batch_rows,
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
        run = self

        class Watch(transformers.TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                run.start = time.perf_counter()

            def on_step_end(self, _: Any, __: Any, control: Any, **___: Any) -> None:
                # Trainer looks at each loss for NaN, so the device is at most a step behind
                run.moments.append(time.perf_counter())
                control.should_training_stop = run.moments[-1] > run.until

        self.made = transformers.Trainer(
            model=model, args=settings, data_collator=self._collate, train_dataset=rows, callbacks=[Watch()]
        )
        self.made.remove_callback(transformers.PrinterCallback)

    def train(self) -> str:
        """Train; how it ended: ``whole``, by ``time``, or for want of ``memory``."""
        try:
            self.made.train()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            ended = "memory"
        else:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
                self.moments[-1:] = [time.perf_counter()]
            ended = "whole" if self.steps * STEP_ROWS >= len(self.rows) else "time"
        self.seconds = self.moments[-1] - self.start if self.moments else 0.0
        return ended

    @property
    def steps(self) -> int:
        """Optimizer steps that were taken."""
        return len(self.moments)

    @property
    def done(self) -> int:
        """Rows of these steps."""
        return min(STEP_ROWS * self.steps, len(self.rows))

    def lengths(self, rows: int) -> Any:
        """Lengths of the first so many rows, in the order in which they were taken."""
        return np.asarray([length for lengths, _ in self.seen for length in lengths][:rows])

    def padding_share(self, rows: int) -> float:
        """Padding among all tokens of the batches of these rows."""
        real, padded, count = 0, 0, 0
        for lengths, width in self.seen:
            if count >= rows:
                break
            real, padded, count = real + sum(lengths), padded + width * len(lengths), count + len(lengths)
        return round(1 - real / padded, 4) if padded else 0.0

    def close(self) -> None:
        """Give back what the run held; its figures stay."""
        model = self.made.model
        self.made = None
        for name in ("forward", "_original_forward"):  # accelerate's wrapper around the model's own
            model.__dict__.pop(name, None)
        model.zero_grad(set_to_none=True)
        self.folder.cleanup()
        release(self.device)

    def _collate(self, part: Rows) -> dict[str, torch.Tensor]:
        tensors = [torch.from_numpy(row["input_ids"]) for row in part]
        ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=0)
        self.seen.append(([len(row) for row in tensors], ids.shape[1]))
        labels = torch.tensor([row["labels"] for row in part])
        return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}


def _compute_again(model: Any, on: bool) -> None:
    """Trainer turns it on by itself; turning it off, and the inputs' gradients, are left to us."""
    if on:
        model.enable_input_require_grads()
        return
    for name in ("activation_checkpointing_disable", "gradient_checkpointing_disable"):
        if hasattr(model, name):
            getattr(model, name)()
            break
    hooks = ("_require_grads_hooks", "_require_grads_hook")
    if any(getattr(model.get_base_model(), name, None) for name in hooks):
        model.disable_input_require_grads()


def _model(shape: dict[str, int], device: torch.device, arguments: argparse.Namespace) -> Any:
    import peft

    rank = adapter_rank(arguments)
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="SEQ_CLS", lora_dropout=0.0
    )
    return peft.get_peft_model(base(shape, device), config)


def _rows(sequences: TokenSequences) -> Rows:
    bounds = [(sequences.offsets[at], sequences.offsets[at + 1]) for at in sequences.sequence[:, 0].tolist()]
    return [
        {"input_ids": sequences.tokens[a:b].astype(np.int64), "labels": k % 3}
        for k, (a, b) in enumerate(bounds)
    ]


def _named(setting: Setting) -> str:
    return f"{setting[0]} rows a batch{', layers computed again' if setting[1] else ''}"
