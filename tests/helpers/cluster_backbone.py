"""Members that misbehave on a cluster as their recipe's name says, behind ``backbone = "faulty"``.

In Ray's workers :func:`patch` is the set-up hook. Beside what `faulty_backbone` does, ``slow`` waits in every
fold but the first until a file ``go`` lies in the folder ``ARENA_TEST_PLACE``, where every start of a
training is written to ``starts.txt``; ``leaver`` ends its process; ``hungry`` takes memory until it is
killed, or up to ten GiB, in the first training of a fold alone, ``starving`` in each. While a
file ``hold`` lies there, every prediction waits for ``go`` too.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import faulty_backbone
from faulty_backbone import load, prepare  # noqa: F401  # the backbone's other functions

from arena_ensemble.backbones import HEADS
from arena_ensemble.battles import Battles
from arena_ensemble.predictions import Floats
from arena_ensemble.recipes import Recipe


def patch() -> None:
    """Register the backbone in this process."""
    HEADS["faulty"] = dataclasses.replace(HEADS["lexical"], module="cluster_backbone")


def fit(train: Battles, *, recipe: Recipe, folder: Path, **others: Any) -> Any:
    place, fold = Path(os.environ["ARENA_TEST_PLACE"]), folder.name.removesuffix(".partial")
    with (place / "starts.txt").open("a") as stream:
        stream.write(f"{recipe.name} {fold}\n")
    kind = recipe.name.split("-")[0]
    if fold != "fold-0":
        if kind == "slow":
            (place / f"asleep-{os.getpid()}").write_text(fold)
            while not (place / "go").exists():
                time.sleep(0.05)
        if kind == "leaver":
            sys.exit(3)
        if kind == "starving" or (kind == "hungry" and not (place / f"fed-{fold}").exists()):
            (place / f"fed-{fold}").touch()
            _eat(10 * 2**30)
        if kind == "eater":
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, hard))
            try:
                bytearray(2**30)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return faulty_backbone.fit(train, recipe=recipe, folder=folder, **others)


def _eat(limit: int) -> None:
    """Take memory, slowly enough for a monitor that looks ten times a second, until somebody stops it."""
    taken = []
    while sum(map(len, taken)) < limit:
        taken.append(bytearray(os.urandom(2**12)) * 2**15)  # 128 MiB that are written to
        time.sleep(0.05)
    raise RuntimeError("nobody stopped this process")


def predict(fitted: Any, battles: Battles, *, on_progress: Any = None) -> Floats:
    place = Path(os.environ["ARENA_TEST_PLACE"])
    if (place / "hold").exists() and not (place / "go").exists():
        (place / f"asleep-{os.getpid()}").write_text("predicting")
        while not (place / "go").exists():
            time.sleep(0.05)
    return faulty_backbone.predict(fitted, battles)
