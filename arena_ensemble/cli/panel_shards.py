"""``predict --panel``: into one file, or with ``--shards`` chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from . import options as o
from .executor_options import ExecutorOptions
from .panel import PanelOptions, check_text, predict_panel
from .panel_options import first_seen, result_format
from .runner import Result
from .shards import Lines, ShardOptions, checked_folder, in_time


def predict_judged(
    panel: PanelOptions,
    sharded: ShardOptions,
    place: ExecutorOptions,
    out: Path | None,
    format: str | None,
    jobs: int | None,
    hours: float | None,
    unused: Sequence[str],
) -> Result:
    """Predict judged pairs; ``unused`` are options that a panel has no use for.

    Raises
    ------
    InputError
        There are such, or options that do not go together.
    """
    executor = place.chosen(jobs)
    if sharded.shards is None:
        chunked = {"--jobs": jobs, "--hours": hours, "--executor": executor}
        unused = [*unused, *(name for name, value in chunked.items() if value), *o.given(sharded)]
    if unused:
        raise InputError(
            f"{', '.join(unused)}: of no use with --panel, where no member predicts; leave it out"
        )
    if sharded.shards is None:
        return predict_panel(panel, out, format)
    if wrong := [name for name, value in {"--out": out, "--store": place.store}.items() if value]:
        raise InputError(f"{', '.join(wrong)}: not with --shards, which writes there; leave it out")
    from ..panels.choice_files import is_best_of_n
    from ..pipeline.panel_shards import predict_panel_shards

    assert panel.panel is not None
    folder, given = panel.panel, panel.judgements
    if not given:
        raise InputError("--panel needs --judgements FILE")
    if is_best_of_n(folder):
        raise InputError(
            "--shards: a best-of-N panel weighs all answers of an item at once; leave it out, give --out FILE"
        )
    check_text(panel.text, panel.text_format)
    target = checked_folder(sharded)
    result = in_time(
        target,
        lambda: predict_panel_shards(
            folder,
            given,
            target,
            text=panel.text,
            text_format=panel.text_format,
            numbers=panel.numbers,
            first=first_seen(panel.first),
            format=result_format(format),
            equal_style=panel.equal_style,
            chunk_rows=sharded.chunk_rows,
            jobs=jobs,
            executor=executor,
            hours=hours,
            on_rows=Lines(),
        ),
    )
    threshold = result.facts.get("threshold")
    if threshold is None:
        return result
    kept = f"verdicts whose largest probability is {threshold:.3f} or more are to be kept"
    return result._replace(text=f"{result.text}\n{kept}")
