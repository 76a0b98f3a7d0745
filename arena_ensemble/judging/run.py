"""Ask a judge about every battle, several questions at a time, and write its judgements."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..artifacts import atomic
from ..battles import Battles
from ..errors import InputError, MemberError
from .answers import LETTERS, Answer, as_battle
from .client import Endpoint, GaveUp
from .question import Question, questions, read_template
from .store import AnswerStore

log = logging.getLogger(__name__)
ORDERS: Final = {"both": ("a", "b"), "a": ("a",), "b": ("b",)}
_VERDICTS: Final = dict(zip(LETTERS, ("model_a", "model_b", "tie"), strict=True))
_FAILURES: Final = 8
"""Questions in a row that no try could get an answer to, after which the server is taken for gone."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class JudgeRun:
    """What a run came to."""

    judgements: int
    asked: int
    """questions that were sent now; the others were answered by an earlier run"""
    missing: int
    """judgements without a verdict: refusals, other words, questions too long or not answered"""
    unanswered: int
    """questions that no try could get an answer to; the next run asks them again"""
    with_probabilities: bool
    tokens_in: int
    tokens_out: int
    dollars: float | None


def judge_battles(
    battles: Battles,
    endpoint: Endpoint,
    out: Path,
    *,
    name: str = "",
    orders: str = "both",
    samples: int = 1,
    concurrency: int = 8,
    template: Path | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    on_progress: Progress | None = None,
) -> JudgeRun:
    """Ask which answer is better and write ``out``, a CSV that `read_judgements` takes.

    Answers are kept as they come in ``out`` + ``.answers.jsonl``: a run that is killed goes on where it was,
    and a question is never asked twice. Equal questions are asked once.

    Parameters
    ----------
    name
        The judge's name in the file; the model's by default.
    orders
        ``both``, or the response that is shown first: ``a`` or ``b``.
    samples
        Answers a question, for a temperature above 0; log-probabilities need one.
    price_in, price_out
        Dollars per million tokens.

    Raises
    ------
    InputError
        The server refuses key, path or model, or the template has not its three places.
    MemberError
        The server stopped answering; what was answered is kept.
    """
    if orders not in ORDERS:
        raise InputError(f"--orders {orders}: give both, a or b")
    if samples < 1 or concurrency < 1:
        raise InputError(f"--samples {samples} --concurrency {concurrency}: give at least 1 of each")
    if samples > 1 and endpoint.temperature == 0:
        raise InputError(f"--samples {samples}: with --temperature 0 all would be the same; give one above 0")
    store = AnswerStore(out.with_name(out.name + ".answers.jsonl"))
    asked = list(questions(battles, read_template(template), ORDERS[orders], samples))
    settings = endpoint.settings()
    keys = [question.key(settings) for question in asked]
    waiting = {key: one for key, one in zip(keys, asked, strict=True) if key not in store.answers}
    total = len(waiting)
    for done, (key, answer) in enumerate(_answers(endpoint, waiting.items(), concurrency), 1):
        store.add(key, answer)
        if on_progress is not None:
            on_progress(done, total)
    unanswered = sum(key not in store.answers for key in dict.fromkeys(keys))
    given = [store.answers.get(key, Answer(why="not answered")) for key in keys]
    answers = [as_battle(answer, one.first) for answer, one in zip(given, asked, strict=True)]
    probabilities = samples == 1 and all(a.probs is not None or not a.verdict for a in answers)
    probabilities = probabilities and any(a.probs is not None for a in answers)
    _write(out, battles, asked, answers, name or endpoint.model, probabilities)
    unique = [store.answers[key] for key in dict.fromkeys(keys) if key in store.answers]
    tokens = sum(a.tokens_in for a in unique), sum(a.tokens_out for a in unique)
    dollars = None
    if price_in is not None or price_out is not None:
        dollars = (tokens[0] * (price_in or 0.0) + tokens[1] * (price_out or 0.0)) / 1e6
    missing = sum(not a.verdict for a in answers)
    return JudgeRun(len(answers), total, missing, unanswered, probabilities, *tokens, dollars)


def _answers(
    endpoint: Endpoint, waiting: Iterable[tuple[str, Question]], concurrency: int
) -> Iterator[tuple[str, Answer]]:
    """Answers as they come, at most ``concurrency`` questions on their way."""
    left = iter(waiting)
    failures = 0
    with endpoint.client() as client, ThreadPoolExecutor(concurrency) as pool:
        running: dict[Future[Answer], str] = {}
        try:
            while True:
                for key, question in left:
                    running[pool.submit(endpoint.ask, client, question.text)] = key
                    if len(running) >= concurrency:
                        break
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    key = running.pop(future)
                    try:
                        answer = future.result()
                    except GaveUp as error:
                        failures += 1
                        if failures >= _FAILURES:
                            raise MemberError(
                                f"{endpoint.url} gives no answers ({error}); what it gave is kept: start the "
                                "server again, then run the same command to go on"
                            ) from None
                        log.warning("a question without answer (%s); the next run asks it again", error)
                        continue
                    failures = 0
                    yield key, answer
        finally:
            for future in running:
                future.cancel()


def _write(
    out: Path,
    battles: Battles,
    asked: Sequence[Question],
    answers: Sequence[Answer],
    name: str,
    probabilities: bool,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    value = ("p_a", "p_b", "p_tie") if probabilities else ("sample", "verdict")
    writer.writerow(("id", "judge", "first", *value))
    ids = battles.ids.to_list()
    for question, answer in zip(asked, answers, strict=True):
        cells: tuple[object, ...]
        if probabilities:
            cells = ("", "", "") if answer.probs is None else tuple(map(repr, answer.probs))
        else:
            cells = (question.sample, _VERDICTS.get(answer.verdict, ""))
        writer.writerow((ids[question.row], name, question.first, *cells))
    atomic.write_bytes(out, text.getvalue().encode("utf-8", "surrogatepass"))
