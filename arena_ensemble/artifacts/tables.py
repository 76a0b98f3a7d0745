"""Predictions as a parquet table: ``id, fold, logp_a, logp_b, logp_tie`` and the swapped order's three."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from ..errors import ArtifactError, InputError
from ..predictions import Predictions

_LOG_COLUMNS: Final = ("logp_a", "logp_b", "logp_tie")
_SWAP_COLUMNS: Final = tuple(f"swap_{name}" for name in _LOG_COLUMNS)


def predictions_frame(predictions: Predictions) -> pl.DataFrame:
    """A row per prediction: id, fold, log-probabilities of the shown and of the swapped order."""
    columns: dict[str, Any] = {"id": predictions.ids, "fold": predictions.fold}
    columns.update({name: predictions.log_probs[:, i] for i, name in enumerate(_LOG_COLUMNS)})
    other = predictions.swap_log_probs
    if other is not None:
        columns.update({name: other[:, i] for i, name in enumerate(_SWAP_COLUMNS)})
    return pl.DataFrame(columns)


def to_predictions(frame: pl.DataFrame) -> Predictions:
    """The inverse of :func:`predictions_frame`.

    Raises
    ------
    ArtifactError
        A column is missing, of another type, or a row is no distribution.
    """
    both = bool(set(_SWAP_COLUMNS) & set(frame.columns))
    needed = ["id", "fold", *_LOG_COLUMNS, *(_SWAP_COLUMNS if both else ())]
    if missing := [name for name in needed if name not in frame.columns]:
        raise ArtifactError(f"an OOF table lacks the columns {', '.join(missing)}")
    whole = frame.schema["fold"].is_integer() and not frame["fold"].null_count()
    if not whole or any(frame.schema[name] != pl.Float64 for name in needed[2:]):
        raise ArtifactError("an OOF table holds columns of another type than it was written with")
    other = frame.select(_SWAP_COLUMNS).to_numpy() if both else None
    try:
        return Predictions(
            frame["id"], frame.select(_LOG_COLUMNS).to_numpy(), frame["fold"].to_numpy(), other
        )
    except InputError as error:
        raise ArtifactError(f"an OOF table is not as written: {error}") from None
