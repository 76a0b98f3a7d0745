"""`Panel`: judges in, one calibrated distribution over A, B and tie out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from ..errors import ArtifactError, InputError
from ..features import Features
from ..judgements import Judgements, KnownJudge
from ..metrics import ScoreRow, group_codes
from ..predictions import Floats, without_ties
from ..stacking import Stacker
from ..stacking.candidates import candidates_for, for_judges
from ..stacking.fit_progress import OnFit
from ..stacking.row_folds import LabelledRows, fold_codes
from . import folder
from .encoding import EncodedPanel, Encoders, encoded_design, taken
from .evidence import Evidence
from .judge_facts import JudgeFacts
from .panel_state import MAIN, dump_state, read_state
from .refits import Refits
from .soft_labels import voted_rows

MIN_FOLDS: Final = 4
BLOCK_ROWS: Final = 1024
"""Pairs predicted at a time, padded: a product's last bits may depend on the shape of its factors, and a
pair's prediction must not depend on which others are predicted with it."""
_REMEDY: Final = "run `arena-ensemble panel` again"


class Panel(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A calibrated panel of judges, learned from votes, with an honest score.

    Each judge becomes a member through an encoder of its kind (`panels.verdict_table`, `panels.margins`),
    fitted inside every fold; pools, a table of counts, logistic models, boosted trees and mixes of them are
    chosen and scored as `Stacker` does. Exchanging the answers and what each judge saw first exchanges the
    prediction.

    Parameters
    ----------
    random_state, n_folds, tolerance, threads, honest
        As for `Stacker`.

    Attributes
    ----------
    table_
        List of `ScoreRow`: prior, judges after their encoders, candidates, the panel's honest score last.
    judge_names_
        The judges' names, in order.
    judges_
        List of `JudgeFacts`: each judge alone, its biases and what it adds, the best first.
    choice_, selection_frequency_, weights_
        As for `Stacker`; members are the encoded judges.
    oof_log_proba_
        (n, 3) honest out-of-fold log-probabilities of the whole procedure, encoders included.
    ties_
        Whether a vote was a tie: without one P(tie) is 0.
    classes_
        ``[0, 1, 2]`` = A, B, TIE.
    """

    def __init__(
        self,
        random_state: int = 0,
        *,
        n_folds: int = 5,
        tolerance: float = 1.0,
        threads: int = 2,
        honest: bool = True,
    ) -> None:
        self.random_state = random_state
        self.n_folds = n_folds
        self.tolerance = tolerance
        self.threads = threads
        self.honest = honest

    def fit(
        self,
        judgements: Judgements,
        y: npt.ArrayLike,
        features: Features | None = None,
        groups: npt.ArrayLike | None = None,
        folds: npt.ArrayLike | None = None,
        *,
        on_progress: OnFit | None = None,
    ) -> Self:
        """Choose and fit.

        Parameters
        ----------
        judgements
            n pairs; see `Judgements.aligned_to` for putting them in the order of the votes.
        y
            (n,) outcomes in {0, 1, 2}, or (n, 3) shares of the annotators' votes. Shares are counted as the
            least number of annotators that could have given them (at most 12, else rounded to 12).
        features
            Odd and even columns of the same rows.
        groups, folds
            (n,) as for `Stacker`.
        on_progress
            As for `Stacker.fit`.

        Raises
        ------
        InputError
            As for `Stacker.fit`, fewer than four folds, or shares that are none.
        """
        rows, labels = voted_rows(y, len(judgements))
        if len(np.unique(labels)) < 2:
            raise InputError("every vote is the same; there is nothing to learn")
        codes = group_codes(groups, len(judgements))[rows]
        given = None if folds is None else group_codes(folds, len(judgements))[rows]
        fold = fold_codes(labels, codes, given, n_folds=self.n_folds, seed=self.random_state)
        if int(fold.max()) < MIN_FOLDS - 1:
            raise InputError(
                f"{int(fold.max()) + 1} folds: a panel needs at least {MIN_FOLDS}, since encoders are fitted "
                "without two of them and the one that they encode; use more folds"
            )
        self.ties_ = bool((labels == 2).any())
        source = EncodedPanel(
            taken(judgements.columns, rows), labels, None if features is None else features.take(rows)
        )
        self.has_table_ = source.table
        design = source.out_of_fold(fold)
        stacker = Stacker(
            self.random_state,
            n_folds=self.n_folds,
            tolerance=self.tolerance,
            threads=self.threads,
            honest=self.honest,
        )
        saturated = source.table and source.hard and features is None
        trees = not saturated
        candidates = for_judges(candidates_for(design, trees=trees))
        stacker.fit_source(source, candidates, LabelledRows(labels, codes, fold), on_progress=on_progress)
        self.stacker_ = stacker
        self.encoders_: Encoders = source.encoders(fold, frozenset())
        self._numbers = dict(judgements.numbers)
        shown = np.unique(rows, return_index=True)[1]
        self.oof_log_proba_: Floats = self._finished(stacker.oof_log_proba_[shown])
        self.candidate_oof_ = {
            name: self._finished(values[shown]) for name, values in stacker.candidate_oof_.items()
        }
        self.table_: list[ScoreRow] = stacker.table_
        self.evidence_ = Evidence(
            judgements,
            judgements.ids[np.unique(rows)],
            rows,
            labels,
            codes,
            fold,
            {
                name: self._finished(values)
                for name, values in zip(design.members, design.log_probs, strict=True)
            },
            features,
            Refits(
                source,
                stacker.oof_log_proba_,
                codes,
                fold,
                trees,
                self.random_state,
                self.tolerance,
                self.threads,
            )
            if self.honest
            else None,
        )
        self._judges: list[JudgeFacts] | None = None
        self.classes_ = np.arange(3)
        return self

    def _finished(self, log_probs: Floats) -> Floats:
        return log_probs if self.ties_ else without_ties(log_probs)

    @property
    def judge_names_(self) -> tuple[str, ...]:
        """The judges' names, in order."""
        return tuple(sorted(self._checked().encoders_))

    @property
    def known_(self) -> dict[str, KnownJudge]:
        """What `read_judgements` needs to read later files as the first ones: ``known=panel.known_``."""
        return {
            name: KnownJudge(encoder.kind, self._numbers.get(name))
            for name, encoder in self._checked().encoders_.items()
        }

    @property
    def judges_(self) -> list[JudgeFacts]:
        """What is known of each judge, the best first; computed when it is first asked for."""
        if self._checked()._judges is None:
            self._judges = self.evidence_.facts()
        assert self._judges is not None
        return self._judges

    @property
    def has_features_(self) -> bool:
        """Whether it was fitted with features, so that prediction needs them too."""
        fitted = self._checked().stacker_.fitted_
        return bool(fitted.odd_names or fitted.even_names)

    @property
    def choice_(self) -> str:
        """Name of the candidate chosen most often when the groups are resampled."""
        return self._checked().stacker_.choice_

    @property
    def selection_frequency_(self) -> dict[str, float]:
        """Candidate → how often it was chosen, which is its weight in the prediction."""
        return self._checked().stacker_.selection_frequency_

    @property
    def weights_(self) -> dict[str, float]:
        """What the choice is made of."""
        return self._checked().stacker_.weights_

    def predict_log_proba(self, judgements: Judgements, features: Features | None = None) -> Floats:
        """Natural-log probabilities (n, 3) of new pairs, columns A, B, TIE.

        Raises
        ------
        InputError
            A judge is missing or of another kind, or the features differ from those fitted on.
        """
        self._checked()
        for name, encoder in self.encoders_.items():
            if name not in judgements.columns:
                raise InputError(
                    f"the judge {name!r} of the panel is not among {', '.join(judgements.judges)}; give its "
                    "judgements (empty where it gave none)"
                )
            kind = judgements.columns[name].kind
            if kind != encoder.kind:
                raise InputError(
                    f"judge {name!r} gives {kind}, the panel was fitted on {encoder.kind}; give the same kind"
                )
        fitted = self.stacker_.fitted_
        names = ((), ()) if features is None else (tuple(features.odd_names), tuple(features.even_names))
        if names != (fitted.odd_names, fitted.even_names):
            raise InputError(
                "the features differ from those that the panel was fitted on; give the same texts"
            )
        parts = [np.empty((0, 3))]
        for start in range(0, len(judgements), BLOCK_ROWS):
            rows = np.arange(start, start + BLOCK_ROWS)
            there = rows < len(judgements)
            columns = taken(judgements.columns, np.where(there, rows, -1))
            padded = None if features is None else features.take(np.where(there, rows, 0))
            design = encoded_design(columns, self.encoders_, padded, cells=self.has_table_)
            parts.append(self._finished(self.stacker_.predict_design(design))[there])
        return np.concatenate(parts)

    def predict_proba(self, judgements: Judgements, features: Features | None = None) -> Floats:
        """Probabilities (n, 3) of new pairs, columns A, B, TIE."""
        return np.asarray(np.exp(self.predict_log_proba(judgements, features)), dtype=np.float64)

    def predict(self, judgements: Judgements, features: Features | None = None) -> npt.NDArray[np.int64]:
        """Likeliest outcome of new pairs, (n,)."""
        return np.asarray(self.predict_log_proba(judgements, features).argmax(axis=1), dtype=np.int64)

    def dump(self) -> dict[str, bytes]:
        """File name → content of what prediction needs: the encoders, and the stacker's files."""
        self._checked()
        state = dump_state(self.encoders_, ties=self.ties_, table=self.has_table_, numbers=self._numbers)
        return {MAIN: state, **self.stacker_.dump()}

    @classmethod
    def restore(cls, files: Mapping[str, bytes]) -> Self:
        """The panel that wrote these files, able to predict (``table_`` and OOF are not in them).

        Raises
        ------
        ArtifactError
            A file is missing or broken.
        """
        panel, state = cls(), read_state(files)
        panel.encoders_, panel.ties_, panel.has_table_ = state.encoders, state.ties, state.table
        panel._numbers = state.numbers
        panel.stacker_ = Stacker.restore(files)
        if panel.stacker_.fitted_.members != panel.judge_names_:
            raise ArtifactError(f"{MAIN} and the stacker's file name other judges; {_REMEDY}")
        panel.classes_ = np.arange(3)
        return panel

    def save(self, path: str | Path, extra: Mapping[str, bytes] | None = None) -> None:
        """Keep the fitted panel as a folder: its files, out-of-fold predictions, table, and card with hashes.

        Parameters
        ----------
        extra
            Other files of the folder, name → content.

        Raises
        ------
        InputError
            The folder holds other files, or the panel was loaded: it has no table of its own to keep.
        ArenaError
            The disk is full or the folder cannot be written.
        """
        if not hasattr(self._checked(), "evidence_"):
            raise InputError("this panel was loaded from a folder; copy that folder, or fit it again")
        target = folder.check_out(Path(path))
        evidence = self.evidence_
        card = evidence.card(self.stacker_, self.oof_log_proba_, self.table_, self.judges_, ties=self.ties_)
        oof = evidence.predictions(self.oof_log_proba_)
        judges = {**evidence.as_json, "judges": card.judges}
        files = {**self.dump(), folder.JUDGES: json.dumps(judges).encode(), **(extra or {})}
        self.card_ = folder.write(target, files, oof, self.table_, card)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The panel that was saved in a folder, after the hashes of all its files matched.

        It predicts and has its ``table_`` and ``judges_``; nothing is unpickled.

        Raises
        ------
        InputError
            There is no panel in the folder.
        ArtifactError
            A file is missing, truncated or edited.
        """
        contents, table, card = folder.read(Path(path), main=MAIN)
        panel = cls.restore(contents)
        panel.table_, panel.card_ = table, card
        panel._judges = [JudgeFacts(**one) for one in card.judges]
        return panel

    def _checked(self) -> Self:
        if not hasattr(self, "encoders_"):
            raise NotFittedError("this Panel is not fitted yet; call fit first")
        return self
