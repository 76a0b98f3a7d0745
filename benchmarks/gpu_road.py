"""Members of every kind on one card, by the road that a user takes: recipe, folds, out-of-fold file.

    python benchmarks/gpu_road.py [--rows 240] [--only 'A; B'] [--seconds 540] [--json]  with CUDA, or says so
    python benchmarks/gpu_road.py --quick [--json]                            a tiny base, wherever it runs

Random bases of two published shapes (Llama-3.2-1B's and Gemma-2-2B's, small vocabularies) are written as
checkpoints and trained by `cross_fit` on battles of the sample arena, two folds. A random base learns
nothing: what is compared is speed, memory, and how far a variant's predictions are from those of the plain
one. `short of memory` is the plain member again while most of the card is taken by something else: the
engine then halves its micro-batches, and its predictions should be the plain ones but for the order of
sums. transformers' own road for the same shapes is in gpu.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
from architectures import tokenizer

from arena_ensemble import sample
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.language.notices import quiet
from arena_ensemble.folds import make_folds
from arena_ensemble.io import read_battles
from arena_ensemble.pipeline.cross_fit import cross_fit
from arena_ensemble.recipes import Recipe, recipe_from

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {
        **{"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64},
        "max_position_embeddings": 4096,
    },
    "gemma2": {
        **{"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26},
        **{"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "query_pre_attn_scalar": 256},
        **{"sliding_window": 1024, "max_position_embeddings": 4096},
    },
}
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 16}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2}
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("llama", "classify", {}),
    "plain again": ("llama", "classify", {}),
    "short of memory": ("llama", "classify", {}),
    "checkpointed": ("llama", "classify", {"train": {"gradient_checkpointing": True}}),
    "not checkpointed": ("llama", "classify", {"train": {"gradient_checkpointing": False}}),
    "plain kernels": ("llama", "classify", {"train": {"kernels": "plain"}}),
    "float16": ("llama", "classify", {"train": {"precision": "fp16"}}),
    "float32": ("llama", "classify", {"train": {"precision": "fp32"}}),
    "4 bits": ("llama", "classify", {"adapter": {"quantise": "4bit"}}),
    "8 bits": ("llama", "classify", {"adapter": {"quantise": "8bit"}}),
    "8-bit AdamW": ("llama", "classify", {"train": {"optimizer": "adamw-8bit"}}),
    "paged 8-bit AdamW": ("llama", "classify", {"train": {"optimizer": "adamw-paged-8bit"}}),
    "full, Kahan": (
        "llama",
        "classify",
        {"train": {"optimizer": "adamw-kahan"}, "adapter": {"kind": "full"}},
    ),
    "generate": ("llama", "generate", {}),
    "unsloth": ("llama", "classify", {"loader": "unsloth"}),
    "Gemma-2, auto": ("gemma2", "classify", {}),
    "Gemma-2, eager": ("gemma2", "classify", {"train": {"attention": "eager"}}),
    "Gemma-2, float16": ("gemma2", "classify", {"train": {"precision": "fp16"}}),
}
BESIDE = {"Gemma-2, eager": "Gemma-2, auto", "Gemma-2, float16": "Gemma-2, auto"}
"""Whose predictions a variant's are compared with; else those of `plain`."""
ELSEWHERE = ("full, Kahan", "generate", "Gemma-2, auto", "8-bit AdamW", "paged 8-bit AdamW")
"""Compared with none: another model, or another optimizer."""


def save_base(folder: Path, kind: str, quick: bool) -> None:
    """Write a random base of that shape."""
    import transformers

    words = tokenizer(kind)
    shape = {**SHAPES[kind], **(SMALL if quick else {})}
    ids = {"pad_token_id": words.pad_token_id, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.AutoConfig.for_model(kind, vocab_size=1024, **shape, **ids)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with quiet(), torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = transformers.AutoModelForCausalLM.from_config(config)
            model.save_pretrained(folder)
    finally:
        torch.set_default_dtype(before)
    words.save_pretrained(folder)


def recipe_of(name: str, base: Path, options: argparse.Namespace) -> Recipe:
    quick = options.quick
    kind, backbone, changes = VARIANTS[name]
    train = {
        "epochs": 1,
        "learning_rate": options.rate,
        "batch_rows": 16,
        "batch_tokens": 512 if quick else 32_768,
    }
    train |= changes.get("train", {})
    adapter = {"r": 16, "alpha": 32.0, **changes.get("adapter", {})}
    if adapter.get("kind") == "full":
        adapter = {"kind": "full"}
    values: dict[str, Any] = {"backbone": backbone, "base": str(base / kind), "train": train}
    values |= {"adapter": adapter, "prompt": {"max_tokens": 128 if quick else 1024}}
    if "loader" in changes:
        values["loader"] = changes["loader"]
    return recipe_from(values, name=name.lower().replace(" ", "-").replace(",", ""))


@contextmanager
def ballast(left: float) -> Iterator[None]:
    """All but ``left`` GiB of the card's free memory is taken while this lasts."""
    if not torch.cuda.is_available():
        yield
        return
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(max(0, free - int(left * 2**30)), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del taken
        torch.cuda.empty_cache()


def run(name: str, battles: Any, folds: Any, root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One member, trained and predicted out of fold; facts from its cards."""
    recipe = recipe_of(name, root / "bases", options)
    place = Workspace(root / "work" / recipe.name)
    start = time.perf_counter()
    with ballast(options.left if name == "short of memory" else 1e9):
        result = cross_fit(recipe, battles, folds, workspace=place, jobs=1)
    seconds = time.perf_counter() - start
    if result.failed:
        raise RuntimeError(str(result.failed))
    card = json.loads((MemberArtifacts(place, recipe.name).predictions / "card.json").read_text())
    facts = card["fold_facts"]
    return {
        "log_probs": result.oof(recipe.name).combined().log_probs,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(float(np.mean([fact["tokens_per_second"] or 0 for fact in facts]))),
        "peak_gib": round(max(fact.get("peak_device_bytes", 0) for fact in facts) / 2**30, 2),
        "attention": facts[0].get("attention"),
        "dtype": facts[0].get("dtype"),
        "batch_tokens": [fact.get("batch_tokens") for fact in facts],
        "gradient_checkpointing": facts[0].get("gradient_checkpointing"),
        "log_loss": round(card["log_loss"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--rate", type=float, default=1e-6, help="small: variants differ by rounding alone")
    parser.add_argument("--left", type=float, default=8.0, help="GiB left for `short of memory`")
    parser.add_argument("--only", help="these variants, separated by commas between semicolons: 'a; b'")
    parser.add_argument(
        "--seconds", type=float, default=540, help="no variant begins after so many (default %(default)s)"
    )
    parser.add_argument("--work", type=Path, help="folder to work in")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.quick and not torch.cuda.is_available():
        print("no CUDA device here: nothing measured (--quick rehearses on a tiny base)")
        return
    names = [name.strip() for name in options.only.split(";")] if options.only else list(VARIANTS)
    if options.quick and not options.only:
        names = ["plain", "plain again", "short of memory", "Gemma-2, auto"]
    began, found = time.perf_counter(), dict[str, Any]()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.work or Path(scratch)
        for kind in {VARIANTS[name][0] for name in names}:
            save_base(root / "bases" / kind, kind, options.quick)
        votes = root / "train.csv"
        rows = 40 if options.quick else options.rows
        votes.write_text(sample.files(rows=rows, test_rows=10)["train.csv"], encoding="utf-8")
        battles = read_battles(votes, need_outcomes=True)
        folds = make_folds(battles, 2, seed=0)
        print(f"{'':20}{'seconds':>9}{'tokens/s':>10}{'peak GiB':>10}{'apart':>9}  ", flush=True)
        for name in names:
            if time.perf_counter() - began > options.seconds:
                found[name] = {"error": "left out: no time"}
                print(f"{name:20}left out: {options.seconds:.0f} s are over", flush=True)
                continue
            try:
                facts = run(name, battles, folds, root, options)
            except Exception as error:  # one variant that fails must not cost the others on a lent card
                found[name] = {"error": f"{type(error).__name__}: {error}"}
                print(f"{name:20}{found[name]['error'][:1500]}", flush=True)
                continue
            ours = facts.pop("log_probs")
            beside = BESIDE.get(name, "plain")
            found[name] = facts
            if name not in ELSEWHERE and (beside == name or "log_probs" in found.get(beside, {})):
                facts["apart"] = (
                    0.0
                    if beside == name
                    else round(float(np.abs(ours - found[beside]["log_probs"]).max()), 6)
                )
            facts["log_probs"] = ours
            print(
                f"{name:20}{facts['seconds']:>9}{facts['tokens_per_second']:>10,}{facts['peak_gib']:>10}"
                f"{facts.get('apart', ''):>9}  {facts['attention']}, {facts['dtype']}, "
                f"{facts['batch_tokens']}, checkpointing {facts['gradient_checkpointing']}",
                flush=True,
            )
    for facts in found.values():
        facts.pop("log_probs", None)
    if options.json:
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        print(json.dumps({"device": name, "torch": torch.__version__, "variants": found}))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
