"""A member whose folds are all predicted: their tables become one, and its card says how good it is."""

from __future__ import annotations

from collections.abc import Sequence

from .. import metrics
from ..artifacts.cards import FoldCard, MemberCard
from ..diagnostics import collapse
from ..errors import ArenaError
from ..predictions import Predictions
from . import starts
from .extra_data import learned_unverified
from .job import FoldTask, Job
from .tasks import versions


def finish_member(job: Job, planned: Sequence[FoldTask]) -> MemberCard | None:
    """Merge the folds' predictions and write the member's card. Idempotent.

    Returns None for a member that was trained elsewhere and has no card here.
    """
    first, folds = planned[0], [task for task in planned if task.fold >= 0]
    member = job.artifacts(first.member)
    found = [member.fold_card(task.fold) for task in planned]
    unverified = any(card is not None and learned_unverified(card.learned_from) for card in found)
    test_keys = [task.test_key for task in planned if task.test_key is not None]
    if test_keys:
        member.merge_test(test_keys, learned_unverified=unverified)
    if job.train is not None and job.folds is not None and not member.is_merged(first.oof_key):
        predictions = member.merged_oof([task.oof_key for task in folds], job.train.ids)
        starts.refuse_exchanged_head(first.recipe, predictions, job.train.outcomes(), job.folds.group)
        member.commit_oof(predictions, _member_card(job, folds, predictions, unverified))
    member.remove_shards([task.fold for task in planned])
    return member.card()


def held_out_loss(job: Job, task: FoldTask, error: Exception | None = None) -> float | None:
    """Log-loss of a trained fold's held-out rows; None after an error, and where nothing is held out."""
    if error is not None or job.train is None or job.folds is None or task.fold < 0:
        return None
    held = job.train.take(job.folds.rows(task.fold))
    try:
        predictions = job.artifacts(task.member).merged_oof([task.oof_key], held.ids)
    except ArenaError:  # predicted earlier, and merged since
        return None
    return float(metrics.row_losses(predictions.combined().log_probs, held.outcomes()).mean())


def _member_card(
    job: Job, planned: Sequence[FoldTask], predictions: Predictions, unverified: bool
) -> MemberCard:
    """The card of a member whose folds are all predicted: scores, alarms, and what its folds report."""
    assert job.train is not None
    assert job.folds is not None
    first = planned[0]
    cards = [job.artifacts(first.member).fold_card(task.fold) for task in planned]
    folds = [card for card in cards if card is not None]
    log_probs = predictions.combined().log_probs
    y = job.train.outcomes()
    prior = metrics.prior_log_probs(y, job.folds.fold)
    found = collapse.collapse_warnings(log_probs, y, prior, job.folds.group)
    return MemberCard(
        key=first.oof_key.of_all_folds(),
        member=first.member,
        backbone=first.recipe.backbone,
        folds_verified=all(card.learned_from.get("start", {}).get("folds_verified", True) for card in folds),
        learned_unverified=unverified,
        rows=len(job.train),
        standard_error=metrics.standard_error(metrics.row_losses(log_probs, y), job.folds.group),
        **collapse.prediction_summary(log_probs, y, prior),
        seconds=float(sum(card.seconds for card in folds)),
        alarms=found.alarms,
        notes=[*found.notes, *_begun_again(folds)],
        data_notes=list(job.notes),
        learned_from=[card.learned_from for card in folds],
        fold_facts=[card.facts for card in folds],
        versions=versions(),
    )


def _begun_again(folds: Sequence[FoldCard]) -> list[str]:
    """A note per fold that lost its machine or its process on the way."""
    return [
        f"fold {card.key.fold} was begun again: {'; '.join(tries)}"
        for card in folds
        if (tries := card.facts.get("earlier_tries"))
    ]
