"""Result files of judge benchmarks, by name or by their columns → judgements, or scores of answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ..errors import InputError
from ..judgements import AnswerScores, Judgements
from . import answer_results, judge_results
from .format_names import RESULT_NAMES
from .judge_results import pair_judgements
from .tables import Table
from .unread import Unread


@dataclass(frozen=True)
class ResultFormat:
    """Columns that tell a file, and what reads it."""

    columns: tuple[str, ...]
    read: Callable[[Table, dict[str, Unread]], Judgements | AnswerScores]
    """the file's content; judges' texts that are no verdict are put into the dictionary"""


def _rewardbench(table: Table, unread: dict[str, Unread]) -> Judgements | AnswerScores:
    """Scores of reward models, or the bare results of generative judges."""
    if {"scores_chosen", "scores_rejected"} <= set(table.columns):
        return answer_results.rewardbench(table)
    return pair_judgements(table, unread, reader=judge_results.rewardbench_verdicts)


def _scores(read: Callable[[Table], AnswerScores]) -> Callable[[Table, dict[str, Unread]], AnswerScores]:
    return lambda table, unread: read(table)


RESULTS: Final[dict[str, ResultFormat]] = {
    "alpacaeval": ResultFormat(
        ("instruction", "generator_1", "generator_2", "annotator", "preference"),
        partial(pair_judgements, reader=judge_results.alpaca_eval),
    ),
    "arena-hard": ResultFormat(
        ("question_id", "model", "judge", "games"), partial(pair_judgements, reader=judge_results.arena_hard)
    ),
    "arena-hard-2": ResultFormat(
        ("uid", "baseline", "model", "judge", "games"),
        partial(pair_judgements, reader=judge_results.arena_hard_2),
    ),
    "judgebench": ResultFormat(
        ("pair_id", "judge_name", "judgments"), partial(pair_judgements, reader=judge_results.judgebench)
    ),
    "mt-bench": ResultFormat(
        ("question_id", "model_1", "model_2", "judge", "g1_winner", "g2_winner"),
        partial(pair_judgements, reader=judge_results.fastchat),
    ),
    "mt-bench-single": ResultFormat(
        ("question_id", "model", "judge", "score"), _scores(answer_results.mt_bench_single)
    ),
    "rewardbench": ResultFormat(("id", "subset", "results"), _rewardbench),
    "rewardbench-2": ResultFormat(("id", "scores", "num_correct"), _scores(answer_results.rewardbench_2)),
}
"""Every known result file, by the name that ``--format`` takes."""


def result_format(table: Table) -> str | None:
    """The format that a file's columns tell; None where they are those of none.

    Of formats whose columns the file has, the one with the most columns: RewardBench 2 has those of
    RewardBench 1 as well, and more.
    """
    fitting = [name for name, one in RESULTS.items() if set(one.columns) <= set(table.columns)]
    if "rewardbench-2" in fitting:
        return "rewardbench-2"
    return max(fitting, key=lambda name: len(RESULTS[name].columns), default=None)


def read_results(
    table: Table, form: str | None = None, unread: dict[str, Unread] | None = None
) -> Judgements | AnswerScores | None:
    """What a benchmark's result file holds; None where its columns are those of none.

    Parameters
    ----------
    form
        Its name, where it is not to be told from the columns.
    unread
        Where to put judges' texts that are no verdict.

    Raises
    ------
    InputError
        An unknown name, columns that the named format lacks, or cells that cannot be read.
    """
    if form is not None and form not in RESULTS:
        raise InputError(f"format {form!r} is none of a result file; name one of {', '.join(RESULT_NAMES)}")
    name = form or result_format(table)
    if name is None:
        return None
    if lacking := [one for one in RESULTS[name].columns if one not in table.columns]:
        raise InputError(
            f"{table.name} lacks {', '.join(lacking)}, which a file of {name} has; leave out the format, or "
            "give that file"
        )
    return RESULTS[name].read(table, {} if unread is None else unread)
