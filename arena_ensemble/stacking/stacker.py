"""`Stacker`: the ensemble of members and features, chosen and scored out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

from ..errors import InputError
from ..features import Features
from ..metrics import ScoreRow, checked_labels, group_codes, score_rows
from ..predictions import Floats
from . import sampling
from .base import path_at
from .candidates import candidates_for
from .choosing import choose
from .design import Design, DesignSource, Members, first_signs, has_ties, make_design
from .fit_progress import FitProgress, OnFit
from .nested_cv import FitSettings
from .parts import Parts, decision_parts
from .pooling import PooledModel
from .row_folds import LabelledRows, fold_codes
from .score_table import ENSEMBLE_ROW, score_entries
from .selection import CandidateSet, decision_log_probs
from .serialization import FittedStacker, from_files, to_files


class Stacker(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Swap-equivariant stacking of members (n, 3) and features, with an honest score of the choice.

    Parameters
    ----------
    random_state
        Seed of the folds (when none are given) and of LightGBM.
    n_folds
        Folds of the nested cross-fitting when ``folds`` is not given to `fit`.
    tolerance
        In each resample, the simplest candidate within this many paired standard errors of the best is
        chosen. Up to 1,000 rows candidates are averaged by their evidence instead, and between 1,000 and
        2,000 rows the two weights are mixed.
    threads
        Fits that run side by side. Repeats are identical for one seed, whatever this number.
    honest
        False leaves out the nested score (``table_`` then holds what was chosen on, optimistic by the
        choosing): three times faster, the same model.

    Attributes
    ----------
    choice_
        Name of the candidate of most weight.
    selection_frequency_
        Candidate → how often it was chosen when the groups were resampled, or its averaged weight: the
        prediction is the geometric mean with these weights.
    table_
        List of `ScoreRow`, the prior first, the procedure's honest score last.
    weights_
        Mapping of what the choice is made of: members for a pool, candidates for a blend.
    temperature_
        Final temperature of the choice.
    oof_log_proba_
        (n, 3) honest out-of-fold log-probabilities of the whole procedure, choosing included.
    candidate_oof_
        Candidate → (n, 3) honest out-of-fold log-probabilities, of 32 bits past 200,000 rows.
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
        members: Members,
        y: npt.ArrayLike,
        features: Features | None = None,
        groups: npt.ArrayLike | None = None,
        folds: npt.ArrayLike | None = None,
        bayes_log_probs: Floats | None = None,
        *,
        one_order: Sequence[str] = (),
        first: npt.ArrayLike | None = None,
        on_progress: OnFit | None = None,
    ) -> Self:
        """Choose and fit.

        Parameters
        ----------
        members
            Name → out-of-fold probabilities (n, 3) or `Predictions`; may be empty with features.
        y
            (n,) outcomes in {0, 1, 2}.
        features
            Odd and even columns of the same rows.
        groups
            (n,) group of each row: standard errors are clustered by it, and folds keep it whole.
        folds
            (n,) the fold of each row in the project's one fold file; made here when absent.
        bayes_log_probs
            (n, 3) true log-probabilities, where known (the sample arena): fills ``gap_closed``.
        one_order
            Members that predicted each battle in one order only, so that they may lean to the response that
            they saw first: candidates with a lean are tried for them, and used where that pays by more than
            a standard error. All others are kept exactly odd and even.
        first
            (n,) of ``"a"`` and ``"b"``: the response that those members saw first; default a in each row.
        on_progress
            Hears how far the fits are: planned work done, its total, which candidate is fitted.

        Raises
        ------
        InputError
            Rows that differ, a label or a probability that is none, one outcome only, fewer groups
            than folds, a group that lies in two folds, or a member of one order that predicted both.
        """
        labels = checked_labels(y)
        ties = has_ties(members, labels)
        design = make_design(members, features, n=len(labels), one_order=one_order, first=first, ties=ties)
        if len(np.unique(labels)) < 2:
            raise InputError("every row has the same outcome; there is nothing to learn")
        if self.threads < 1:
            raise InputError(f"threads={self.threads}: expected at least 1")
        codes = group_codes(groups, len(labels))
        fold = fold_codes(labels, codes, folds, n_folds=self.n_folds, seed=self.random_state)
        rows = LabelledRows(labels, codes, fold)
        candidates = candidates_for(design)
        return self.fit_source(design, candidates, rows, bayes_log_probs, on_progress=on_progress)

    def fit_source(
        self,
        source: DesignSource,
        candidates: CandidateSet,
        rows: LabelledRows,
        bayes_log_probs: Floats | None = None,
        *,
        on_progress: OnFit | None = None,
    ) -> Self:
        """As `fit`, from checked labels, groups and folds, inputs perhaps learned in each fold."""
        # our own threads fit candidates side by side; BLAS's beside them would wait by spinning
        with threadpool_limits(limits=1, user_api="blas"):
            return self._fit_source(source, candidates, rows, bayes_log_probs, FitProgress(on_progress))

    def _fit_source(
        self,
        source: DesignSource,
        candidates: CandidateSet,
        rows: LabelledRows,
        bayes_log_probs: Floats | None,
        progress: FitProgress,
    ) -> Self:
        settings = FitSettings(self.random_state, self.threads, self.tolerance, self.honest)
        found = choose(candidates, source, rows, settings, progress)
        places = sampling.fitted_rows(source, rows.groups, seed=self.random_state)
        if places is not None and isinstance(source, Design):
            design, seen = source.take(places), rows.y[places]
        else:
            design, seen = source.leaving_out(rows.folds, ()), rows.y
        self.fitted_: FittedStacker = FittedStacker(
            {
                name: candidates.candidate(name).fit(design, seen, self.random_state)
                for name in found.decision.parts()
            },
            {name: candidates.predicts_tie_logit[name] for name in found.decision.parts()},
            found.decision,
            design.members,
            design.odd_names,
            design.even_names,
            design.one_order,
            design.ties,
        )
        del design
        self.fold_choices_ = {number: one.choice for number, one in found.fold_decisions.items()}
        self.oof_log_proba_: Floats = found.log_probs
        self.candidate_oof_: dict[str, Floats] = {
            name: found.candidate_log_probs[name] for name in candidates.order
        }
        self.classes_ = np.arange(3)
        self.table_: list[ScoreRow] = score_rows(
            score_entries(
                source.out_of_fold(rows.folds), rows.y, rows.folds, candidates, found, honest=self.honest
            ),
            rows.y,
            reference=ENSEMBLE_ROW,
            groups=rows.groups,
            chosen=self.choice_,
            bayes_log_probs=bayes_log_probs,
        )
        return self

    @property
    def choice_(self) -> str:
        """Name of the candidate chosen most often when the groups are resampled."""
        return self._checked_fitted().decision.choice

    @property
    def temperature_(self) -> float:
        """Final temperature of the choice (1 for a blend: its weights' sum is its sharpness)."""
        return 1.0 / self._checked_fitted().decision.betas.get(self.choice_, 1.0)

    @property
    def selection_frequency_(self) -> dict[str, float]:
        """Candidate → how often it was chosen, which is its weight in the prediction."""
        return dict(self._checked_fitted().decision.selection_frequency)

    @property
    def weights_(self) -> dict[str, float]:
        """What the choice is made of."""
        fitted = self._checked_fitted()
        if self.choice_ in fitted.decision.blend_weights:
            return dict(fitted.decision.blend_weights[self.choice_])
        model = fitted.models[self.choice_]
        if isinstance(model, PooledModel):
            return dict(zip(fitted.members, model.weights.tolist(), strict=True))
        return {self.choice_: 1.0}

    def predict_design(self, design: Design) -> Floats:
        """Natural-log probabilities (n, 3) of a design with the members and features fitted on."""
        fitted = self._checked_fitted()
        index = fitted.decision.path_index
        paths = {name: path_at(model, design, index[name]) for name, model in fitted.models.items()}
        return decision_log_probs(fitted.decision, paths, fitted.predicts_tie_logit)

    def predict_log_proba(
        self, members: Members, features: Features | None = None, *, first: npt.ArrayLike | None = None
    ) -> Floats:
        """Natural-log probabilities (n, 3) of new rows, columns A, B, TIE; ``first`` as in `fit`.

        Raises
        ------
        InputError
            Other members or features than those fitted on.
        """
        fitted = self._checked_fitted()
        return self.predict_design(_matching_design(fitted, members, features, first))

    def predict_proba(
        self, members: Members, features: Features | None = None, *, first: npt.ArrayLike | None = None
    ) -> Floats:
        """Probabilities (n, 3) of new rows, columns A, B, TIE; ``first`` as in `fit`."""
        return np.asarray(np.exp(self.predict_log_proba(members, features, first=first)), dtype=np.float64)

    def predict(
        self, members: Members, features: Features | None = None, *, first: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.int64]:
        """Likeliest outcome of new rows, (n,); ``first`` as in `fit`."""
        found = self.predict_log_proba(members, features, first=first)
        return np.asarray(np.argmax(found, axis=1), dtype=np.int64)

    def parts(
        self, members: Members, features: Features | None = None, *, first: npt.ArrayLike | None = None
    ) -> Parts:
        """What each member and feature adds to delta and tau of new rows; arguments as in `predict_proba`."""
        fitted = self._checked_fitted()
        return decision_parts(fitted, _matching_design(fitted, members, features, first))

    def dump(self) -> dict[str, bytes]:
        """File name → content of what prediction needs: one JSON, and LightGBM texts hashed in it."""
        return to_files(self._checked_fitted())

    @classmethod
    def restore(cls, files: Mapping[str, bytes]) -> Self:
        """The stacker that wrote these files, able to predict (``table_`` and OOF are not in them).

        Raises
        ------
        ArtifactError
            A file is missing or broken, or a LightGBM text is not the one that was written. Whether the
            JSON is, only a hash kept elsewhere can tell: the artifact's card has it.
        """
        stacker = cls()
        stacker.fitted_ = from_files(files)
        stacker.classes_ = np.arange(3)
        return stacker

    def _checked_fitted(self) -> FittedStacker:
        if not hasattr(self, "fitted_"):
            raise NotFittedError("this Stacker is not fitted yet; call fit first")
        return self.fitted_


def _matching_design(
    fitted: FittedStacker, members: Members, features: Features | None, first: npt.ArrayLike | None
) -> Design:
    # Folds of new rows arrive combined: whether both orders are in them was known when this was fitted.
    design = make_design(members, features, ties=fitted.ties)
    if design.members != fitted.members:
        raise InputError(
            f"the stacker was fitted on members {', '.join(fitted.members) or '(none)'}; "
            f"given: {', '.join(design.members) or '(none)'}"
        )
    if (design.odd_names, design.even_names) != (fitted.odd_names, fitted.even_names):
        raise InputError("the features differ from those that the stacker was fitted on")
    if not fitted.one_order:
        return design
    return replace(design, one_order=fitted.one_order, first=first_signs(first, len(design)))
