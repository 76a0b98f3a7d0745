"""`Stacker`: the ensemble of members and features, chosen and scored out of fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from ..calibration import fit_temperature
from ..errors import InputError
from ..features import Features
from ..folds.split import stratified_group_folds
from ..metrics import ScoreRow, checked_labels, group_codes, prior_log_probs, score_rows
from ..predictions import Floats
from .base import Model
from .candidates import menu_for
from .design import Design, Members, make_design
from .nested_cv import Codes, Readings, cross_readings, nested
from .pooling import TEMPERATURE_ROWS
from .selection import Decision, Menu, combined
from .serialization import from_files, to_files


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
        chosen.
    threads
        Fits that run side by side. Repeats are identical for one seed, whatever this number.
    honest
        False leaves out the nested score (``table_`` then holds what was chosen on, optimistic by the
        choosing): three times faster, the same model.

    Attributes
    ----------
    choice_
        Name of the candidate chosen most often when the groups are resampled.
    shares_
        Candidate → how often it was chosen: the prediction is their geometric mean by these shares.
    table_
        List of `ScoreRow`, the prior first, the procedure's honest score last.
    weights_
        Mapping of what the choice is made of: members for a pool, candidates for a mix.
    temperature_
        Final temperature of the choice.
    oof_log_proba_
        (n, 3) honest out-of-fold log-probabilities of the whole procedure, choosing included.
    candidate_oof_
        Candidate → (n, 3) honest out-of-fold log-probabilities.
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

        Raises
        ------
        InputError
            Rows that differ, a label or a probability that is none, one outcome only, fewer groups
            than folds, or a group that lies in two folds.
        """
        labels = checked_labels(y)
        design = make_design(members, features, n=len(labels))
        if len(np.unique(labels)) < 2:
            raise InputError("every row has the same outcome; there is nothing to learn")
        codes = group_codes(groups, len(labels))
        parts = fold_codes(labels, codes, folds, n_folds=self.n_folds, seed=self.random_state)
        menu: Menu = menu_for(design)
        if self.threads < 1:
            raise InputError(f"threads={self.threads}: expected at least 1")
        self.member_names_: tuple[str, ...] = design.members
        self.feature_names_ = (design.odd_names, design.even_names)
        readings = cross_readings(
            menu.families,
            design,
            labels,
            parts,
            seed=self.random_state,
            pairs=self.honest,
            threads=self.threads,
        )
        again = self._repeated(menu, design, labels, codes, count=int(parts.max()) + 1)
        found = nested(
            menu, readings, labels, codes, parts, again=again, tolerance=self.tolerance, honest=self.honest
        )
        self.decision_: Decision = found.decision
        self.fold_choices_ = {fold: made.choice for fold, made in found.fold_decisions.items()}
        self.choice_: str = found.decision.choice
        self.oof_log_proba_: Floats = found.chosen
        self.candidate_oof_: dict[str, Floats] = {name: found.scored[name] for name in menu.order}
        self.models_: dict[str, Model] = {
            name: menu.family(name).fit(design, labels, self.random_state) for name in found.decision.parts()
        }
        self.factored_ = {name: menu.factored[name] for name in self.models_}
        self.classes_ = np.arange(3)
        entries: list[tuple[str, str, Floats, int | None, bool, str]] = [
            (
                "prior",
                "baseline",
                prior_log_probs(labels, parts),
                None,
                True,
                "class frequencies of the other folds",
            )
        ]
        rank = {name: place for place, name in enumerate(menu.order)}
        taken = {"prior", "ensemble", *found.scored}
        for place, member in enumerate(design.members):
            name = f"{member} (member)" if member in taken else member
            entries.append((name, "member", design.log_probs[place], None, True, ""))
            after = tempered_out_of_fold(design.log_probs[place], labels, parts)
            entries.append((f"{name}, temperature", "member", after, None, True, ""))
        for name, log_probs in found.scored.items():
            if name != "prior":
                entries.append((name, "candidate", log_probs, rank.get(name), self.honest, ""))
        made_of = "; ".join(f"{name} {share:.0%}" for name, share in self.shares_.items())
        entries.append(("ensemble", "choice", found.chosen, None, self.honest, made_of))
        self.table_: list[ScoreRow] = score_rows(
            entries,
            labels,
            reference="ensemble",
            groups=codes,
            chosen=self.choice_,
            bayes_log_probs=bayes_log_probs,
        )
        return self

    def _repeated(
        self, menu: Menu, design: Design, y: Codes, groups: Codes, *, count: int
    ) -> list[tuple[Codes, dict[str, Readings]]]:
        """Other folds and their readings, where the rows are few and one set of folds is a lottery."""
        found = []
        for again in range(1, repeats_for(len(y))):
            seed = (self.random_state + again) % 2**32
            folds = group_codes(stratified_group_folds(y, groups, n_folds=count, seed=seed), len(y))
            made = cross_readings(
                menu.families, design, y, folds, seed=seed, pairs=False, threads=self.threads
            )
            found.append((folds, made))
        return found

    @property
    def temperature_(self) -> float:
        """Final temperature of the choice (1 for a mix: its weights' sum is its sharpness)."""
        return 1.0 / self.decision_.betas.get(self.choice_, 1.0)

    @property
    def shares_(self) -> dict[str, float]:
        """Candidate → its share in the prediction."""
        return dict(self.decision_.shares)

    @property
    def weights_(self) -> dict[str, float]:
        """What the choice is made of."""
        if self.choice_ in self.decision_.mixes:
            return dict(self.decision_.mixes[self.choice_])
        values: dict[str, Any] = self.models_[self.choice_].state().values
        if "weights" in values:
            return dict(zip(self.member_names_, values["weights"], strict=True))
        return {self.choice_: 1.0}

    def predict_log_proba(self, members: Members, features: Features | None = None) -> Floats:
        """Natural-log probabilities (n, 3) of new rows, columns A, B, TIE.

        Raises
        ------
        InputError
            Other members or features than those fitted on.
        """
        return self._read(self._design(members, features))

    def predict_proba(self, members: Members, features: Features | None = None) -> Floats:
        """Probabilities (n, 3) of new rows, columns A, B, TIE."""
        return np.asarray(np.exp(self.predict_log_proba(members, features)), dtype=np.float64)

    def predict(self, members: Members, features: Features | None = None) -> npt.NDArray[np.int64]:
        """Likeliest outcome of new rows, (n,)."""
        return np.asarray(np.argmax(self.predict_log_proba(members, features), axis=1), dtype=np.int64)

    def _read(self, design: Design) -> Floats:
        readings = {name: model.readings(design) for name, model in self.models_.items()}
        return combined(self.decision_, readings, self.factored_)

    def dump(self) -> dict[str, bytes]:
        """File name → content of what prediction needs: one JSON, and LightGBM texts hashed in it."""
        if not hasattr(self, "decision_"):
            raise NotFittedError("this Stacker is not fitted yet; call fit first")
        names = {
            "members": self.member_names_,
            "odd": self.feature_names_[0],
            "even": self.feature_names_[1],
        }
        return to_files(self.models_, self.factored_, self.decision_, names)

    @classmethod
    def restore(cls, files: Mapping[str, bytes]) -> Self:
        """The stacker that wrote these files, able to predict (``table_`` and OOF are not in them).

        Raises
        ------
        ArtifactError
            A file is missing or broken, or a LightGBM text is not the one that was written. Whether the
            JSON is, only a hash kept elsewhere can tell: the artifact's card has it.
        """
        made = cls()
        made.models_, made.factored_, made.decision_, names = from_files(files)
        made.member_names_ = names["members"]
        made.feature_names_ = (names["odd"], names["even"])
        made.choice_ = made.decision_.choice
        made.classes_ = np.arange(3)
        return made

    def _design(self, members: Members, features: Features | None) -> Design:
        if not hasattr(self, "decision_"):
            raise NotFittedError("this Stacker is not fitted yet; call fit first")
        design = make_design(members, features)
        if design.members != self.member_names_:
            raise InputError(
                f"the stacker was fitted on members {', '.join(self.member_names_) or '(none)'}; "
                f"given: {', '.join(design.members) or '(none)'}"
            )
        if (design.odd_names, design.even_names) != self.feature_names_:
            raise InputError("the features differ from those that the stacker was fitted on")
        return design


def repeats_for(rows: int) -> int:
    """How many sets of folds the choice is made on: four up to 1,000 rows, two up to 2,000, then one."""
    return max(1, min(4, 4000 // rows))


def tempered_out_of_fold(log_probs: Floats, y: npt.NDArray[np.int64], folds: npt.NDArray[np.int64]) -> Floats:
    """A member after its temperature (n, 3), each fold's fitted on the other folds."""
    out = np.empty_like(log_probs)
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        fitted = fit_temperature(log_probs[~held], y[~held], prior_rows=TEMPERATURE_ROWS)
        out[held] = fitted.apply(log_probs[held])
    return out


def fold_codes(
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    folds: npt.ArrayLike | None,
    *,
    n_folds: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Folds 0 … K-1 of the rows: those given, checked, or stratified ones that keep groups whole."""
    n = len(y)
    if n_folds < 3:
        raise InputError(f"{n_folds} folds: nested cross-fitting needs at least three")
    if folds is None:
        count = int(groups.max()) + 1
        if count < n_folds:
            raise InputError(f"{count} groups cannot fill {n_folds} folds; use fewer folds")
        return group_codes(stratified_group_folds(y, groups, n_folds=n_folds, seed=seed), n)
    codes = group_codes(folds, n)
    if codes.max() < 2:
        raise InputError("nested cross-fitting needs at least three folds")
    pairs = np.unique(np.stack([groups, codes]), axis=1).shape[1]
    if pairs != int(groups.max()) + 1:
        raise InputError("a group lies in two folds: its rows would train the model that is scored on them")
    return codes
