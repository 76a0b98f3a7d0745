"""The verbs of the river: oof, stack, submission. Each does whatever is missing before it."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ..artifacts import members as member_files
from ..artifacts import store
from ..backbones.language import hub
from ..battles import Battles
from ..errors import InputError, MemberError
from ..folds import NEAR_DUPLICATES, Folds
from ..io import COLUMNS, WINNER_COLUMNS, check_sample, load_battles, read_battles, read_predictions
from ..pipeline import ensemble, executors, external, lessons, oof
from ..pipeline import submission as submit
from ..predictions import Floats
from ..recipes import Recipe, load_recipe
from . import PARTLY, Result, tables
from .progress import Bars, clock

log = logging.getLogger(__name__)

DEFAULT_MEMBERS: Final = ("tiny-classify", "tiny-generate", "tiny-swap", "lexical")
_SMALL_FILE: Final = 10_000
"""Battles past which the default members are warned of: on two cores they train about a day on Kaggle's."""


class _Run(NamedTuple):
    """What the first part of every river verb leaves behind."""

    workspace: store.Workspace
    train: Battles
    test: Battles | None
    folds: Folds
    outcome: executors.Outcome
    outcomes: int = 3


def oof_verb(options: argparse.Namespace) -> Result:
    """Train the members and keep their out-of-fold predictions."""
    workspace = store.Workspace(options.workspace)
    with workspace.locked("arena-ensemble oof"):
        made = _cross_fitted(workspace, options)
    if not made.outcome.finished:
        _raise_bug(made.outcome)
        raise MemberError("; ".join(f"member {name}: {why}" for name, why in made.outcome.failed.items()))
    facts = _facts(made)
    return Result(facts, _members_text(made), _exit_code(made.outcome))


def stack(options: argparse.Namespace) -> Result:
    """Combine the members; score every candidate out of fold; choose."""
    if options.labels is not None:
        return _brought(options)
    if len(options.test) > 1:
        raise InputError("--test is given more than once; with --data there is one test file")
    options.test = Path(options.test[0]) if options.test else None
    _check_folds(options)
    workspace = store.Workspace(options.workspace)
    with workspace.locked("arena-ensemble stack"):
        made = _cross_fitted(workspace, options)
        built = _built(made, options)
    facts = {**_facts(made), **_ensemble_facts(built)}
    return Result(facts, _text(made, built), _exit_code(made.outcome))


def submission(options: argparse.Namespace) -> Result:
    """Do what is missing and write the submission."""
    workspace = store.Workspace(options.workspace)
    out: Path = options.out or workspace.root / "submission.csv"
    _check_folds(options)
    with workspace.locked("arena-ensemble submission"):
        made = _cross_fitted(workspace, options)
        built = _built(made, options)
        if made.test is None:
            raise InputError("a submission needs --test FILE")
        prediction = submit.predict(workspace, built, made.test)
        submit.write(out, made.test, prediction, sample_submission=options.sample_submission)
    facts = {
        **_facts(made),
        **_ensemble_facts(built),
        "submission": str(out),
        "rows": len(made.test),
        "gammas": prediction.gammas,
    }
    text = f"{_text(made, built)}\n\n{out}: {len(made.test)} rows, checked"
    return Result(facts, text, _exit_code(made.outcome))


def predict(options: argparse.Namespace) -> Result:
    """Read new battles with the workspace's fold models and its ensemble."""
    workspace = store.Workspace(options.workspace)
    out: Path = options.out or workspace.root / "submission.csv"
    _check_jobs(options.jobs)
    test = read_battles(options.test, format=options.format)
    with workspace.locked("arena-ensemble predict"):
        built = ensemble.load(workspace)
        if imported := [name for name in built.members if external.is_imported(workspace, name)]:
            raise InputError(
                f"the ensemble holds imported members ({', '.join(imported)}); they cannot read new battles"
            )
        recipes = {name: load_recipe(workspace.recipe_path(name)) for name in built.members}
        _check_bases(recipes, options)
        job = oof.Job(workspace.root, None, None, test, outcomes=built.outcomes)
        with Bars(_tasks_left(job, recipes)) as bars:
            outcome = executors.cross_fit(job, recipes, jobs=options.jobs, on_event=bars)
        if outcome.failed:
            _raise_bug(outcome)
            raise MemberError("; ".join(f"member {name}: {why}" for name, why in outcome.failed.items()))
        prediction = submit.predict(workspace, built, test)
        submit.write(out, test, prediction, sample_submission=options.sample_submission)
    facts = {
        "submission": str(out),
        "rows": len(test),
        "choice": built.card["choice"],
        "gammas": prediction.gammas,
    }
    return Result(facts, f"{out}: {len(test):,} rows, checked")


def _brought(options: argparse.Namespace) -> Result:
    """Stack predictions that other tools made."""
    if options.out is None:
        raise InputError("--labels needs --out DIR, the folder for what is made")
    idle = {"--models": options.models, "--truth": options.truth, "--extra": options.extra}
    idle["--pseudo"] = options.pseudo
    if given := [name for name, value in {**idle, "--remake": options.remake}.items() if value]:
        raise InputError(f"{', '.join(given)}: of no use with --labels, where nothing is trained")
    external.check_out(options.out)  # not after the work
    brought = external.gather(
        options.labels,
        [external.named_file(text) for text in options.oof],
        tests=[external.named_file(text) for text in options.test],
        text=options.text,
        text_format=options.format,
        test_text=options.test_text,
        groups=options.groups,
        common=options.common,
    )
    built = external.stacked(brought, options.out, seed=options.seed)
    title = f"out of fold, {len(brought.ids):,} battles, members' folds unverified"
    facts = {"battles": len(brought.ids), "out": str(options.out), **_ensemble_facts(built)}
    return Result(facts, _ensemble_text(built, title))


def _cross_fitted(workspace: store.Workspace, options: argparse.Namespace) -> _Run:
    names = options.models.split(",") if options.models else list(DEFAULT_MEMBERS)
    imported = [name for name in map(str.strip, names) if external.is_imported(workspace, name)]
    trained = [name for name in map(str.strip, names) if name not in imported]
    recipes = {name: load_recipe(workspace.recipe_path(name)) for name in trained}
    _check_bases(recipes, options)
    _check_jobs(options.jobs)
    near_duplicates = _near_duplicates(options.near_duplicates)
    loaded = load_battles(options.data, format=options.format, need_outcomes=True)
    train, outcomes = loaded.battles, loaded.n_classes
    test = None if options.test is None else read_battles(options.test, format=options.format)
    if test is not None and getattr(options, "sample_submission", None) is not None:
        columns = WINNER_COLUMNS if outcomes == 2 else COLUMNS
        check_sample(options.sample_submission, test.ids, columns)  # not after hours of training
    log.info(
        "%s: %d battles%s", options.data, len(train), "" if test is None else f", {len(test)} to predict"
    )
    if not options.models and len(train) > _SMALL_FILE:
        log.warning(
            "%d battles and no --models: the tiny members are for trying things out and will take hours; "
            "--models lexical takes minutes, and models/ has recipes for real bases",
            len(train),
        )
    folds = member_files.ensure_folds(
        workspace, train, n_folds=options.folds, seed=options.seed, near_duplicates=near_duplicates
    )
    for name in options.remake:
        member_files.remake(workspace, name)
    extra = lessons.gather_extra(
        [lessons.named_weight(text) for text in options.extra],
        train,
        folds,
        [lessons.named_pseudo(text) for text in options.pseudo],
    )
    job = oof.Job(workspace.root, train, folds, test, extra, outcomes, loaded.report.notes)
    with Bars(_tasks_left(job, recipes)) as bars:
        outcome = executors.cross_fit(job, recipes, jobs=options.jobs, on_event=bars)
    outcome.finished += imported
    return _Run(workspace, train, test, folds, outcome, outcomes)


def _raise_bug(outcome: executors.Outcome) -> None:
    """With nothing to go on with, a bug leaves as one; else it costs its member alone."""
    if outcome.bugs:
        raise outcome.bugs[0]


def _check_bases(recipes: dict[str, Recipe], options: argparse.Namespace) -> None:
    """A missing folder, or offline a missing hub file, is named before anything is read or written."""
    if options.offline:
        hub.go_offline()
    for recipe in recipes.values():
        recipe.base_path()
        hub.check_cached(recipe)


def _check_folds(options: argparse.Namespace) -> None:
    """Said before the hours of training: the choice among stackers is itself scored out of fold."""
    if options.folds < 3:
        raise InputError(f"--folds {options.folds}: stacking needs at least 3 folds")


def _near_duplicates(given: str | None) -> float | None:
    """The similarity from which prompts are joined; None: equal prompts only."""
    if given is None:
        return NEAR_DUPLICATES
    if given.strip().lower() == "off":
        return None
    try:
        share = float(given)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"--near-duplicates {given}: expected a share above 0 and up to 1, or off")
    return share


def _check_jobs(jobs: int | None) -> None:
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: expected at least 1 process")


def _tasks_left(job: oof.Job, recipes: dict[str, Recipe]) -> int:
    left = 0
    for name, recipe in recipes.items():
        teacher = lessons.teacher_member(recipe)
        if (
            teacher in recipes
            and job.folds is not None
            and store.read_card(job.workspace.oof / teacher) is None
        ):
            left += job.folds.n_folds  # cannot be planned before its teacher has spoken
        else:
            left += sum(not oof.is_done(job, task) for task in oof.plan(job, name, recipe))
    return left


def _built(made: _Run, options: argparse.Namespace) -> ensemble.Ensemble:
    members = made.outcome.finished
    if not members:
        _raise_bug(made.outcome)
        raise InputError("no member is finished: " + "; ".join(made.outcome.failed.values()))
    truth = None if options.truth is None else _truth(options.truth, made.train)
    return ensemble.build(
        made.workspace,
        made.train,
        made.folds,
        members,
        seed=options.seed,
        truth=truth,
        outcomes=made.outcomes,
    )


def _truth(path: Path, train: Battles) -> Floats:
    """True log-probabilities of the training battles, joined by id."""
    (predictions,) = read_predictions(path).values()
    known = predictions.take(np.flatnonzero(predictions.ids.is_in(train.ids.to_list()).to_numpy()))
    return known.aligned_to(train.ids, name=str(path)).log_probs


def _facts(made: _Run) -> dict[str, Any]:
    cards = {name: store.read_card(made.workspace.oof / name) or {} for name in made.outcome.finished}
    keep = ("backbone", "log_loss", "standard_error", "accuracy", "seconds", "alarms")
    return {
        "battles": len(made.train),
        "outcomes": made.outcomes,
        "folds": made.folds.digest,
        "members": {name: {k: card.get(k) for k in keep} for name, card in cards.items()},
        "failed": made.outcome.failed,
        "alarms": made.outcome.alarms,
    }


def _ensemble_facts(built: ensemble.Ensemble) -> dict[str, Any]:
    return {
        "choice": built.card["choice"],
        "shares": built.card["shares"],
        "log_loss": built.card["log_loss"],
        "temperature": built.card["temperature"],
        "table": [dataclasses.asdict(row) for row in built.table],
        "ledger": built.card["ledger"],
        "suspicions": built.card["suspicions"],
    }


def _members_text(made: _Run) -> str:
    pairs = []
    for name in made.outcome.finished:
        card = store.read_card(made.workspace.oof / name) or {}
        if "log_loss" in card:
            loss = f"log-loss {card['log_loss']:.4f} ± {card['standard_error']:.4f}"
            loss += f" (prior {card['prior_log_loss']:.4f})"
            right = f", accuracy {card['accuracy']:.3f}" if "accuracy" in card else ""
            pairs.append((name, f"{loss}{right}, trained in {clock(card['seconds'])}"))
        else:
            pairs.append((name, "imported, folds unverified"))
    text = tables.facts_table(pairs, title="out-of-fold members") if pairs else ""
    return "\n".join([text, *_warnings(made.outcome)])


def _text(made: _Run, built: ensemble.Ensemble) -> str:
    title = f"out of fold, {len(made.train):,} battles, {made.folds.n_folds} grouped folds"
    return "\n".join([_ensemble_text(built, title), *_warnings(made.outcome)])


def _ensemble_text(built: ensemble.Ensemble, title: str) -> str:
    parts = [tables.score_table(built.table, title=title), "", tables.ledger_table(built.card["ledger"])]
    for one in built.card["suspicions"]:
        parts.append(f"member {one['member']} looks leaked: {'; '.join(one['reasons'])}")
    return "\n".join(parts)


def _warnings(outcome: executors.Outcome) -> list[str]:
    failed = [f"member {name} FAILED: {why}" for name, why in outcome.failed.items()]
    alarms = [f"member {name}: {why}" for name, found in outcome.alarms.items() for why in found]
    return failed + alarms


def _exit_code(outcome: executors.Outcome) -> int:
    return PARTLY if outcome.failed or outcome.alarms else 0
