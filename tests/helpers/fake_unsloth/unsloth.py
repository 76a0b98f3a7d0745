"""What stands for unsloth where there is no GPU: it logs what was imported before it and how it is called.

Models and adapters are transformers' and PEFT's own, put together as unsloth 2026.10.9 does: adapters go in
by PEFT's ``get_peft_model`` with the task of the model's class, and ``modules_to_save`` takes no head.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

LOG = Path(os.environ["FAKE_UNSLOTH_LOG"])


def _log(what: str, **values: Any) -> None:
    with LOG.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"what": what, "process": os.getpid(), **values}, default=str) + "\n")


_log("import", early=[name for name in ("transformers", "peft") if name in sys.modules])


class FastLanguageModel:
    @staticmethod
    def from_pretrained(**options: Any) -> tuple[Any, None]:
        import transformers

        _log("from_pretrained", options=options)
        labels, more = options.get("num_labels"), {"dtype": options["dtype"]}
        if labels is None:
            loader: Any = transformers.AutoModelForCausalLM
        else:
            loader, more["num_labels"] = transformers.AutoModelForSequenceClassification, labels
        return loader.from_pretrained(options["model_name"], **more), None

    @staticmethod
    def get_peft_model(model: Any, **options: Any) -> Any:
        import peft

        _log("get_peft_model", options=options)
        if set(options.get("modules_to_save") or ()) - {"lm_head", "embed_tokens"}:
            raise TypeError("only embeddings, output layer and norms may be listed")
        checkpointing = options.pop("use_gradient_checkpointing")
        options.pop("random_state")
        task = "SEQ_CLS" if "Classification" in type(model).__name__ else "CAUSAL_LM"
        wrapped = peft.get_peft_model(model, peft.LoraConfig(task_type=task, **options))
        if checkpointing:
            wrapped.enable_input_require_grads()
            wrapped.gradient_checkpointing_enable()
        return wrapped
