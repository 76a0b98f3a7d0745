"""The machine that a run is planned for: cores, memory, cards. Nothing heavy is imported."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Final

from .gpus import GIB, GPUS, Gpu, gpu_named

_USUAL_SHARE: Final = 0.97
"""of the memory that a card's driver reports, which CUDA gives"""
_QUERY: Final = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Machine:
    """Cores and bytes that a run may use, and its cards, which are taken to be alike."""

    cores: int
    memory: int
    gpu: Gpu | None = None
    gpus: int = 0

    def __str__(self) -> str:
        """In words."""
        cards = "no GPU" if self.gpu is None else f"{self.gpus} x {self.gpu.name}"
        return f"{self.cores} cores, {self.memory / GIB:.0f} GiB, {cards}"


def this_machine() -> Machine:
    """The machine that this runs on; cards as the driver's tool names them, those that are visible."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cards = _cards()
    return Machine(cores, memory, cards[0] if cards else None, len(cards))


def _cards() -> list[Gpu]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return []
    try:
        listed = subprocess.run(_QUERY, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    cards = [card_of(line) for line in listed.stdout.splitlines() if listed.returncode == 0 and "," in line]
    return cards if visible is None else cards[: len(visible.split(","))]


def card_of(line: str) -> Gpu:
    """The card of one line, ``NVIDIA H100 80GB HBM3, 81559`` (MiB): its row of the table.

    One that the table does not have is planned as the T4 is, with its own memory.
    """
    name, _, mib = line.rpartition(",")
    memory = _USUAL_SHARE * float(mib) * 2**20
    for gpu in sorted(GPUS.values(), key=lambda one: -len(one.name)):
        words = name.replace("-", " ").replace("RTX ", "RTX").split()
        if gpu.name.split("-")[0] in words and abs(gpu.memory - memory) < 0.2 * memory:
            return gpu
    slow = gpu_named("T4")
    return Gpu(name.strip(), memory, slow.half, slow.single, slow.bandwidth, bf16=False, int8=slow.int8)
