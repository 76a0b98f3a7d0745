"""A backbone that misbehaves as its recipe's name says: the tests of signals and of partial failure.

It predicts the class shares of its training rows. ``ARENA_TEST_CALM`` in the environment makes every
member behave, so that a run can be resumed to its end.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble.battles import Battles
from arena_ensemble.predictions import Floats, normalised
from arena_ensemble.recipes import Recipe


@dataclass(frozen=True)
class Shares:
    log_shares: Floats
    facts: dict[str, Any]
    spoilt: bool = False


def prepare(battles: Battles, *, recipe: Recipe, cache: Path, on_progress: Any = None) -> None:
    (cache / "prepared").write_text("yes")


def fit(train: Battles, *, recipe: Recipe, folder: Path, **others: Any) -> Shares:
    first = (folder.name == "fold-0.partial") or "ARENA_TEST_CALM" in os.environ
    if not first:
        misbehave(recipe.name.split("-")[0], folder)
    shares = np.bincount(train.outcomes(), minlength=3) / len(train)
    (folder / "shares.json").write_text(json.dumps(shares.tolist()))
    return load(folder, recipe=recipe, cache=folder)


def misbehave(how: str, folder: Path) -> None:
    if how == "sleeper":
        (folder / "asleep").write_text("here")
        time.sleep(900)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raiser":
        raise ValueError("no luck with these rows")
    if how == "hog":
        raise MemoryError
    if how == "full":
        raise OSError(28, "No space left on device")
    if how == "buggy":
        raise TypeError("ours")


def load(folder: Path, *, recipe: Recipe, cache: Path) -> Shares:
    shares = json.loads((folder / "shares.json").read_text())
    spoilt = recipe.name.startswith("diverger") and "ARENA_TEST_CALM" not in os.environ
    return Shares(np.log(shares), {"device": "none"}, spoilt)


def predict(fitted: Shares, battles: Battles, *, on_progress: Any = None) -> Floats:
    if fitted.spoilt:
        return np.full((len(battles), 3), np.nan)
    lead = battles.frame["response_a"].list.first().str.len_chars().fill_null(0).to_numpy() / 1000
    return normalised(fitted.log_shares + lead[:, None] * np.array([1.0, -1.0, 0.0]))
