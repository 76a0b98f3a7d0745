"""Adapters that other tools trained: PEFT's own model is the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.errors import RecipeError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own call
@pytest.mark.parametrize("head", ["classify", "generate"])
def test_adapters_of_other_tools_say_what_peft_says(base: Path, tmp_path: Path, head: str) -> None:
    """PEFT's own model is the oracle."""
    import peft
    import transformers

    task = {"classify": "SEQ_CLS", "generate": "CAUSAL_LM"}[head]
    settings = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], task_type=task, init_lora_weights=False
    )
    torch.manual_seed(4)
    if head == "classify":
        whole = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    else:
        whole = transformers.AutoModelForCausalLM.from_pretrained(base)
    theirs = peft.get_peft_model(whole, settings).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    start = {"epochs": 0, "start": "./adapter"}
    chosen = recipe(base, head, adapter={"r": 3, "alpha": 5}, train=start)
    (tmp_path / "fold").mkdir()
    module: Any = backbones.get(head)
    arguments: Any = {"folder": tmp_path / "fold", "cache": tmp_path / "c", "start": tmp_path / "adapter"}
    module.fit(battles(), recipe=chosen, **arguments)
    fitted = module.load(tmp_path / "fold", recipe=chosen, cache=tmp_path / "c")
    predicted = module.predict(fitted, battles())
    [rows] = fitted.encoder.encode(battles())
    for k in (0, 5):
        ids = torch.from_numpy(rows.tokens[rows.offsets[k] : rows.offsets[k + 1]].astype(np.int64))[None]
        with torch.inference_mode():
            logits = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        if head == "generate":
            logits = logits[-1, fitted.head_model.verdicts]
        np.testing.assert_allclose(predicted[k], torch.log_softmax(logits, -1).numpy(), atol=1e-5)
    with pytest.raises(RecipeError, match="write r = 3, alpha = 5"):
        module.fit(battles(), recipe=recipe(base, head, train=start), **arguments)
