"""Folders that are given as a base and are none: adapters, their parents, base and adapter in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from ...errors import RecipeError

ADAPTER_CONFIG: Final = "adapter_config.json"
MODEL_CONFIG: Final = "config.json"
_WEIGHTS: Final = ("*.safetensors", "pytorch_model*.bin")
_ADAPTER_WEIGHTS: Final = "adapter_model"
_SHOWN: Final = 3


def check_base_folder(folder: Path, *, member: str = "", base: str = "") -> None:
    """Refuse a folder that holds no model, or an adapter beside it, and say what it is.

    Parameters
    ----------
    folder
        What the recipe's ``base`` leads to.
    member, base
        Whose recipe it is and how the base is written there, for the message.

    Raises
    ------
    RecipeError
        It holds no model, or transformers would put an adapter on it without a word.
    """
    where = f"member {member!r}: base = {base!r}" if member else f"base = {base or str(folder)!r}"
    has_model = (folder / MODEL_CONFIG).is_file()
    if (folder / ADAPTER_CONFIG).is_file():
        raise RecipeError(f"{where}: {_adapter(folder, has_model and _has_weights(folder))}")
    if has_model:
        return
    adapters = sorted(path.parent for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
    models = sorted(path.parent for path in folder.glob(f"*/{MODEL_CONFIG}"))
    if adapters:
        many = f"{len(adapters)} PEFT adapters" if len(adapters) > 1 else "a PEFT adapter"
        raise RecipeError(
            f"{where}: {folder} is no model folder but holds {many} ({_listed(adapters)}); "
            f"{_remedy(adapters[-1])}"
        )
    if models:
        raise RecipeError(
            f"{where}: {folder} holds no {MODEL_CONFIG} itself, but {len(models)} of its folders do "
            f"({_listed(models)}); give one of these, such as {models[-1]}"
        )
    raise RecipeError(
        f"{where}: {folder} holds no {MODEL_CONFIG}, so it is no model folder; give the folder that "
        "save_pretrained wrote, with config.json, tokenizer and safetensors"
    )


def _adapter(folder: Path, with_model: bool) -> str:
    if not with_model:
        base = _base_of(folder)
        of = f" of {base!r}" if base else ""
        return f"{folder} is a PEFT adapter{of} and no model; {_remedy(folder)}"
    return (
        f"{folder} holds a model and a PEFT adapter ({ADAPTER_CONFIG}) in one, so it is not clear which is "
        f"meant; to start from the model alone, move {ADAPTER_CONFIG} and {_ADAPTER_WEIGHTS}.* elsewhere; to "
        f"start from both, {_merge(folder)}"
    )


def _remedy(adapter: Path) -> str:
    base = _base_of(adapter)
    other = f"base = {base!r}" if base else "the model that it was trained on as base"
    return f"{_merge(adapter)}; or give {other} and train anew"


def _merge(adapter: Path) -> str:
    return (
        "merge it (Python: peft.PeftModel.from_pretrained(model, "
        f"{str(adapter)!r}).merge_and_unload().save_pretrained(DIR), with model the base that transformers "
        "loads), save the tokenizer there too, and give DIR as base"
    )


def _base_of(adapter: Path) -> str:
    """The base that an adapter says it was trained on; empty where it does not say."""
    try:
        values = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        return str(values["base_model_name_or_path"] or "")[:200]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _has_weights(folder: Path) -> bool:
    return any(
        not path.name.startswith(_ADAPTER_WEIGHTS) for pattern in _WEIGHTS for path in folder.glob(pattern)
    )


def _listed(folders: list[Path]) -> str:
    names = [folder.name for folder in folders[:_SHOWN]]
    return ", ".join(names) + (", …" if len(folders) > _SHOWN else "")
