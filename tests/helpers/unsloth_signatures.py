"""Signatures of unsloth that our loader relies on, read from a wheel without importing it.

    pip download unsloth==2026.10.9 --no-deps
    python tests/helpers/unsloth_signatures.py unsloth-2026.10.9-py3-none-any.whl

writes them to tests/backbones/language/unsloth_signatures.json.
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parents[1] / "backbones" / "language" / "unsloth_signatures.json"
WANTED = {
    "unsloth/models/loader.py": ("FastLanguageModel",),
    "unsloth/models/llama.py": ("FastLlamaModel",),
    "unsloth/models/vision.py": ("FastBaseModel",),
}
FUNCTIONS = ("from_pretrained", "get_peft_model")


def signature(function: ast.FunctionDef) -> dict[str, Any]:
    """Parameters with their defaults as source text (None: it has none), and whether others may follow."""
    named = [*function.args.args, *function.args.kwonlyargs]
    plain: list[ast.expr | None] = [None] * (len(function.args.args) - len(function.args.defaults))
    defaults = [*plain, *function.args.defaults, *function.args.kw_defaults]
    values = [None if value is None else ast.unparse(value) for value in defaults]
    parameters = dict(zip((argument.arg for argument in named), values, strict=True))
    return {"parameters": parameters, "more": function.args.kwarg is not None}


def signatures(wheel: Path) -> dict[str, Any]:
    """``{"version": ..., "Class.function": signature}`` of a wheel."""
    found: dict[str, Any] = {"version": wheel.name.split("-")[1]}
    with zipfile.ZipFile(wheel) as archive:
        for file, classes in WANTED.items():
            for part in ast.parse(archive.read(file)).body:
                if isinstance(part, ast.ClassDef) and part.name in classes:
                    for function in part.body:
                        if isinstance(function, ast.FunctionDef) and function.name in FUNCTIONS:
                            found[f"{part.name}.{function.name}"] = signature(function)
    return found


if __name__ == "__main__":
    PLACE.write_text(json.dumps(signatures(Path(sys.argv[1])), indent=1) + "\n", encoding="utf-8")
