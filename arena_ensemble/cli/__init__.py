"""The command line: a table of verbs. Alone prints and reads argv; alone sets up logging.

A verb's arguments stand beside its work, which imports whatever is heavy when it runs: ``--help``
never imports torch, polars or scikit-learn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from . import audit, data, doctor, explain, export, judge, kaggle, panel, pipeline, report, serve, status
from .runner import INTERRUPTED, USAGE, Result, verb
from .typed import NAME, remember
from .usage import UsageError, usage_line

VERBS: Final[dict[str, Callable[..., Result]]] = {
    "oof": pipeline.oof,
    "stack": pipeline.stack,
    "submission": pipeline.submission,
    "predict": pipeline.predict,
    "status": status.status,
    "panel": panel.panel,
    "explain": explain.explain,
    "serve": serve.serve,
    "import": data.import_member,
    "export": export.export,
    "validate": data.validate,
    "report": report.report,
    "audit": audit.audit,
    "judge": judge.judge,
    "kaggle-pack": kaggle.kaggle_pack,
    "sample": data.sample,
    "doctor": doctor.doctor,
}


class _Verbs(TyperGroup):
    """The verbs with their whole first sentence: it wraps where a line is too short."""

    def format_commands(self, context: Any, formatter: Any) -> None:
        """The list of verbs in ``--help``."""
        commands = [(name, self.get_command(context, name)) for name in self.list_commands(context)]
        rows = [(name, one.get_short_help_str(limit=200)) for name, one in commands if one is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    cls=_Verbs,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start: arena-ensemble sample --out arena; arena-ensemble submission --data arena/train.csv "
    "--test arena/test.csv --workspace mine. Exit codes: 0 done, 1 an error to mend, 2 usage, 3 our bug, "
    "4 partly done, 5 out of time, 130 interrupted.",
)
for name, function in VERBS.items():
    app.command(name)(verb(function))


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
) -> None:
    """Calibrated P(A wins), P(B wins), P(tie) for two chatbot answers."""
    if version:
        from importlib.metadata import version as version_of

        print(f"arena-ensemble {version_of('arena-ensemble')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(USAGE)


def run(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code and never raises."""
    remember(argv)
    try:
        return int(app(args=list(argv), prog_name=NAME, standalone_mode=False) or 0)
    except UsageError as error:
        print(usage_line(error, argv), file=sys.stderr)
        return USAGE
    except typer.Abort:  # the end of what was to be typed
        return INTERRUPTED
