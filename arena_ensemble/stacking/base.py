"""The contract of a candidate: it is fitted once and predicts at several strengths of regularisation.

A *path* is what one fit predicts at each of V strengths: a ridge penalty, or a number of boosting rounds.
All of a path comes from one fit, so that choosing a point on it costs no further training; which point is
used is decided on rows that the fit did not see.
"""

from __future__ import annotations

from typing import ClassVar, Final, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..metrics import Labels, log_loss
from ..predictions import Floats, from_delta_tau
from .design import Design

MANY_ROWS: Final = 20_000
"""Past this many rows the data decide by themselves: fewer ridges are tried, trees have larger leaves."""

PathIndex = tuple[int, int]
"""The point of a path that predicts who wins, and the point that predicts ties; equal ones for candidates
that fit both at once."""


class FrozenState(BaseModel):
    """A part of a saved stacker: plain finite numbers and strings of exactly the declared types."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Model(Protocol):
    """A fitted candidate; `candidates.RESTORE` holds what makes one from its saved state."""

    kind: ClassVar[str]
    """Names the class in a saved stacker."""

    def predict_path(self, design: Design) -> Floats:
        """(V, n, 2): at each of V points of the path, the two columns that `to_log_probs` understands."""
        ...

    def state(self) -> FrozenState:
        """The numbers that make the same model again."""
        ...

    def texts(self) -> tuple[str, ...]:
        """LightGBM model texts that belong to the state; most models have none."""
        ...


class Candidate(Protocol):
    """Something that may be fitted and chosen; not fitted yet."""

    @property
    def name(self) -> str:
        """Name in the score table."""
        ...

    @property
    def predicts_tie_logit(self) -> bool:
        """False: a path holds (delta, tau). True: (delta, logit of a tie), each with its own path index."""
        ...

    @property
    def tempered(self) -> bool:
        """Whether a temperature is fitted on its out-of-fold predictions."""
        ...

    def fit(self, design: Design, y: Labels, seed: int) -> Model:
        """Fit on labelled rows."""
        ...


def to_log_probs(columns: Floats, *, predicts_tie_logit: bool) -> Floats:
    """Log-probabilities (n, 3) from one point of a path: delta and tau, or delta and the logit of a tie."""
    delta, second = columns[:, 0], columns[:, 1]
    if not predicts_tie_logit:
        return from_delta_tau(delta, second)
    # logit p_T = tau - log(2 cosh(delta / 2))
    return from_delta_tau(delta, second + np.logaddexp(delta / 2, -delta / 2))


def at_index(path: Floats, index: PathIndex) -> Floats:
    """The columns (n, 2) of a path (V, n, 2) at an index; the last point stands for those beyond it.

    Paths of one candidate may differ in length: past `MANY_ROWS` fewer boosting rounds are tried, so that
    fits on some of the folds may go further than the fit on all rows.
    """
    winner, tie = (min(place, len(path) - 1) for place in index)
    return np.stack([path[winner, :, 0], path[tie, :, 1]], axis=1)


def path_at(model: Model, design: Design, index: PathIndex) -> Floats:
    """A path that serves at this index: of one point where a model can stop there, else the whole one."""
    at = getattr(model, "predict_at", None)
    if at is None:
        return model.predict_path(design)
    return np.asarray(at(design, index), dtype=np.float64)[None]


def extended(path: Floats, length: int) -> Floats:
    """A path (V, n, 2) with its last point repeated up to ``length`` points."""
    return path if len(path) == length else path[np.minimum(np.arange(length), len(path) - 1)]


def best_index(path: Floats, y: Labels, *, predicts_tie_logit: bool) -> PathIndex:
    """The index of least log-loss on rows that the fit did not see.

    With a tie logit the likelihood is a product, P(tie or not) times P(who wins | no tie), so that its
    two factors are tuned apart.
    """
    if len(path) == 1:
        return (0, 0)
    if not predicts_tie_logit:
        losses = [log_loss(from_delta_tau(point[:, 0], point[:, 1]), y) for point in path]
        best = int(np.argmin(losses))
        return (best, best)
    decided = y != 2
    a_won = np.where(y == 0, 1.0, -1.0)[decided]
    tied = np.where(y == 2, 1.0, -1.0)
    winner_loss = [float(np.logaddexp(0, -a_won * point[decided, 0]).sum()) for point in path]
    tie_loss = [float(np.logaddexp(0, -tied * point[:, 1]).sum()) for point in path]
    return (int(np.argmin(winner_loss)), int(np.argmin(tie_loss)))
