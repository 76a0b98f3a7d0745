"""Newly judged pairs → probabilities, by a panel from its folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from ..artifacts import atomic
from ..artifacts.files import parquet_bytes
from ..battles import Battles
from ..errors import InputError
from ..features import Features, extract
from ..io import read_battles, read_judgements, write_submission
from ..io.column_names import WINNERS
from ..judgements import First, JudgeColumn, Judgements, LogProbs, Scores, Verdicts
from ..judgements.pair_names import exchange_note
from ..panels import Panel
from ..panels.folder import folder_threshold
from ..predictions import Floats
from .pair_texts import texts_of

log = logging.getLogger(__name__)

_EMPTY: Final[dict[str, Callable[[int], JudgeColumn]]] = {
    Verdicts.kind: lambda n: Verdicts.from_codes(np.full(n, -1), asked=False),
    Scores.kind: lambda n: Scores.from_pairs(np.full((n, 2), np.nan)),
    LogProbs.kind: lambda n: LogProbs.from_probs(np.full((n, 3), np.nan)),
}
_SIDES: Final = ("a", "b", "tie")
_LOG_COLUMNS: Final = ("logp_a", "logp_b", "logp_tie")


@dataclass(frozen=True, eq=False)
class PanelPrediction:
    """Natural-log probabilities (n, 3) of newly judged pairs, and the panel's judges that were not asked."""

    ids: pl.Series
    log_probs: Floats
    absent: tuple[str, ...] = ()
    equal_style: Floats | None = None
    """(n, 3) the same for answers of equal length and style, given the same judgements"""
    threshold: float | None = None
    """what selective prediction keeps verdicts from, where the panel was fitted with it"""

    @property
    def kept(self) -> int:
        """How many verdicts are sure enough for the threshold."""
        least = np.inf if self.threshold is None else np.log(self.threshold)
        return int((self.log_probs.max(axis=1) >= least).sum())

    @property
    def turned(self) -> int | None:
        """How many verdicts are others at equal style; None where that was not asked."""
        if self.equal_style is None:
            return None
        return int((self.log_probs.argmax(axis=1) != self.equal_style.argmax(axis=1)).sum())

    def write(self, path: Path) -> None:
        """Write ``id, logp_a, logp_b, logp_tie`` (a ``.parquet``), or probabilities as a submission (CSV).

        What holds at equal style stands beside: ``equal_logp_a, …`` or ``equal_a, equal_b, equal_tie``.
        """
        logs = path.suffix == ".parquet"
        if not logs and self.equal_style is None:
            write_submission(path, self.ids, self.log_probs)
            return
        frame = self.frame(logs=logs)
        atomic.write_bytes(path, parquet_bytes(frame) if logs else frame.write_csv().encode())

    def frame(self, *, logs: bool) -> pl.DataFrame:
        """The columns of :meth:`write`: log-probabilities or probabilities."""
        tables: list[tuple[Sequence[str], Floats]] = [(_LOG_COLUMNS if logs else WINNERS, self.log_probs)]
        if self.equal_style is not None:
            tables.append(
                (tuple(f"equal_{'logp_' if logs else ''}{name}" for name in _SIDES), self.equal_style)
            )
        columns: dict[str, Any] = {"id": self.ids}
        for names, values in tables:
            shown = values if logs else np.exp(values)
            columns.update({name: shown[:, k] for k, name in enumerate(names)})
        return pl.DataFrame(columns)


def predict_panel(
    folder: Path,
    judgements: Sequence[Path],
    *,
    text: Path | None = None,
    text_format: str | None = None,
    numbers: str | None = None,
    first: First = First.A,
    format: str | None = None,
    equal_style: bool = False,
) -> PanelPrediction:
    """Predict newly judged pairs with a panel from its folder; a judge that was not asked is missing.

    Parameters
    ----------
    equal_style
        Predict also what the panel would say, were the answers equally long and formatted.

    Raises
    ------
    InputError
        There is no panel, a judge that it does not know, or texts given or lacking against what it was
        fitted on.
    ArtifactError
        A file of the panel is truncated or edited.
    """
    panel = Panel.load(folder)
    check_texts(panel, text, equal_style=equal_style)
    warn_numbers(panel, numbers)
    given = read_judgements(*judgements, numbers=numbers, first=first, format=format, known=panel.known_)
    check_known(panel, given.judges)
    absent = tuple(name for name in panel.judge_names_ if name not in given.judges)
    warn_absent(absent, len(given))
    battles = None
    if text is not None:
        whole = read_battles(text, format=text_format)
        battles = texts_of(whole, given.ids, name=str(text))
        if note := exchange_note(whole.ids, given.ids):
            log.warning("%s: %s", text, note)
    found, level = predicted(panel, given, battles, equal_style=equal_style)
    return PanelPrediction(given.ids, found, absent, level, folder_threshold(folder))


def predicted(
    panel: Panel, given: Judgements, battles: Battles | None, *, equal_style: bool
) -> tuple[Floats, Floats | None]:
    """Log-probabilities (n, 3), and the same at equal style where that is asked; an absent judge is missing.

    The texts are those of the judgements' pairs, in their order.
    """
    absent = [name for name in panel.judge_names_ if name not in given.judges]
    empty = {name: _EMPTY[panel.encoders_[name].kind](len(given)) for name in absent}
    whole = Judgements(given.ids, {**given.columns, **empty})
    features: Features | None = None if battles is None else extract(battles)
    level = None
    if equal_style:
        assert features is not None, "see check_texts"
        level = panel.predict_log_proba(whole, features.level())
    return panel.predict_log_proba(whole, features), level


def check_known(panel: Panel, judges: Sequence[str]) -> None:
    """Raise InputError where the panel does not know a judge."""
    if unknown := [name for name in judges if name not in panel.judge_names_]:
        known = ", ".join(panel.judge_names_[:8]) + (", …" if len(panel.judge_names_) > 8 else "")
        raise InputError(
            f"the panel does not know the judge {unknown[0]!r} (it has {known}); leave that judge out, or "
            "fit the panel again with it"
        )


def warn_numbers(panel: Panel, numbers: str | None) -> None:
    """Log where numbers shall mean something else than in the files that the panel was fitted on."""
    learned = {one.numbers for one in panel.known_.values()} - {None, numbers}
    if numbers is not None and learned:
        log.warning(
            "numbers of verdicts are read as %s, as asked; the panel was fitted on %s",
            numbers,
            ", ".join(sorted(filter(None, learned))),
        )


def warn_absent(absent: Sequence[str], pairs: int) -> None:
    """Log which judges of the panel were not asked."""
    if absent:
        log.warning("no judgements of %s: taken as missing for all %d pairs", ", ".join(absent), pairs)


def check_texts(panel: Panel, text: Path | None, *, equal_style: bool) -> None:
    """Raise InputError where texts are given or lacking against what the panel was fitted on."""
    if (text is not None) != panel.has_features_:
        what = (
            "without texts; leave out --text" if text else "with texts; give those of the new pairs (--text)"
        )
        raise InputError(f"the panel was fitted {what}")
    if equal_style and text is None:
        raise InputError(
            "equal style needs a panel that was fitted with texts: fit it with --text, give both"
        )
