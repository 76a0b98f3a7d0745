"""Test predictions of the members → the ensemble's prediction → a checked submission file."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ..artifacts import atomic
from ..artifacts.cards import GammaNote
from ..artifacts.members import MemberArtifacts
from ..artifacts.share_shards import load_any_share
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..battles import Battles
from ..errors import InputError, OutOfTime
from ..features import Features, extract
from ..io import write_submission, write_winners
from ..predictions import Predictions, average_folds
from ..recipes import load_recipe
from . import gammas as kept_gammas
from . import tasks
from .combining import EnsemblePrediction, combine_folds
from .ensemble import Ensemble
from .guards import check_tests
from .job import Job
from .run_result import RunResult

log = logging.getLogger(__name__)

GAMMAS = "test.json"


def combine_test(
    workspace: Workspace,
    ensemble: Ensemble,
    test: Battles,
    *,
    train: Battles | None = None,
    all_folds: bool = True,
) -> EnsemblePrediction:
    """The ensemble's prediction of test battles that every member has predicted.

    The gammas of the fold averages are kept in ``oof/ensemble/test.json``, and those of ``all_folds`` for
    single battles too, see `gammas.keep`. Columns of external members are held against their out-of-fold
    predictions, with ``train`` also against the lengths of the answers.

    Raises
    ------
    InputError
        A member has no test predictions, not of these ids, or with columns exchanged.
    """
    by_fold: dict[str, list[Predictions]] = {}
    for name in ensemble.members:
        aligned = load_test_predictions(workspace, name, test)
        by_fold[name] = [p.without_ties() for p in aligned] if ensemble.card.n_classes == 2 else aligned
    features = extract(test)
    _check_external(workspace, by_fold, features, train)
    prediction = ensemble.combine(by_fold, features)
    log.info("gamma of fold averages: %s", ", ".join(f"{k} {v:.3f}" for k, v in prediction.gammas.items()))
    folds = {name: len(parts) for name, parts in by_fold.items()}
    note = GammaNote(test=test.digest(), rows=len(test), folds=folds, gammas=prediction.gammas)
    atomic.write_json(workspace.oof / ENSEMBLE / GAMMAS, note.model_dump())
    if all_folds:
        kept_gammas.keep(workspace, note)
    return replace(prediction, test=test.digest(outcomes=False))


def combine_survivors(
    workspace: Workspace,
    ensemble: Ensemble,
    test: Battles,
    result: RunResult,
    *,
    use_folds: tuple[int, ...] | None = None,
) -> EnsemblePrediction:
    """The prediction from what is there: of members that are late or failed in part, their other folds.

    Where a member is missing altogether, the best of the kept pools of the others takes the stacker's place.

    Raises
    ------
    InputError
        No pool was kept of the members that are left.
    OutOfTime
        No member has predicted a fold.
    """
    late = result.late
    by_fold, left_out, fewer = {}, dict(result.failed), {}
    for name in ensemble.members:
        if name in result.failed:
            continue
        parts, folds = load_begun(workspace, name, test, ensemble.card.n_classes, use_folds=use_folds)
        if parts:
            by_fold[name] = parts
            if len(parts) < folds:
                fewer[name] = f"{len(parts)} of {folds} fold models"
        else:
            left_out[name] = late.get(name, "it has no predictions")
    if not by_fold and late:
        raise OutOfTime(f"no member has predicted in time ({'; '.join(late.values())}); give more --hours")
    features = extract(test)
    if left_out:
        pool = None if ensemble.fallback is None else ensemble.fallback.best(list(by_fold))
        if pool is None:
            raise InputError(
                f"without {', '.join(left_out)} nothing was kept to predict with; mend them, or run "
                "`arena-ensemble stack` again with the others"
            )
        by_fold = {name: by_fold[name] for name in pool.weights}
        fewer = {name: what for name, what in fewer.items() if name in by_fold}
    _check_external(workspace, by_fold, features, None)
    for name, why in left_out.items():
        log.warning("left out: member %s (%s)", name, why)
    cut = {name: share for name, share in result.second_order.items() if name in by_fold}
    partly = {name: why for name, why in result.partly.items() if name in by_fold}
    for name, share in cut.items():
        log.warning(
            "out of time: member %s predicted %.0f %% of the rows in the second order", name, 100 * share
        )
    for name, what in fewer.items():
        why = f"failed in part ({partly[name]})" if name in partly else "out of time"
        log.warning("%s: member %s predicted with %s", why, name, what)
    if left_out:
        assert pool is not None
        prediction = combine_folds(by_fold, pool.log_probs, n_classes=ensemble.card.n_classes)
    else:
        prediction = ensemble.combine(by_fold, features)
    return replace(
        prediction,
        left_out=left_out,
        fewer_folds=fewer,
        partly=partly,
        late=dict(late),
        second_order=cut,
        test=test.digest(outcomes=False),
    )


def load_begun(
    workspace: Workspace,
    name: str,
    test: Battles,
    n_classes: int,
    *,
    use_folds: tuple[int, ...] | None = None,
) -> tuple[list[Predictions], int]:
    """The test predictions of a member's folds that are there, in the battles' order, and how many it has.

    Raises
    ------
    InputError
        An imported member has none.
    """
    card = MemberArtifacts(workspace, name).card()
    if card is not None and card.is_external:
        parts = load_test_predictions(workspace, name, test)
        folds = len(parts)
    else:
        recipe = load_recipe(workspace.recipe_path(name))
        job = Job(workspace.root, None, None, test, n_classes=n_classes, use_folds=use_folds)
        planned = tasks.plan(job, name, recipe)
        keys = [task.test_key for task in planned if task.test_key is not None]
        artifacts, folds = MemberArtifacts(workspace, name), len(keys)
        begun = [part for part in (load_any_share(artifacts, key) for key in keys) if part is not None]
        parts = [part.aligned_to(test.ids, name=f"test predictions of {name!r}") for part in begun]
    return [part.without_ties() for part in parts] if n_classes == 2 else parts, folds


def load_test_predictions(workspace: Workspace, name: str, test: Battles) -> list[Predictions]:
    """Each fold model's predictions of these test battles, in their order.

    Raises
    ------
    InputError
        There are none, or not of all battles; of an imported member the remedy is another import.
    """
    artifacts = MemberArtifacts(workspace, name)
    try:
        return [
            part.aligned_to(test.ids, name=f"test predictions of {name!r}") for part in artifacts.load_test()
        ]
    except InputError as error:
        card = artifacts.card()
        if card is None or not card.is_external:
            raise
        what = str(error).split(";")[0]
        raise InputError(
            f"{what}; it was imported: import it again with its predictions of all {len(test):,} test "
            "battles (--test FILE)"
        ) from None


def _check_external(
    workspace: Workspace,
    by_fold: dict[str, list[Predictions]],
    features: Features,
    train: Battles | None,
) -> None:
    """Hold the test columns of external members against their out-of-fold predictions."""
    cards = {name: MemberArtifacts(workspace, name).card() for name in by_fold}
    external = [name for name, card in cards.items() if card is not None and card.is_external]
    if not external:
        return
    # out-of-fold predictions of members trained here may have stayed on the training machine
    loaded = {
        name: MemberArtifacts(workspace, name).load()[0] for name, card in cards.items() if card is not None
    }
    ids = loaded[external[0]].ids if train is None else train.ids
    members = {
        name: predictions.aligned_to(ids, name=f"member {name!r}") for name, predictions in loaded.items()
    }
    check_tests(
        members,
        {name: average_folds(by_fold[name]) for name in members},
        external=external,
        features=None if train is None else extract(train),
        test_features=features,
    )


def write(path: Path, prediction: EnsemblePrediction, *, sample_submission: Path | None = None) -> None:
    """Write the submission: ids and order of the test file, rows sum to one, whole or absent.

    A task of two outcomes gets its own kind: ``id,winner``.

    Raises
    ------
    InputError
        The sample submission has other ids or columns.
    """
    write_file = write_winners if prediction.n_classes == 2 else write_submission
    write_file(path, prediction.ids, prediction.log_probs, sample=sample_submission)
