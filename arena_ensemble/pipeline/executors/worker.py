"""What one worker process of this machine does: its share of the set-up, and one task after another."""

from __future__ import annotations

import os
from typing import Any

from ...backbones import between_folds
from ...backbones.children import die_with_parent
from ..job import FoldTask, Job
from ..parts import Part
from .events import timed_fold, with_label

_worker: dict[str, Any] = {}


def start(job: Job, events: Any, devices: Any) -> None:
    """Set up one worker process: the run's shared data and, where there are GPUs, one of its own."""
    die_with_parent()
    mine = devices.get()
    if mine:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = [visible.split(",")[device] if visible else str(device) for device in mine]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)
    _worker.update(job=job, events=events, kept=between_folds.kept())
    _worker["kept"].__enter__()  # as long as the process lives


def work(task: FoldTask, part: Part | None) -> float:
    """One task in a worker process, and its seconds; the parent gets its (or the first part's) progress."""
    if task.recipe.loader == "unsloth":
        from ...backbones.language.unsloth_loader import import_unsloth  # torch: in workers alone

        import_unsloth()  # before anything imports transformers
    events = _worker["events"]
    on_event = None if events is None else (lambda *event: events.put(event))
    tell = with_label(on_event if part is None or part.index == 0 else None, task.label)
    return timed_fold(_worker["job"], task, tell, part)
