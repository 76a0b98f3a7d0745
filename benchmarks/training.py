"""This engine against ``transformers.Trainer``: five folds from texts to held-out log-probabilities.

    python benchmarks/training.py [--case NAME …] [--rows N] [--repeats N] [--passive] [--quick] [--json]
    python benchmarks/training.py --beside loops --beside openmp [--limit SECONDS] …

Real votes at a 1,024-token window; every row has the length it has. Two files (``--votes``): a quarter of
mtbench's texts fill the window, so little can be saved by padding less; tulu1's differ more. The bases
have random weights and the shapes of published small models: an encoder as google/bert_uncased_L-4_H-128
(30,522 words), and a Llama of 4 layers, 128 wide, with 32,000 words. The peers are in
``training_sides.py``: ``Trainer`` with random batches padded to the longest, and the same with
``train_sampling_strategy="group_by_length"``. Each side runs in a process of its own that has warmed up,
``--repeats`` times, in alternation; seconds are medians. Processor seconds stand beside those of the clock:
with ``--threads 1`` they say the same on an idle machine and still do on a busy one. Peak memory is of the
whole process. ± is one standard error clustered by prompt.

Threads of OpenMP that wait for each other spin, which on a machine with other work takes cores from those
that have something to do. ``--passive`` puts them to sleep in all sides (``OMP_WAIT_POLICY=passive``, as our
command line sets it for its workers).

``--beside`` has two jobs that never end beside the runs: Python loops, or products and sums of two OpenMP
threads each, which wait as libgomp does by default; given twice, in turns. The sides are then ours as our
command line starts it (threads asleep), Trainer as it comes (libgomp's default), and Trainer with threads
asleep too. A run that takes longer than ``--limit`` is ended and counts as so long.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_runs import ASLEEP, BESIDE, Side, alternate

from arena_ensemble.backbones.language.loading import quiet
from arena_ensemble.folds import make_folds
from arena_ensemble.io import read_battles
from arena_ensemble.metrics import log_loss, paired_difference, row_losses, standard_error
from arena_ensemble.prompts import get_template, turns_of

SIDES = ("ours", "trainer", "trainer, grouped by length")
BUSY_SIDES = ("ours", "trainer", ASLEEP)
ENCODER = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "hidden_dropout_prob": 0.0,  # as ModernBERT has it; fused attention on a CPU knows no dropout
    "attention_probs_dropout_prob": 0.0,
}
DECODER = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 344,
}
CASES: dict[str, dict[str, Any]] = {
    "encoder-classify": {"base": "bert", "head": "classify", "rows": 120},
    "decoder-classify": {"base": "llama", "head": "classify", "rows": 120},
    "decoder-generate": {"base": "llama", "head": "generate", "rows": 40},
}
SETTINGS = {
    "folds": 5,
    "epochs": 1,
    "learning_rate": 2e-3,
    "batch_rows": 8,
    "max_tokens": 1024,
    "r": 16,
    "seed": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument(
        "--votes", action="append", help="a file under DATA/votes; default: tulu1 and mtbench, --quick: tulu1"
    )
    parser.add_argument(
        "--case", choices=list(CASES), action="append", help="default: all, --quick: decoder-classify"
    )
    parser.add_argument("--rows", type=int, help="battles per case, drawn at random")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--passive", action="store_true", help="waiting threads sleep, in all sides")
    parser.add_argument(
        "--profile", action="store_true", help="one run more under a profiler: what takes time"
    )
    parser.add_argument(
        "--beside", choices=list(BESIDE), action="append", help="two busy jobs beside the runs"
    )
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a run is ended")
    parser.add_argument("--quick", action="store_true", help="40 rows, one run, two layers of 64")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    arguments = parser.parse_args()
    figures = {}
    for file in arguments.votes or (["tulu1"] if arguments.quick else ["tulu1", "mtbench"]):
        votes = arguments.data / "votes" / f"{file}.csv"
        if not votes.is_file():
            print(f"skipped: {votes} is not here")
            continue
        with tempfile.TemporaryDirectory() as folder:
            for case in arguments.case or (["decoder-classify"] if arguments.quick else list(CASES)):
                for kind, found in measure(case, votes, Path(folder), arguments).items():
                    name = f"{file}, {case}{kind and f', beside {kind}'}"
                    figures[name] = found
                    show(name, found)
    if arguments.json:
        print(json.dumps(figures))


def measure(name: str, votes: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """One case on all sides: what was busy beside it, "" for nothing → figures."""
    case = CASES[name]
    battles = read_battles(votes, need_outcomes=True)
    base = folder / f"{case['base']}"
    if not base.exists():
        build(case["base"], battles, base, quick=arguments.quick)
    count = arguments.rows or (40 if arguments.quick else case["rows"])
    rows = np.sort(np.random.default_rng(0).permutation(len(battles))[:count])
    chosen = battles.take(rows)
    folds = make_folds(chosen, SETTINGS["folds"])
    np.savez(folder / "rows.npz", row=rows, fold=folds.fold)
    job = {**SETTINGS, "base": str(base), "head": case["head"], "votes": str(votes)}
    job |= {"rows": str(folder / "rows.npz"), "threads": arguments.threads}
    repeats = 1 if arguments.quick else arguments.repeats
    sides = BUSY_SIDES if arguments.beside else SIDES
    before = os.getloadavg()[0]
    group = [Side(name, number, job, folder, arguments) for number, name in enumerate(sides)]
    kinds = arguments.beside or [""]
    runs = alternate(group, kinds, repeats, profile=arguments.profile)
    found: dict[str, Any] = {"rows": count, "repeats": repeats, "threads": arguments.threads}
    waiting = "asleep" if arguments.passive else "as each side has it" if arguments.beside else "default"
    found |= {"waiting": waiting, "load": [round(before, 1), round(os.getloadavg()[0], 1)]}
    y, group_of = chosen.outcomes(), folds.group
    return {kind: found | {"beside": kind} | figures_of(runs[kind], folder, y, group_of) for kind in kinds}


def figures_of(runs: dict[str, list[dict[str, Any]]], folder: Path, y: Any, group: Any) -> dict[str, Any]:
    """Side → its figures."""
    sides, losses, found = list(runs), {}, dict[str, Any]()
    for number, side in enumerate(sides):
        seconds = statistics.median(run["seconds"] for run in runs[side])
        worked = statistics.median(run["processor"] for run in runs[side])
        found[side] = {
            "seconds": round(seconds, 2),
            "processor_seconds": round(worked, 2),
            "all_seconds": [round(run["seconds"], 2) for run in runs[side]],
            "all_processor_seconds": [round(run["processor"], 2) for run in runs[side]],
            "ended_by_the_limit": sum("real" not in run for run in runs[side]),
        }
        facts = next((run for run in reversed(runs[side]) if "real" in run), None)
        if facts is None:
            continue
        log_probs = np.load(folder / f"{number}.npy")
        losses[side] = row_losses(log_probs, y)
        found[side] |= {
            "parts": {part: round(value, 2) for part, value in facts["parts"].items()},
            "profile": facts.get("profile"),
            "tokens_per_second": round((facts["real"] + facts["read"]) / seconds),
            "padding_share": round(1 - facts["real"] / facts["padded"], 4),
            "peak_mib": round(facts["peak_mib"]),
            "before_mib": round(facts["before_mib"]),
            "trained_parameters": facts["trained_parameters"],
            "log_loss": round(log_loss(log_probs, y), 5),
            "standard_error": round(standard_error(losses[side], group), 5),
        }
    for side in sides[1:]:
        for times, unit in (("times_ours", "seconds"), ("processor_times_ours", "processor_seconds")):
            found[side][times] = round(found[side][unit] / found["ours"][unit], 2)
        if {"ours", side} <= losses.keys():
            pair = paired_difference(losses["ours"], losses[side], group)
            found[side]["ours_minus_its_log_loss"] = [round(pair.mean, 5), round(pair.se, 5)]
    tokens = {run["real"] for side in sides for run in runs[side] if "real" in run}
    assert len(tokens) <= 1, f"the sides trained on different tokens: {tokens}"
    return found


def build(kind: str, battles: Any, folder: Path, *, quick: bool) -> None:
    """A base of random weights with a tokenizer of the votes' own texts, saved as a checkpoint is."""
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    size = 30_522 if kind == "bert" else 32_000
    pairs = ByteLevelBPETokenizer()
    turns = turns_of(battles, get_template("plain-1"))
    texts = {turn: None for column in turns for battle in column for turn in battle}
    verdicts = [f"Better response: {word}" for word in ("A", "B", "tie")] * 50
    special = ["[PAD]", "[CLS]", "[SEP]"]
    pairs.train_from_iterator(
        [*texts, *verdicts], vocab_size=size, min_frequency=2, special_tokens=special, show_progress=False
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if kind == "llama":
        names = {"pad_token": "[PAD]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=pairs._tokenizer, **names)
    words.save_pretrained(folder)
    shape = dict(ENCODER if kind == "bert" else DECODER)
    if quick:
        shape |= {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=size,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=shape["hidden_size"] ** -0.5,
        **shape,
    )
    loader = transformers.AutoModelForMaskedLM if kind == "bert" else transformers.AutoModelForCausalLM
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        loader.from_config(config).save_pretrained(folder)


def show(name: str, found: dict[str, Any]) -> None:
    size = f"{found['rows']} rows, {found['threads']} threads, waiting: {found['waiting']}"
    beside = f", two jobs beside: {found['beside']}" if found["beside"] else ""
    print(f"\n{name}: {size}, median of {found['repeats']}, load {found['load']}{beside}")
    print(
        f"{'':28}{'seconds':>9}{'x ours':>8}{'processor':>11}{'x ours':>8}{'tokens/s':>10}{'padding':>9}"
        f"{'peak MiB':>10}{'log-loss':>10}{'±':>8}{'ours - it':>11}{'±':>8}"
    )
    sides = [side for side in (*SIDES, ASLEEP) if side in found]
    for side in sides:
        row = found[side]
        ratio = f"{row['times_ours']:.2f}" if "times_ours" in row else ""
        worked = f"{row['processor_times_ours']:.2f}" if ratio else ""
        line = f"{side:28}{row['seconds']:>9.2f}{ratio:>8}{row['processor_seconds']:>11.2f}{worked:>8}"
        if "log_loss" in row:
            line += f"{row['tokens_per_second']:>10,}{row['padding_share']:>9.1%}{row['peak_mib']:>10,}"
            line += f"{row['log_loss']:>10.4f}{row['standard_error']:>8.4f}"
        if "ours_minus_its_log_loss" in row:
            mean, error = row["ours_minus_its_log_loss"]
            line += f"{mean:>11.4f}{error:>8.4f}"
        if row["ended_by_the_limit"]:
            line += f"  {row['ended_by_the_limit']} of {found['repeats']} runs ended by --limit"
        print(line)
    for side in sides:
        if spent := found[side].get("profile"):
            print(f"{side}, profiled: " + ", ".join(f"{kind} {s:.1f} s" for kind, s in spent.items()))


if __name__ == "__main__":
    main()
