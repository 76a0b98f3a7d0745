"""How many tasks one machine runs side by side."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from typing import Final

from ...backbones import head_of
from ...backbones.language import hub
from ...recipes import Recipe

_SMALL_BASE_BYTES: Final = 500 * 10**6
_BYTES_PER_SMALL_BASE: Final = 4 * 2**30


def gpu_count() -> int:
    """CUDA devices that this process may use, asked of the driver's tool: torch is not imported."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # CUDA reads up to the first that is none
        return next((k for k, name in enumerate(names) if name in ("", "-1")), len(names))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def default_jobs(recipes: Iterable[Recipe]) -> int:
    """Tasks side by side: one per GPU, or per ``machine.processes`` of them.

    Without a GPU it is one per core (8 at most) if all members are small: what needs no base, or one of at
    most 500 MB. Folds side by side then leave fewer cores waiting than one fold on all of them. Each such
    base is granted 4 GiB of the machine's memory.
    """
    recipes, gpus = list(recipes), gpu_count()
    width = max((recipe.machine.processes for recipe in recipes), default=1)
    if gpus:
        return max(1, gpus // width)
    workers = max(1, min(len(os.sched_getaffinity(0)), 8) // width)
    for recipe in recipes:
        if not head_of(recipe.backbone).needs_base or recipe.is_tiny:
            continue
        size = hub.weight_bytes(recipe)
        if size is None or size > _SMALL_BASE_BYTES:
            return 1
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        workers = max(1, min(workers, memory // _BYTES_PER_SMALL_BASE))
    return workers
