"""The two sides of ``training.py``: this engine, and ``transformers.Trainer`` as notebooks use it.

A side is a process of its own. It waits for a line on its standard input, goes through five folds from
texts to held-out log-probabilities, and writes one JSON line. Both sides read the same token ids (the
project's template and cut), train the same LoRA with the same optimizer, rows per step, epochs and
schedule in float32, and use the same number of threads.

The peer loads the base and tokenises once per fold, pads eight random rows to the longest, and computes
a generation head's logits over the whole vocabulary at every position. In its favour: its loss is
choice-only cross-entropy as ours (the full one learns slower), nothing is evaluated, saved or logged
during training, held-out rows are read without gradients, sorted by length in the grouped variant (with
``group_by_length`` a Trainer's ``predict`` returns rows in another order; the sampler is set back first),
and only three logits of the last position leave the device.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "linear")
HEAD = {"classify": ["score", "classifier", "pooler"], "generate": []}


@dataclass
class Count:
    """Tokens of one run."""

    real: int = 0
    padded: int = 0
    read: int = 0
    trained_parameters: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def recipe_of(job: dict[str, Any], base: Path) -> Any:
    from arena_ensemble.recipes import recipe_from

    train = {key: job[key] for key in ("epochs", "learning_rate", "batch_rows")}
    return recipe_from(
        {
            "backbone": job["head"],
            "base": str(base),
            "seed": job["seed"],
            "prompt": {"max_tokens": job["max_tokens"]},
            "train": {**train, "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.0},
            "adapter": {"r": job["r"], "alpha": 2.0 * job["r"]},
        },
        name="benchmark",
    )


def ours(job: dict[str, Any], battles: Any, fold: Any, work: Path) -> tuple[Any, Count]:
    """Five folds through the backbone contract: prepare once; fit and predict per fold."""
    from arena_ensemble import backbones

    recipe, count = recipe_of(job, Path(job["base"])), Count()
    module: Any = backbones.get(job["head"])
    cache = work / "cache"
    log_probs = np.full((len(battles), 3), np.nan)
    start = time.perf_counter()
    module.prepare(battles, recipe=recipe, cache=cache)
    lap(count, "tokenise", start)
    for k in range(job["folds"]):
        held = np.flatnonzero(fold == k)
        folder = work / f"fold-{k}"
        folder.mkdir()
        start = time.perf_counter()
        fitted = module.fit(
            battles.take(np.flatnonzero(fold != k)), recipe=recipe, folder=folder, cache=cache
        )
        start = lap(count, "fit", start)
        rows = battles.take(held).without_outcomes()
        log_probs[held] = module.predict(fitted, rows)
        lap(count, "read", start)
        real = fitted.facts["training_tokens"]
        count.real += real
        count.padded += round(real / (1 - fitted.facts["padding_share"]))
        count.read += int(fitted.encoder.joined(fitted.encoder.encode(rows)).real_tokens.sum())
        count.trained_parameters = fitted.facts["trained_parameters"]
    return log_probs, count


def trainer(job: dict[str, Any], battles: Any, fold: Any, work: Path) -> tuple[Any, Count]:
    """Five folds as a notebook goes through them with ``transformers.Trainer`` and PEFT."""
    count = Count()
    log_probs = np.full((len(battles), 3), np.nan)
    labels = battles.outcomes()
    for k in range(job["folds"]):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        log_probs[held] = _trainer_fold(job, battles, train, held, labels, work / f"fold-{k}", count)
    return log_probs, count


def _trainer_fold(
    job: dict[str, Any], battles: Any, train: Any, held: Any, labels: Any, folder: Path, count: Count
) -> Any:
    import peft
    import transformers

    from arena_ensemble.backbones.language import loading
    from arena_ensemble.backbones.language.encoder import PromptEncoder

    start = time.perf_counter()
    recipe = recipe_of(job, Path(job["base"]))
    encoder = PromptEncoder.open(
        recipe, loading.source_of(recipe, folder), folder / "no-cache"
    )  # tokenises again
    rows = {name: _examples(encoder, battles.take(k), labels[k]) for name, k in (("t", train), ("h", held))}
    start = lap(count, "tokenise", start)
    generate = job["head"] == "generate"
    torch.manual_seed(job["seed"])
    options = {} if generate else {"num_labels": 3}
    loader = "AutoModelForCausalLM" if generate else "AutoModelForSequenceClassification"
    model = getattr(transformers, loader).from_pretrained(job["base"], dtype=torch.float32, **options)
    model.config.use_cache = False
    model.config.pad_token_id = encoder.pad_id
    saved = [name for name in HEAD[job["head"]] if any(name in n for n, _ in model.named_modules())]
    settings = peft.LoraConfig(
        r=job["r"],
        lora_alpha=2 * job["r"],
        target_modules=_layers_of(model),
        modules_to_save=saved or None,
        task_type="CAUSAL_LM" if generate else "SEQ_CLS",
    )
    model = peft.get_peft_model(model, settings)
    count.trained_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    verdicts = _verdicts(encoder) if generate else None
    grouped = job["side"] == "trainer, grouped by length"
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=job["epochs"],
        learning_rate=job["learning_rate"],
        per_device_train_batch_size=job["batch_rows"],
        per_device_eval_batch_size=job["batch_rows"],
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=job["seed"],
        use_cpu=True,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        train_sampling_strategy="group_by_length" if grouped else "random",
    )
    collator = Collator(encoder.pad_id, count, positions=generate)
    driver = transformers.Trainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=Examples(rows["t"]),
        compute_loss_func=_choice_loss(verdicts) if generate else None,
        preprocess_logits_for_metrics=_chosen(verdicts) if generate else None,
    )
    start = lap(count, "load", start)
    driver.train()
    start = lap(count, "fit", start)
    driver.args.train_sampling_strategy = "random"
    collator.training = False
    order = np.arange(len(held))
    if grouped:
        order = np.argsort([-len(row["input_ids"]) for row in rows["h"]], kind="stable")
    logits = driver.predict(Examples([rows["h"][j] for j in order])).predictions
    found = np.empty((len(held), 3))
    found[order] = torch.log_softmax(torch.from_numpy(np.asarray(logits)).double(), dim=1).numpy()
    lap(count, "read", start)
    return found


def lap(count: Count, name: str, start: float) -> float:
    now = time.perf_counter()
    count.seconds[name] = count.seconds.get(name, 0.0) + now - start
    return now


class Examples(torch.utils.data.Dataset[dict[str, Any]]):
    """A list as a data set."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


class Collator:
    """Pads to the longest row of the batch, on the right, with a mask; counts training tokens."""

    def __init__(self, pad_id: int, count: Count, *, positions: bool) -> None:
        self.pad_id, self.count, self.positions, self.training = pad_id, count, positions, True

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(row["input_ids"]) for row in rows], batch_first=True, padding_value=self.pad_id
        )
        real = int(lengths.sum())
        if self.training:
            self.count.real += real
            self.count.padded += ids.numel()
        else:
            self.count.read += real
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        labels = torch.tensor([row["labels"] for row in rows])
        if self.positions:  # a fetched batch runs ahead of the loss, so each carries its last places along
            labels = torch.stack([labels, lengths - 1], dim=1)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _examples(encoder: Any, battles: Any, labels: Any) -> list[dict[str, Any]]:
    [encoded] = encoder.encode(battles.without_outcomes())
    starts = encoded.offsets.tolist()
    return [
        {"input_ids": encoded.tokens[a:b].astype(np.int64), "labels": int(label)}
        for a, b, label in zip(starts[:-1], starts[1:], labels, strict=True)
    ]


def _layers_of(model: Any) -> list[str]:
    """The linear layers inside the transformer's layers: those that this engine adapts too."""
    from arena_ensemble.backbones.language.adapters import layer_of

    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and layer_of(f"{name}.") is not None
    ]


def _verdicts(encoder: Any) -> torch.Tensor:
    from arena_ensemble.backbones.language.template_tokens import verdict_ids

    return torch.tensor(verdict_ids(encoder.tokenizer, encoder.recipe.prompt))


def _choice_loss(verdicts: torch.Tensor) -> Callable[..., torch.Tensor]:
    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(_last(outputs.logits, labels, verdicts), labels[:, 0])

    return loss


def _last(logits: torch.Tensor, labels: torch.Tensor, verdicts: torch.Tensor) -> torch.Tensor:
    return logits[torch.arange(len(logits)), labels[:, 1]][:, verdicts]


def _chosen(verdicts: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda logits, labels: _last(logits, labels, verdicts)


def main() -> None:
    job = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # a Trainer prints its last figures
    torch.set_num_threads(job["threads"])
    import peft  # noqa: F401
    import transformers

    from arena_ensemble.io import read_battles

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rows = np.load(job["rows"])
    battles = read_battles(Path(job["votes"]), need_outcomes=True).take(rows["row"])
    side = ours if job["side"] == "ours" else trainer
    with tempfile.TemporaryDirectory() as work:  # first calls load libraries and plan their kernels
        side({**job, "folds": 2}, battles.take(np.arange(12)), np.arange(12) % 2, Path(work))
    before = peak()
    print("warm", file=answers, flush=True)  # the other sides wait until all are
    for line in sys.stdin:
        if line.strip() == "profile":
            with tempfile.TemporaryDirectory() as work:
                spent = profiled(lambda folder=Path(work): side(job, battles, rows["fold"], folder))
            print(json.dumps(spent), file=answers, flush=True)
            continue
        with tempfile.TemporaryDirectory() as work:
            start, worked = time.perf_counter(), time.process_time()
            log_probs, count = side(job, battles, rows["fold"], Path(work))
            seconds, worked = time.perf_counter() - start, time.process_time() - worked
        np.save(line.strip(), log_probs)
        facts = {**vars(count), "parts": count.seconds, "seconds": seconds, "processor": worked}
        facts |= {"peak_mib": peak(), "before_mib": before}
        print(json.dumps(facts), file=answers, flush=True)


def profiled(run: Callable[[], Any]) -> dict[str, float]:
    """Seconds of a run by kind of work; the rest is small operators, Python, reading and writing."""
    start = time.perf_counter()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    spent = {"matrix products": 0.0, "attention": 0.0, "the rest": time.perf_counter() - start}
    for row in profile.key_averages():
        seconds = row.self_cpu_time_total / 1e6
        name = row.key.removeprefix("aten::").strip("_")
        kind = (
            "attention" if "scaled_dot_product" in name else "matrix products" if name in PRODUCTS else None
        )
        if kind is not None:
            spent[kind] += seconds
            spent["the rest"] -= seconds
    return {kind: round(seconds, 2) for kind, seconds in spent.items()}


def peak() -> float:
    """Largest resident memory of this process so far, MiB (``ru_maxrss`` would inherit the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
