"""Checkpoints inside a fold: each whole or absent, the newest whole one is continued.

A checkpoint is a folder ``checkpoint-<steps>`` of one safetensors file and one JSON file, which holds the
SHA-256 of the other, written under a temporary name, flushed, and renamed. What lies under a temporary name
is never read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import torch

from ...artifacts import atomic
from ...errors import ArenaError
from .optimizers import on_device
from .out_of_memory import is_out_of_memory, random_state, set_random_state
from .trainer_state import Resumable, TrainerState

_log = logging.getLogger(__name__)
_NAME: Final = re.compile(r"checkpoint-(\d+)\Z")
_META: Final = "state.json"
_TENSORS: Final = "state.safetensors"


def write(trainer: Resumable, folder: Path) -> None:
    """Write the trainer's whole state and drop older checkpoints."""
    from safetensors.torch import save_file

    done = trainer.state.done
    state = asdict(trainer.state)
    state["best"] = None if math.isinf(trainer.state.best) else trainer.state.best
    meta = {"state": state, "scaler": trainer.scaler.state_dict(), "seed": trainer.seed}
    with atomic.new_folder(folder / f"checkpoint-{done}") as partial:
        save_file(_tensors(trainer), str(partial / _TENSORS))
        meta["sha256"] = _sha256(partial / _TENSORS)
        (partial / _META).write_text(json.dumps(meta))
    for _, path in _found(folder)[:-1]:
        shutil.rmtree(path, ignore_errors=True)


def try_write(trainer: Resumable, folder: Path) -> bool:
    """As :func:`write`; whether it could. A full disk or memory costs a checkpoint, not the training."""
    from safetensors import SafetensorError

    try:
        write(trainer, folder)
    except (OSError, ArenaError, SafetensorError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        _log.warning(
            "training of %s goes on without the checkpoint of step %d; the last one is of step %d: %s",
            *(trainer.name, trainer.state.done, trainer.kept, str(error) or type(error).__name__),
        )
        return False
    return True


def _found(folder: Path) -> list[tuple[int, Path]]:
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted((int(m.group(1)), path) for path in paths if (m := _NAME.match(path.name)))


def are_there(folder: Path) -> bool:
    """Whether a training has left a checkpoint in its folder."""
    return bool(_found(folder))


def clear(folder: Path) -> None:
    """Remove every checkpoint, whole or not: the fold is done."""
    for pattern in ("checkpoint-*", ".checkpoint-*"):
        for path in folder.glob(pattern) if folder.is_dir() else ():
            shutil.rmtree(path, ignore_errors=True)


def _tensors(trainer: Resumable) -> dict[str, torch.Tensor]:
    tensors = random_state(trainer.policy.device)
    tensors["seen_logits"] = torch.from_numpy(trainer.seen_logits)
    lists: dict[str, Any] = {"ema": trainer.ema, "best": trainer.best}
    for k, (name, parameter) in enumerate(trainer.named.items()):
        tensors[f"weight/{name}"] = parameter.detach()
        for key, value in trainer.optimizer.state[parameter].items():
            # bitsandbytes counts steps in a plain number
            label = "optimizer" if isinstance(value, torch.Tensor) else "number"
            tensors[f"{label}/{key}/{name}"] = torch.as_tensor(value)
        for label, values in lists.items():
            if values is not None:
                tensors[f"{label}/{name}"] = values[k]
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def restore(trainer: Resumable, folder: Path) -> int | None:
    """Continue from the newest whole checkpoint; its steps, None where there is none."""
    for done, path in reversed(_found(folder)):
        try:
            meta, tensors = _read(path)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            _log.warning("checkpoint %s is broken (%s) and is passed over", path, error)
            continue
        if meta["seed"] != trainer.seed or not _suits(trainer, tensors):
            _log.warning("checkpoint %s is of another model and is passed over", path)
            continue
        _put(trainer, meta, tensors)
        _log.info("continued from step %d", done)
        return done
    return None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What :func:`write` wrote; one of five kinds of error where it is something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    meta = json.loads((path / _META).read_text())
    meta = {name: meta[name] for name in ("state", "scaler", "seed")} | {"sha256": meta.get("sha256")}
    if unknown := meta["state"].keys() - {field.name for field in fields(TrainerState)}:
        raise ValueError(f"{_META} holds {min(unknown)!r}")
    # an earlier version kept no hash
    if meta["sha256"] not in (None, _sha256(path / _TENSORS)):
        raise ValueError(f"{_TENSORS} has another SHA-256")
    try:
        return meta, load_file(str(path / _TENSORS))
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _suits(trainer: Resumable, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the tensors are those of a trainer with the same parameters, and an average or none."""
    wanted = {f"weight/{name}": parameter.shape for name, parameter in trainer.named.items()}
    if trainer.ema is not None:
        wanted |= {f"ema/{name}": parameter.shape for name, parameter in trainer.named.items()}
    kinds = ("weight/", "ema/")
    if {name: one.shape for name, one in tensors.items() if name.startswith(kinds)} != wanted:
        return False
    seen = tensors.get("seen_logits")
    return "rng" in tensors and seen is not None and seen.shape == trainer.seen_logits.shape


def _put(trainer: Resumable, meta: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    device = trainer.policy.device
    state = meta["state"]
    state["best"] = math.inf if state["best"] is None else state["best"]
    for key, value in state.items():
        setattr(trainer.state, key, value)
    if meta["scaler"]:  # empty where the session before computed in another type, as on a newer card
        trainer.scaler.load_state_dict(meta["scaler"])
    with torch.no_grad():
        for name, parameter in trainer.named.items():
            parameter.copy_(tensors[f"weight/{name}"])
    for label, value in tensors.items():
        kind, key, name = (*label.split("/", 2), "", "")[:3]
        if kind in ("optimizer", "number"):
            parameter, number = trainer.named[name], kind == "number"
            kept = value.item() if number else on_device(trainer.optimizer, parameter, value)
            trainer.optimizer.state[parameter][key] = kept
    if trainer.ema is not None:
        trainer.ema = [tensors[f"ema/{name}"].to(device) for name in trainer.named]
    if any(label.startswith("best/") for label in tensors):
        trainer.best = [tensors[f"best/{name}"] for name in trainer.named]
    trainer.seen_logits[:] = tensors["seen_logits"].numpy()
    set_random_state(tensors, device)
