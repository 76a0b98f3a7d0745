"""The verbs oof, stack, submission and predict: thin over ``pipeline.workflow``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..io.format_names import FORMAT_NAMES
from . import option_texts
from . import options as o
from .dry_run import dry_run
from .executor_options import ExecutorOptions
from .experiments import OnlyFoldOption, RowsOption, experiment
from .external import stack_external
from .one_order import OneOrderOptions
from .panel import PanelOptions
from .panel_shards import predict_judged
from .runner import OUT_OF_TIME, PARTLY, Result, WorkspaceOption
from .shards import ShardOptions, predict_shards
from .training_arguments import training_arguments

if TYPE_CHECKING:
    from ..pipeline.workflow import TrainingRun


def oof(
    data: o.DataOption,
    training: o.TrainingOptions,
    place: ExecutorOptions,
    test: o.TestOption = None,
    only_fold: OnlyFoldOption = None,
    rows: RowsOption = None,
) -> Result:
    """Train the members and keep their out-of-fold predictions."""
    if only_fold is not None or rows is not None:
        if unused := o.given(place):
            raise InputError(f"{', '.join(unused)}: not with --only-fold or --rows; leave them out")
        return experiment(data, training, test, only_fold, 1.0 if rows is None else rows)
    if training.dry_run:
        return dry_run(data, test, training, place, stacks=False)
    from ..pipeline.refusals import raise_if_failed
    from . import summary

    run = _train(data, test, training, place)
    if not run.result.finished:
        raise_if_failed(run.result)
    return Result(summary.run_facts(run), summary.members_text(run), summary.exit_code(run.result))


def stack(
    training: o.TrainingOptions,
    external: o.ExternalOptions,
    order: OneOrderOptions,
    place: ExecutorOptions,
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="battles with votes")] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="battles to predict; with --labels, a member's test predictions (repeat)",
        ),
    ] = None,
    truth: o.TruthOption = None,
    all_rows: o.AllRowsOption = False,
) -> Result:
    """Combine the members, score candidates out of fold, choose."""
    if (data is None) == (external.labels is None):
        raise typer.BadParameter("give one of --data (train here) and --labels (predictions made elsewhere)")
    if data is None:
        if unused := o.given(place):
            raise InputError(f"{', '.join(unused)}: of no use with --labels, where nothing is trained")
        return stack_external(external, order, training, test or [], truth, all_rows)
    if unused := [*o.given(external), *o.given(order)]:
        raise InputError(f"{', '.join(unused)}: of no use with --data; give it to import, or with --labels")
    if len(test or ()) > 1:
        raise InputError("--test is given more than once; with --data there is one test file")
    from ..pipeline.workflow import build_ensemble
    from . import summary
    from .progress import Bars

    _check_folds(training.folds)
    if training.dry_run:
        return dry_run(data, Path(test[0]) if test else None, training, place, truth=truth)
    run = _train(data, Path(test[0]) if test else None, training, place)
    if run.result.late:
        return _out_of_time(run)
    with Bars() as bars:
        built = build_ensemble(run, seed=training.seed, truth=truth, on_event=bars)
    facts = {**summary.run_facts(run), **summary.ensemble_facts(built)}
    text = summary.run_text(run, built, all_rows=all_rows)
    return Result(facts, text, summary.exit_code(run.result, built))


def submission(
    data: o.DataOption,
    test: o.RequiredTestOption,
    training: o.TrainingOptions,
    place: ExecutorOptions,
    truth: o.TruthOption = None,
    sample_submission: o.SampleSubmissionOption = None,
    out: o.SubmissionOption = None,
    all_rows: o.AllRowsOption = False,
) -> Result:
    """Do what is missing and write submission.csv."""
    from ..pipeline.workflow import build_ensemble, predict_test, write_submission
    from . import summary
    from .progress import Bars

    _check_folds(training.folds)
    o.check_target(out)
    if training.dry_run:
        return dry_run(data, test, training, place, sample_submission, truth=truth)
    target = out or training.workspace / "submission.csv"
    run = _train(data, test, training, place, sample_submission, early=target)
    if run.result.late:
        return _out_of_time(run, target)
    with Bars() as bars:
        built = build_ensemble(run, seed=training.seed, truth=truth, on_event=bars)
    prediction = predict_test(run, built)
    write_submission(target, prediction, sample_submission=sample_submission, workspace=training.workspace)
    facts = {
        **summary.run_facts(run),
        **summary.ensemble_facts(built),
        "submission": str(target),
        "rows": len(prediction.ids),
        "gammas": prediction.gammas,
    }
    shown = summary.run_text(run, built, all_rows=all_rows)
    end = summary.submission_text(target, len(prediction.ids), built, training.workspace, data)
    return Result(facts, f"{shown}\n\n{end}", summary.exit_code(run.result, built))


def predict(
    panel: PanelOptions,
    sharded: ShardOptions,
    place: ExecutorOptions,
    test: o.TestOption = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{', '.join(FORMAT_NAMES)}; with --panel a result file's, as for panel",
            show_default="decided by the columns",
        ),
    ] = None,
    sample_submission: o.SampleSubmissionOption = None,
    out: o.SubmissionOption = None,
    jobs: o.JobsOption = None,
    offline: o.OfflineOption = False,
    strict: o.StrictOption = False,
    base: o.BaseOption = None,
    use_folds: o.UseFoldsOption = None,
    hours: o.HoursOption = None,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Predict new battles with a finished ensemble; no training data needed."""
    executor = place.chosen(jobs)
    if panel.panel is not None:
        if test is not None:
            raise typer.BadParameter("give one of --test (an ensemble) and --panel (with --judgements)")
        wrong = {
            "--sample-submission": sample_submission,
            "--strict": strict,
            "--base": base,
            "--use-folds": use_folds,
        }
        unused = [name for name, value in wrong.items() if value]
        return predict_judged(panel, sharded, place, out, format, jobs, hours, unused)
    if test is None:
        raise typer.BadParameter("give --test FILE, or --panel DIR with --judgements FILE")
    if unused := o.given(panel):
        raise InputError(f"{', '.join(unused)}: of no use without --panel DIR; add it")
    if sharded.shards is not None:
        wrong = {"--out": out, "--sample-submission": sample_submission, "--strict": strict,
                 "--store": place.store}  # fmt: skip
        if unused := [name for name, value in wrong.items() if value]:
            raise InputError(
                f"{', '.join(unused)}: not with --shards, which is strict and writes there; leave them out"
            )
        return predict_shards(
            sharded,
            test,
            workspace,
            format=format,
            jobs=jobs,
            offline=offline,
            base=base,
            use_folds=use_folds,
            executor=executor,
            hours=hours,
        )
    if unused := o.given(sharded):
        raise InputError(f"{', '.join(unused)}: of no use without --shards DIR; add it")
    from ..io import read_battles
    from ..pipeline import workflow
    from ..pipeline.ensemble import Ensemble
    from . import summary
    from .progress import Bars

    o.check_target(out)
    battles = read_battles(test, format=format)
    ensemble = Ensemble.load(workspace)
    target = out or workspace / "submission.csv"
    with Bars() as bars:
        prediction = workflow.predict(
            ensemble,
            battles,
            workspace=workspace,
            jobs=jobs,
            executor=executor,
            offline=offline,
            strict=strict,
            early=target,
            sample_submission=sample_submission,
            bases=option_texts.bases(base),
            use_folds=option_texts.fold_numbers(use_folds),
            hours=hours,
            on_event=bars,
        )
    workflow.write_submission(target, prediction, sample_submission=sample_submission, workspace=workspace)
    facts = {
        "submission": str(target),
        "rows": len(prediction.ids),
        "choice": ensemble.card.choice,
        "gammas": prediction.gammas,
        "left_out": prediction.left_out,
        "fewer_folds": prediction.fewer_folds,
        "partly": prediction.partly,
        "late": prediction.late,
        "second_order": prediction.second_order,
    }
    lost = prediction.left_out or prediction.partly
    code = OUT_OF_TIME if prediction.late else PARTLY if lost else 0
    return Result(facts, summary.prediction_text(prediction, target), code)


def _out_of_time(run: TrainingRun, submission: Path | None = None) -> Result:
    """What a run came to whose hours were over before its members were finished: nothing is stacked yet."""
    from . import summary

    facts = summary.run_facts(run)
    lines = [summary.members_text(run), "out of time: the same command goes on where it was"]
    if submission is not None:
        facts["submission"] = str(submission)
        lines.append(
            f"{submission}: valid, from the members that were finished; the ensemble's comes at the end"
        )
    return Result(facts, "\n".join(lines), summary.exit_code(run.result))


def _train(
    data: Path,
    test: Path | None,
    training: o.TrainingOptions,
    place: ExecutorOptions,
    sample_submission: Path | None = None,
    early: Path | None = None,
) -> TrainingRun:
    """The training of a verb's own options, with progress bars."""
    from ..pipeline.refusals import raise_if_failed
    from ..pipeline.workflow import train_members
    from .progress import Bars

    executor = place.chosen(training.jobs)
    with Bars() as bars:
        run = train_members(
            data,
            o.names(training.models) or None,
            test=test,
            sample_submission=sample_submission,
            executor=executor,
            early=early,
            on_event=bars,
            **training_arguments(training),
        )
    if training.strict:
        raise_if_failed(run.result)
    return run


def _check_folds(folds: int) -> None:
    """Before the hours of training: the choice among stackers is itself scored out of fold."""
    if folds < 3:
        raise InputError(f"--folds {folds}: stacking needs at least 3 folds")
