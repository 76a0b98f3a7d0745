"""Around every verb: its common options, logging, signals, errors as one line, the exit code.

Exit codes: 0 done, 1 a user's error, 2 usage, 3 our bug, 4 partly done (a member failed or raises an
alarm and is named), 5 out of time (--hours), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final, NamedTuple

import typer

from ..errors import ArenaError
from .interruption import interruption_text

USAGE: Final = 2
INTERRUPTED: Final = 130
TERMINATED: Final = 143
BUG: Final = 3
PARTLY: Final = 4
OUT_OF_TIME: Final = 5
_SEEDS: Final = 2**32
"""what NumPy and LightGBM take"""

WorkspaceOption = Annotated[
    Path, typer.Option(metavar="DIR", help="folder of models/ and oof/", show_default="here")
]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable result on stdout, talk on stderr")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="say more; show tracebacks")]


class Result(NamedTuple):
    """What a verb came to: facts for machines, text for people, an exit code."""

    facts: dict[str, Any]
    text: str = ""
    exit_code: int = 0


class _Terminated(BaseException):
    """SIGTERM arrived; what is being written is finished first by the ``finally`` clauses."""


def verb(function: Callable[..., Result]) -> Callable[..., None]:
    """A command from a plain function: adds ``--json`` and ``--verbose``, prints, and exits with a code.

    A parameter that is annotated with a dataclass becomes the options that are its fields.
    """
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(function, eval_str=True).parameters.values():
        if dataclasses.is_dataclass(one.annotation) and isinstance(one.annotation, type):
            groups[one.name] = one.annotation
            parameters += inspect.signature(one.annotation, eval_str=True).parameters.values()
        else:
            parameters.append(one)
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in (("json", JsonOption), ("verbose", VerboseOption))
    ]
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        as_json, verbose, seed = values.pop("json"), values.pop("verbose"), values.get("seed", 0)
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
        places = (getattr(values[group], "workspace", None) for group in groups)
        place = values.get("workspace") or next(filter(None, places), None)
        name = function.__name__
        raise typer.Exit(
            guarded(
                lambda: print_result(lambda: function(**values), seed, as_json),
                verbose,
                lambda how: interruption_text(how, name, place),
            )
        )

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def print_result(function: Callable[[], Result], seed: int, as_json: bool) -> int:
    """Run a verb and print what it came to; returns its exit code."""
    if not 0 <= seed < _SEEDS:
        raise ArenaError(f"--seed {seed}: expected a seed from 0 to {_SEEDS - 1}")
    result = function()
    # ASCII for machines: any locale can write it, and names with odd bytes survive
    text = json.dumps(result.facts) if as_json else result.text
    if text:
        print(text, flush=True)
    return result.exit_code


def guarded(work: Callable[[], int], verbose: bool, ended: Callable[[str], str] = str) -> int:
    """Run a verb's work; returns the exit code and never raises but for a usage error.

    ``ended`` says of an interrupt, by its name, what is kept and how to go on.
    """
    _set_up_logging(verbose)
    old = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        return work()
    except ArenaError as error:
        one_line = str(error).replace("\n", "\\n")  # a file's name may hold one
        print(f"error: {one_line}", file=sys.stderr)
        if verbose:
            traceback.print_exc()
        return error.exit_code
    except KeyboardInterrupt:
        print(ended("interrupted"), file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        print(ended("terminated"), file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:  # whoever read our output has gone; the work itself is done and kept
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError) as error:  # the machine's limits, not our bug
        print(f"error: {_machine_error(error)}; finished folds are kept", file=sys.stderr)
        if verbose:
            traceback.print_exc()
        return ArenaError.exit_code
    except typer.BadParameter:
        raise
    except Exception:
        traceback.print_exc()
        print("this is a bug in arena-ensemble; finished folds are kept", file=sys.stderr)
        return BUG
    finally:
        signal.signal(signal.SIGTERM, old)


def _machine_error(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; use fewer --jobs or a machine with more"
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror or error}"


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _set_up_logging(verbose: bool) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # read once, when PyTorch's OpenMP is loaded: a thread that waits sleeps, for one that spins takes the
    # core from the one it waits for as soon as anything else runs here
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("arena_ensemble")
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False
