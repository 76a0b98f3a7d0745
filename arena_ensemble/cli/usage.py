"""What was typed wrong, in one line: what is missing or unknown, and the nearest name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Final

import typer

from .typed import NAME

UsageError: Final[type[Any]] = typer.BadParameter.__mro__[1]
"""of Click, wherever this version of Typer keeps it"""


def usage_line(error: Any, argv: Sequence[str]) -> str:
    """The error as one line.

    Parameters
    ----------
    error
        A usage error of Click.
    argv
        What was typed.
    """
    context = getattr(error, "ctx", None)
    if context is not None:
        path, verbs = context.command_path, context.parent is None
    else:
        verbs = not argv or argv[0].startswith("-")
        path = NAME if verbs else f"{NAME} {argv[0]}"
    where = f"`{path} --help` lists the {'verbs' if verbs else 'options'}"
    return f"error: {_what(error)} ({where})"


def _what(error: Any) -> str:
    message = " ".join(str(error.format_message()).split()).rstrip(".").removeprefix("Invalid value: ")
    option = getattr(error, "option_name", None)
    if option and (known := getattr(error, "possibilities", None)):
        return f"no option {option}; did you mean {_nearest(option, known)}?"
    param = getattr(error, "param", None)
    if message.startswith("Missing") and param is not None:
        name = param.opts[0] if param.opts[0].startswith("-") else (param.metavar or param.name or "").upper()
        words = f" {param.metavar}" if name.startswith("-") and param.metavar else ""
        return f"{name}{words} is missing: {getattr(param, 'help', None) or 'give it'}"
    unknown = re.match(r"No such command '(.*?)'(?:\. Did you mean '(.*?)'\?*)?", message)
    if unknown is not None:
        near = f"; did you mean {unknown[2]}?" if unknown[2] else ""
        return f"no verb {unknown[1]!r}{near}"
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _nearest(name: str, known: list[str]) -> str:
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.0)), known[0])
