"""``stack --labels``: predictions that other tools made."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from . import options as o
from . import typed
from .one_order import OneOrderOptions
from .runner import Result


def stack_external(
    given: o.ExternalOptions,
    order: OneOrderOptions,
    training: o.TrainingOptions,
    tests: list[str],
    truth: Path | None,
    all_rows: bool,
) -> Result:
    """Stack predictions that other tools made."""
    from ..pipeline import external
    from ..pipeline.external_files import ReadingOptions
    from . import summary
    from .progress import Bars

    assert given.labels is not None
    if given.out is None:
        raise InputError("--labels needs --out DIR, the folder for what is made")
    unused = o.given(training, but=("format", "seed", "skip_unvoted", "workspace"))
    if unused := [*unused, *(["--truth"] if truth is not None else [])]:
        raise InputError(f"{', '.join(unused)}: of no use with --labels, where nothing is trained")
    external.check_out(given.out)  # not after the work
    data = external.read_external(
        given.labels,
        [o.named_file(one) for one in given.oof or ()],
        tests=[o.named_file(one) for one in tests],
        text=given.text,
        text_format=training.format,
        test_text=given.test_text,
        groups=given.groups,
        common=given.common,
        skip_unvoted=training.skip_unvoted,
        reading=ReadingOptions(given.logits, given.ids, given.test_ids, given.average),
        one_order=o.names(order.one_order),
        first=order.first,
        scratch=next(folder for folder in given.out.resolve().parents if folder.is_dir()),
    )
    with Bars() as bars:
        built = external.stack_external(data, given.out, seed=training.seed, on_event=bars)
    title = f"out of fold, {len(data.ids):,} battles, members' folds unverified"
    facts = {"battles": len(data.ids), "out": str(given.out), **summary.ensemble_facts(built)}
    shown = summary.ensemble_text(built, title, all_rows=all_rows)
    text = f"{shown}\n\n{given.out}: stacker, out-of-fold predictions and table"
    with_text = ["--data", str(given.text)] if given.text is not None else []
    page = typed.command("report", "--external", str(given.out), *with_text)
    text += f"; next:\n  # a page to look at\n  {page}"
    return Result(facts, text, summary.exit_code(built=built))
