"""Exported models: PEFT and transformers alone, in a new process, must give the fold's own logits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language import peft_export
from arena_ensemble.backbones.registry import engine_of
from arena_ensemble.battles import TEXTS, Battles
from arena_ensemble.errors import RecipeError

READER = """
import json, sys, numpy as np, torch, transformers, peft
torch.set_num_threads(1)
transformers.utils.logging.set_verbosity_error()
for case in json.load(open(sys.argv[1])):
    kind = "AutoModelForCausalLM" if case["causal"] else "AutoModelForSequenceClassification"
    more = {} if case["causal"] else {"num_labels": case["labels"]}
    if case["base"]:
        model = getattr(transformers, kind).from_pretrained(case["base"], dtype=torch.float32, **more)
        model = peft.PeftModel.from_pretrained(model, case["folder"])
    else:
        model, report = getattr(transformers, kind).from_pretrained(
            case["folder"], dtype=torch.float32, output_loading_info=True
        )
        assert not report["missing_keys"] and not report["mismatched_keys"], report
    model.eval()
    found = []
    for ids in case["rows"]:
        ids = torch.tensor([ids])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        found.append(logits[-1] if case["causal"] else logits)
    np.save(case["out"], torch.stack(found).numpy())
"""
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "classify", {"adapter": {"r": 3, "alpha": 5}}),
    "upper": ("llama", "classify", {"adapter": {"first_layer": 1, "target": "attention", "dora": True}}),
    "beside": ("llama", "generate", {"adapter": {"also": ["embeddings", "norms"], "rslora": True}}),
    "bert": ("bert", "classify", {}),
    "gpt2": ("gpt2", "generate", {}),
    "reward": ("llama", "reward", {}),
    "full": ("llama", "classify", {"adapter": {"kind": "full"}}),
}
ROWS = (0, 5, 7)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any, Any]]:
    """Per case: the fold's own logits, and PEFT's and the merged model's of another process."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("export")
    jobs, own = [], {}
    for name, (kind, head, sections) in CASES.items():
        base = root / kind
        if not base.is_dir():
            save_base(base, kind)
        chosen, module = recipe(base, head, **sections), backbones.get(head)
        engine, fold = engine_of(head), root / f"{name}-fold"
        fold.mkdir()
        module.prepare(battles(), recipe=chosen, cache=root / "c")
        module.fit(battles(), recipe=chosen, folder=fold, cache=root / "c")
        fitted = module.load(fold, recipe=chosen, cache=root / "c")
        encoded = fitted.encoder.encode(battles())[0]
        rows = [encoded.tokens[encoded.offsets[k] : encoded.offsets[k + 1]].tolist() for k in ROWS]
        with torch.inference_mode():
            batches = [{"input_ids": torch.tensor([r]), "last": torch.tensor([len(r) - 1])} for r in rows]
            features = torch.cat([fitted.head_model.features(batch) for batch in batches])
            if head == "generate":
                logits = fitted.head_model.logits(features)
            else:
                logits = fitted.head_model.head_logits(features)
        verdicts = fitted.head_model.verdicts.tolist() if head == "generate" else None
        own[name] = (logits.numpy(), verdicts)
        for how in ("peft", "merged"):
            target = root / f"{name}-{how}"
            target.mkdir()
            arguments: Any = {"recipe": chosen, "cache": root / "c"}
            if how == "merged":
                peft_export.export_merged(engine, fold, target, dtype="fp32", **arguments)
            elif chosen.adapter.kind == "full":
                with pytest.raises(RecipeError, match="trains no adapter; export it with --merged"):
                    peft_export.export_peft(engine, fold, target, **arguments)
                continue
            else:
                peft_export.export_peft(engine, fold, target, **arguments)
            jobs.append(
                {
                    "causal": head == "generate",
                    "labels": 2 if head == "reward" else 3,
                    "base": str(base) if how == "peft" else "",
                    "folder": str(target),
                    "rows": rows,
                    "out": str(root / f"{name}-{how}.npy"),
                }
            )
    (root / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, str(root / "jobs.json")],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for name, (logits, verdicts) in own.items():
        theirs = []
        for how in ("peft", "merged"):
            path = root / f"{name}-{how}.npy"
            values = np.load(path) if path.exists() else None
            theirs.append(values if values is None or verdicts is None else values[:, verdicts])
        found[name] = (logits, *theirs)
    return found


@pytest.mark.parametrize("name", CASES)
def test_another_process_gets_the_same_logits(read: dict[str, tuple[Any, Any, Any]], name: str) -> None:
    own, peft, merged = read[name]
    assert np.ptp(own, axis=0).min() > 3e-4, "equal rows would hide a head that is not read"
    assert (peft is None) == (name == "full")
    for theirs in (peft, merged):
        if theirs is not None:
            np.testing.assert_allclose(theirs, own, atol=2e-5, rtol=1e-5)


def test_a_mixture_whose_adapter_peft_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    import bases_of_today

    base = bases_of_today.save_base(tmp_path / "base", "glm4_moe")
    chosen, module = recipe(base, "generate"), backbones.get("generate")
    (tmp_path / "fold").mkdir()
    module.prepare(battles(4), recipe=chosen, cache=tmp_path)
    module.fit(battles(4), recipe=chosen, folder=tmp_path / "fold", cache=tmp_path)
    with pytest.raises(RecipeError, match=r"down_proj.*export it with --merged"):
        peft_export.export_peft(
            engine_of("generate"), tmp_path / "fold", tmp_path / "out", recipe=chosen, cache=tmp_path
        )
    assert not (tmp_path / "out").exists()


def test_the_note_says_what_the_model_must_be_shown(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    base = save_base(tmp_path / "base", "llama")
    chosen, module = recipe(base, "reward"), backbones.get("reward")
    (tmp_path / "fold").mkdir()
    (tmp_path / "out").mkdir()
    module.prepare(battles(), recipe=chosen, cache=tmp_path / "c")
    fitted: Any = module.fit(battles(), recipe=chosen, folder=tmp_path / "fold", cache=tmp_path / "c")
    engine = engine_of("reward")
    peft_export.export_merged(
        engine, tmp_path / "fold", tmp_path / "out", recipe=chosen, cache=tmp_path / "c", dtype="fp16"
    )
    note = json.loads((tmp_path / "out" / peft_export.NOTE).read_text())
    assert note["template"]["cue"] == "\n\n[End]\nBetter response:"
    example = note["example"]  # what a tokenizer of one's own must come to, of A and of B
    one = Battles.from_rows([{"id": 0, **{name: example[name] for name in TEXTS}}])
    assert example["token_ids"] == [table.tokens.tolist() for table in fitted.encoder.encode(one)]
    assert len(example["token_ids"]) == 2
    assert note["beside_the_model"] == {"tie_bias": fitted.head_model.tie_bias.item()}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"
