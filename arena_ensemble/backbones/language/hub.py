"""Bases by hub id without a network: what is not in the cache is named at once, not after a timeout."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...errors import RecipeError
from . import gguf_base
from .base_folder import ADAPTER_CONFIG, MODEL_CONFIG, check_base_folder

if TYPE_CHECKING:  # any object with the same fields will do
    from ...recipes import Recipe

_NEEDED: Final = (
    ("config.json",),
    ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "spm.model"),
    ("model.safetensors", "model.safetensors.index.json"),
)
"""Of each line, one file must be there."""
_FETCHED: Final = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_NOT_FETCHED: Final = ["original/*", "consolidated*", "onnx/*", "openvino/*"]
_found: dict[tuple[str, str, str | None], Path] = {}
_TRUE: Final = ("1", "on", "yes", "true")


def go_offline() -> None:
    """From here on no library of the hub's opens a connection, in this process and in its children."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # it read the variable when it was imported
        vars(constants)["HF_HUB_OFFLINE"] = True


def is_offline() -> bool:
    """Whether the user, or ``--offline``, forbids connections."""
    return any(
        os.environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def cached_snapshot(base: str, revision: str | None) -> Path | None:
    """The folder of a hub id in the hub's cache, where config, tokenizer and all weights are there."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(base, MODEL_CONFIG, revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    if not all(any((folder / name).is_file() for name in names) for names in _NEEDED):
        return None
    index = folder / "model.safetensors.index.json"
    if index.is_file() and not (folder / "model.safetensors").is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, LookupError, AttributeError, TypeError):
            return None
        if not all((folder / name).is_file() for name in names):
            return None
    return folder


def snapshot(member: str, base: str, revision: str | None) -> Path:
    """The folder of a hub id on this disk: what the hub's cache holds, else downloaded.

    What is in the cache is never asked for again, and is asked for once in a process, so that an open
    ``revision`` stays at one commit however long a run takes; ``hf download`` moves it on.

    Raises
    ------
    RecipeError
        It is neither in the cache nor within reach.
    """
    from huggingface_hub import constants

    key = (constants.HF_HUB_CACHE, base, revision)
    if key not in _found:
        folder = cached_snapshot(base, revision) or _fetched(member, base, revision)
        _found[key] = folder
    return _found[key]


def _fetched(member: str, base: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download

    why = "config.json, tokenizer or safetensors are missing there"
    try:
        folder = snapshot_download(
            base, revision=revision, allow_patterns=_FETCHED, ignore_patterns=_NOT_FETCHED
        )
        # offline, a part of a snapshot is handed out without a word
        if (whole := cached_snapshot(base, Path(folder).name)) is not None:
            return whole
    except (OSError, ValueError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise RecipeError(
        f"member {member!r}: base {base!r} is not whole in the hub's cache ({constants.HF_HUB_CACHE}) and "
        f"cannot be fetched: {why} (give a folder with config.json, tokenizer and safetensors, or fetch it: "
        f"hf download {base})"
    )


def weight_bytes(recipe: Recipe) -> int | None:
    """Size of the base's weight files, or None where they are not on this disk."""
    if not recipe.base or recipe.is_tiny:
        return None
    file = gguf_base.gguf_of(recipe)
    if file is not None:
        return gguf_base.size_in_memory(file)
    folder = recipe.base_path()
    if folder is None:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(recipe.base, "config.json", revision=recipe.revision or None)
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) or None


def check_base(recipe: Recipe) -> None:
    """Before any work: the base is a model folder, a GGUF file, or a hub id; offline, one in the cache.

    Raises
    ------
    RecipeError
        The folder holds an adapter or no model, or a file is missing offline; what to do is said.
    DependencyError
        A package that holds or reads a GGUF file is not installed.
    """
    if not recipe.base or recipe.is_tiny:
        return
    if gguf_base.gguf_of(recipe) is not None:
        gguf_base.require_gguf()
        return
    folder = recipe.base_path()
    if folder is not None:
        check_base_folder(folder, member=recipe.name, base=recipe.base)
        return
    from huggingface_hub import constants, try_to_load_from_cache

    revision = recipe.revision or None
    adapter, config = (
        try_to_load_from_cache(recipe.base, name, revision=revision)
        for name in (ADAPTER_CONFIG, MODEL_CONFIG)
    )
    if isinstance(adapter, str) and not isinstance(config, str):
        check_base_folder(Path(adapter).parent, member=recipe.name, base=recipe.base)
    if not is_offline():
        return
    for names in _NEEDED:
        found = (try_to_load_from_cache(recipe.base, name, revision=revision) for name in names)
        if not any(isinstance(path, str) for path in found):
            at = f" at revision {revision}" if revision else ""
            raise RecipeError(
                f"member {recipe.name!r}: offline, and {names[0]} of {recipe.base!r}{at} is not in the hub's "
                f"cache ({constants.HF_HUB_CACHE}); fetch it where there is a network "
                f"(hf download {recipe.base}), or give a folder as base"
            )
