"""A submission that is valid on disk while the run goes on: the prior, then one from every member that ends.

A killed run, or one that is out of time, leaves the best file so far. A note in ``oof/`` keeps which members
the file was made from, so that a later run never replaces it by one of fewer members.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..artifacts import atomic
from ..artifacts.files import digest_file
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import SUBMISSION_NOTE, Workspace
from ..battles import Battles
from ..errors import ArenaError, InputError
from ..io import WINNER_COLUMNS, check_sample, check_submission
from ..predictions import Predictions
from .combining import EnsemblePrediction, combine_folds
from .ensemble import Ensemble
from .fallback import Fallback, fit_pool, outcome_shares
from .submission import load_begun, load_test_predictions, write

log = logging.getLogger(__name__)

Make = Callable[[Sequence[str]], EnsemblePrediction]
"""the prediction from these members alone; of none, the prior"""


class StandingNote(BaseModel):
    """What the submission on disk was made from."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sha256: str
    test: str
    members: list[str]


@dataclass(frozen=True)
class StandingSubmission:
    """Call it with the members that are finished: the file is replaced where they are more than before.

    Whatever goes wrong here is logged and costs the run nothing.
    """

    path: Path
    workspace: Workspace
    test: Battles
    make: Make
    sample: Path | None = None

    def __call__(self, finished: Sequence[str]) -> None:
        """Write the submission of these members, if it is from more than the one on disk."""
        try:
            if len(finished) > self._count():
                self._put(self.make(finished), finished)
        except (ArenaError, ArithmeticError, MemoryError, OSError, RuntimeError, ValueError) as error:
            log.warning("%s stays as it is: %s", self.path, error)

    def _count(self) -> int:
        """How many members the file on disk is from; -1 where there is none of ours for these battles."""
        try:
            note = StandingNote.model_validate_json((self.workspace.oof / SUBMISSION_NOTE).read_bytes())
            ours = note.test == self.test.digest(outcomes=False) and note.sha256 == digest_file(self.path)
        except (OSError, ValidationError):
            return -1
        return len(note.members) if ours else -1

    def _put(self, prediction: EnsemblePrediction, members: Sequence[str]) -> None:
        """Write beside, check as the competition would, rename."""
        beside = self.path.with_name(f".{self.path.name}.tmp-0")
        write(beside, prediction, sample_submission=self.sample)
        if prediction.n_classes == 2:
            check_sample(beside, self.test.ids, WINNER_COLUMNS)
        else:
            check_submission(beside, self.test.ids)
        beside.replace(self.path)
        note(self.workspace, self.path, self.test.digest(outcomes=False), members)
        what = f"members {', '.join(members)}" if members else "the prior, until a member is finished"
        log.info("%s is valid now, from %s", self.path, what)


def note(workspace: Workspace, path: Path, test: str, members: Sequence[str]) -> None:
    """Keep which members the submission on disk was made from, and the digest of its battles."""
    kept = StandingNote(sha256=digest_file(path), test=test, members=sorted(members))
    atomic.write_json(workspace.oof / SUBMISSION_NOTE, kept.model_dump())


def from_votes(
    workspace: Workspace, train: Battles, test: Battles, *, n_classes: int, also: Sequence[str] = ()
) -> Make:
    """While members are trained: a geometric pool fitted on the out-of-fold predictions of the finished ones.

    ``also`` names members that were imported; one without predictions of the test battles has no part.
    """
    y = train.outcomes()

    def make(finished: Sequence[str]) -> EnsemblePrediction:
        if not finished:
            return prior(Fallback(shares=outcome_shares(y, n_classes), pools=[]), test, n_classes)
        tests = _tests(workspace, finished, test, n_classes)
        for name in also:
            try:
                tests |= _tests(workspace, [name], test, n_classes)
            except InputError:
                log.debug("no test predictions of %s", name)
        oof = {name: MemberArtifacts(workspace, name).load()[0] for name in tests}
        aligned = {name: one.aligned_to(train.ids, name=f"member {name!r}") for name, one in oof.items()}
        if n_classes == 2:
            aligned = {name: one.without_ties() for name, one in aligned.items()}
        return combine_folds(tests, fit_pool(aligned, y).log_probs, n_classes=n_classes)

    return make


def from_ensemble(
    workspace: Workspace,
    ensemble: Ensemble,
    test: Battles,
    *,
    also: Sequence[str] = (),
    use_folds: tuple[int, ...] | None = None,
) -> Make:
    """While a finished ensemble predicts: the best of its kept pools whose members are all there."""
    n_classes = ensemble.card.n_classes

    def make(finished: Sequence[str]) -> EnsemblePrediction:
        fallback = kept_fallback(ensemble)
        pool = fallback.best([*finished, *also])
        if pool is None:
            return prior(fallback, test, n_classes)
        tests = {
            name: load_begun(workspace, name, test, n_classes, use_folds=use_folds)[0]
            for name in pool.weights
        }
        return combine_folds(tests, pool.log_probs, n_classes=n_classes)

    return make


def kept_fallback(ensemble: Ensemble) -> Fallback:
    """The ensemble's pools of fewer members.

    Raises
    ------
    InputError
        An earlier version built the ensemble: it has none.
    """
    if ensemble.fallback is None:
        raise InputError("this ensemble has no pools of fewer members; run `arena-ensemble stack` again")
    return ensemble.fallback


def prior(fallback: Fallback, test: Battles, n_classes: int) -> EnsemblePrediction:
    """How often each outcome was voted, for every test battle."""
    return EnsemblePrediction(test.ids, fallback.prior(len(test)), {}, n_classes)


def _tests(
    workspace: Workspace, names: Sequence[str], test: Battles, n_classes: int
) -> dict[str, list[Predictions]]:
    found = {name: load_test_predictions(workspace, name, test) for name in names}
    if n_classes == 2:
        return {name: [one.without_ties() for one in parts] for name, parts in found.items()}
    return found
