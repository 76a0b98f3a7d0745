"""Fitted weights in half the space: adapters in float16, heads as they were trained."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy

WEIGHTS: Final = "weights.safetensors"
_HALF_MAX: Final = float(np.finfo(np.float16).max)


def store_half(folder: Path, keep: Collection[str]) -> int:
    """Rewrite a fold's adapters in float16; returns how many bytes that saved.

    Parameters
    ----------
    folder
        A fitted fold, a private copy of it.
    keep
        Names of tensors that stay in float32: those of the head, whose logits are the prediction.

    Files that hold another type than float32 are left alone, and so are tensors beyond float16's range.
    """
    path = folder / WEIGHTS
    if not path.is_file() or set(_types(path)) != {"F32"}:
        return 0
    tensors = safetensors.numpy.load_file(path)
    stored = {name: tensor if name in keep else _half(tensor) for name, tensor in tensors.items()}
    before = path.stat().st_size
    path.write_bytes(safetensors.numpy.save(stored, metadata=_metadata(path)))
    return before - path.stat().st_size


def _half(tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    fits = tensor.size == 0 or float(np.abs(tensor).max()) <= _HALF_MAX
    return tensor.astype(np.float16) if fits else tensor


def _header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file (its length stands in the first eight bytes)."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
    return header


def _types(path: Path) -> list[str]:
    return [entry["dtype"] for name, entry in _header(path).items() if name != "__metadata__"]


def _metadata(path: Path) -> dict[str, str] | None:
    found: dict[str, str] | None = _header(path).get("__metadata__")
    return found
