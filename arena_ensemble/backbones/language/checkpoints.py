"""Checkpoints inside a fold: each whole or absent, the newest whole one is continued.

A checkpoint is a folder ``checkpoint-<steps>`` of one safetensors file and one JSON file, written
under a temporary name, flushed, and renamed. What lies under a temporary name is never read.
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from ...artifacts import atomic
from .optimizers import on_device
from .out_of_memory import random_state, set_random_state
from .trainer_state import Resumable

_log = logging.getLogger(__name__)
_NAME: Final = re.compile(r"checkpoint-(\d+)\Z")


def write(trainer: Resumable, folder: Path) -> None:
    """Write the trainer's whole state and drop older checkpoints."""
    from safetensors.torch import save_file

    done = trainer.state.done
    state = asdict(trainer.state)
    state["best"] = None if math.isinf(trainer.state.best) else trainer.state.best
    meta = {"state": state, "scaler": trainer.scaler.state_dict(), "seed": trainer.seed}
    with atomic.new_folder(folder / f"checkpoint-{done}") as partial:
        save_file(_tensors(trainer), str(partial / "state.safetensors"))
        (partial / "state.json").write_text(json.dumps(meta))
    for _, path in _found(folder)[:-1]:
        shutil.rmtree(path, ignore_errors=True)


def _found(folder: Path) -> list[tuple[int, Path]]:
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted((int(m.group(1)), path) for path in paths if (m := _NAME.match(path.name)))


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


def restore(trainer: Resumable, folder: Path) -> bool:
    """Continue from the newest whole checkpoint; False where there is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for done, path in reversed(_found(folder)):
        try:
            meta = json.loads((path / "state.json").read_text())
            tensors = load_file(str(path / "state.safetensors"))
        except (OSError, ValueError, SafetensorError):
            _log.warning("checkpoint %s is broken and is passed over", path)
            continue
        names = {name.removeprefix("weight/") for name in tensors if name.startswith("weight/")}
        if names != trainer.named.keys() or meta["seed"] != trainer.seed:
            _log.warning("checkpoint %s is of another model and is passed over", path)
            continue
        _put(trainer, meta, tensors)
        _log.info("continued from step %d", done)
        return True
    return False


def _put(trainer: Resumable, meta: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    device = trainer.policy.device
    state = meta["state"]
    state["best"] = math.inf if state["best"] is None else state["best"]
    for key, value in state.items():
        setattr(trainer.state, key, value)
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
        trainer.best = [tensors[f"best/{name}"].to(device) for name in trainer.named]
    trainer.seen_logits[:] = tensors["seen_logits"].numpy()
    set_random_state(tensors, device)
