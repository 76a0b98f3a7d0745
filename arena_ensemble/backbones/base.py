"""What every backbone promises: prepare once, fit per fold, load, predict. A module is the object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError

if TYPE_CHECKING:  # the training loop below this room needs none of them
    from ..battles import Battles
    from ..deadline import Deadline
    from ..predictions import Floats
    from ..recipes import Recipe

Progress = Callable[[float, float, str], None]
"""``on_progress(done, total, text)``: how far one task is, and a short word such as the loss."""


def labels_of(
    train: Battles, soft_targets: Floats | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Outcomes (n,), and which of them were voted (n,); the others are the soft target's likeliest class.

    Raises
    ------
    InputError
        A battle has neither an outcome nor a soft target.
    """
    column = train.facts["outcome"]
    voted = column.is_not_null().to_numpy()
    labels = column.fill_null(0).to_numpy().astype(np.int64)
    if not voted.all():
        taught = np.zeros_like(voted) if soft_targets is None else ~np.isnan(soft_targets).any(axis=1)
        neither = np.flatnonzero(~voted & ~taught)
        if soft_targets is None or len(neither):
            row = int(neither[0])
            raise InputError(f"battle {train.ids[row]!r} has no outcome and no teacher; training needs one")
        labels[~voted] = soft_targets[~voted].argmax(axis=1)
    return labels, voted


class Fitted(Protocol):
    """A model that can predict. ``facts`` is what it tells the card (plain JSON values)."""

    @property
    def facts(self) -> dict[str, Any]:
        """Device, dtype, attention, seconds, tokens, padding share, truncation, alarms, …"""


class Backbone(Protocol):
    """The four functions of a backbone module. Outcomes are read by ``fit`` alone, of ``train``
    (and of ``valid``, where the recipe stops early); never by ``prepare`` or ``predict``."""

    def prepare(
        self, battles: Battles, *, recipe: Recipe, cache: Path, on_progress: Progress | None = None
    ) -> None:
        """Once per member, before the folds: whatever depends on the text alone, into ``cache``.

        Builds a tiny base and its tokenizer, tokenises every text into a memory-mapped file whose
        name is a digest of tokenizer and texts. Calling it again does nothing.
        """

    def fit(
        self,
        train: Battles,
        *,
        valid: Battles | None = None,
        soft_targets: Floats | None = None,
        weights: Floats | None = None,
        recipe: Recipe,
        folder: Path,
        cache: Path,
        resume: bool = False,
        on_progress: Progress | None = None,
        deadline: Deadline | None = None,
    ) -> Fitted:
        """Train on ``train`` and write what prediction needs into ``folder`` (safetensors and JSON).

        Parameters
        ----------
        train
            Battles with outcomes. One without an outcome learns from its soft target alone.
        valid
            Battles with outcomes for early stopping, when the recipe asks for it.
        soft_targets
            A teacher's natural-log probabilities (n, 3) of the training rows, or None; a row of
            NaN has no teacher.
        weights
            Weights (n,) of the training rows, or None for ones.
        folder
            A private folder that exists; the caller renames it when all is whole. Checkpoints
            inside a fold lie in it, each whole or absent.
        start
            Weights to start from, where the recipe has ``train.start``; passed only then.
        resume
            Whether a checkpoint found there may be continued.
        deadline
            When to have stopped. What takes seconds need not look at it.

        Raises
        ------
        OutOfTime
            The deadline came first. What is in ``folder`` lets a later call with ``resume`` go on there.
        """

    def load(self, folder: Path, *, recipe: Recipe, cache: Path) -> Fitted:
        """Read what ``fit`` wrote. A weight that is missing or freshly initialised is an error."""

    def predict(self, fitted: Any, battles: Battles, *, on_progress: Progress | None = None) -> Floats:
        """Log-probabilities (n, 3), float64, rows normalised, in input order."""
