"""The command line: a table of verbs. Alone prints and reads argv; alone sets up logging.

Exit codes: 0 done, 1 a user's error, 2 usage, 3 our bug, 4 partly done (a member failed or raises
an alarm and is named), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from ..errors import ArenaError, InputError
from ..io.format_names import FORMAT_NAMES
from . import doctor_arguments

INTERRUPTED: Final = 130
TERMINATED: Final = 143
BUG: Final = 3
PARTLY: Final = 4


class Verb(NamedTuple):
    """One row of the table: what the verb does, its arguments, and the function behind it.

    The function is named as ``module:function`` and imported when the verb runs, so that ``--help``
    never imports torch.
    """

    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    function: str


class _Terminated(BaseException):
    """SIGTERM arrived; what is being written is finished first by the ``finally`` clauses."""


def _data(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    _river(parser, source)


def _river(parser: argparse.ArgumentParser, source: argparse._MutuallyExclusiveGroup) -> None:
    source.add_argument("--data", type=Path, metavar="FILE", help="battles with votes")
    parser.add_argument(
        "--models", metavar="NAME,…", help="members, by recipe name (default: the four small ones)"
    )
    _format(parser)
    parser.add_argument("--folds", type=int, default=5, help="cross-fitting folds (default 5)")
    parser.add_argument(
        "--near-duplicates", metavar="SHARE",
        help="prompts alike from here on are one group: Jaccard of character 5-grams, or off (default 0.7)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the folds and the stacker (default 0)")
    parser.add_argument(
        "--jobs", type=int, help="processes side by side (default: by device and member size)"
    )
    parser.add_argument(
        "--remake", action="append", default=[], metavar="NAME", help="forget this member first"
    )
    parser.add_argument(
        "--extra", action="append", default=[], metavar="FILE[:WEIGHT]",
        help="more training battles, kept from folds that hold their prompts (repeat)",
    )  # fmt: skip
    parser.add_argument(
        "--pseudo", action="append", default=[], metavar="BATTLES=PREDICTIONS[:WEIGHT]",
        help="more training battles that nobody voted on, and soft labels for them (repeat)",
    )  # fmt: skip
    _offline(parser)


def _format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", metavar="NAME",
        help=f"{', '.join(FORMAT_NAMES[:-1])} or {FORMAT_NAMES[-1]} (default: decided by the columns)",
    )  # fmt: skip


def _offline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offline", action="store_true",
        help="open no connection; a base must be a folder or in the hub's cache (as HF_HUB_OFFLINE=1)",
    )  # fmt: skip


def _oof(parser: argparse.ArgumentParser) -> None:
    _data(parser)
    parser.add_argument(
        "--test", type=Path, metavar="FILE", help="battles to predict with every fold's model"
    )


def _truth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--truth", type=Path, metavar="FILE", help="true probabilities (sample arena), for scoring"
    )


def _stack(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    _river(parser, source)
    parser.add_argument(
        "--test", action="append", metavar="[NAME=]FILE", default=[],
        help="battles to predict; with --labels, a member's test predictions (repeat)",
    )  # fmt: skip
    _truth(parser)
    own = parser.add_argument_group("your own predictions (instead of --data)")
    source.add_argument(
        "--labels", type=Path, metavar="FILE", help="id and outcome: stack predictions made elsewhere"
    )
    own.add_argument(
        "--oof", action="append", metavar="[NAME=]FILE", default=[], help="out-of-fold predictions (repeat)"
    )
    own.add_argument("--text", type=Path, metavar="FILE", help="battles of the same ids, for the features")
    own.add_argument(
        "--test-text", type=Path, metavar="FILE", help="battles of the test ids, for the features"
    )
    own.add_argument("--groups", metavar="COLUMN|FILE", help="rows that belong together (default: by --text)")
    own.add_argument("--common", action="store_true", help="keep only the ids that every member has")
    own.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the stacker, its OOF and submission.csv"
    )


def _submission(parser: argparse.ArgumentParser) -> None:
    _data(parser)
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="battles to predict")
    parser.add_argument(
        "--sample-submission", type=Path, metavar="FILE", help="check ids and columns against it"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: submission.csv in the workspace")
    _truth(parser)


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="battles to predict")
    _format(parser)
    parser.add_argument(
        "--sample-submission", type=Path, metavar="FILE", help="check ids and columns against it"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: submission.csv in the workspace")
    parser.add_argument(
        "--jobs", type=int, help="processes side by side (default: by device and member size)"
    )
    _offline(parser)


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the member's name from now on")
    parser.add_argument("--oof", type=Path, required=True, metavar="FILE", help="its out-of-fold predictions")
    parser.add_argument("--test", type=Path, metavar="FILE", help="its test predictions")


def _sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=1500, help="training battles (default 1500)")
    parser.add_argument("--test-rows", type=int, default=300, help="test battles (default 300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the four CSV files"
    )


def _audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="battles with votes")
    _format(parser)
    parser.add_argument(
        "--fold-file", type=Path, metavar="FILE", help="folds of another tool: columns id and fold"
    )
    parser.add_argument(
        "--trust", metavar="NAME,…", help="imported members and teachers whose folds you vouch for"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the canary (default 0)")
    parser.add_argument("--no-canary", action="store_true", help="leave out the shuffled-label canary")


def _validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="battles, in any format that is read")
    _format(parser)
    parser.add_argument(
        "--suspicious", type=Path, metavar="CSV", help="write the suspicious rows here, for a spreadsheet"
    )


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: report.html beside the ensemble")
    parser.add_argument(
        "--brought", type=Path, metavar="DIR", help="an ensemble of brought predictions: --out of stack"
    )


VERBS: Final[dict[str, Verb]] = {
    "oof": Verb("train the members and keep their out-of-fold predictions", _oof, "river:oof_verb"),
    "stack": Verb("combine the members, score every candidate out of fold, choose", _stack, "river:stack"),
    "submission": Verb("do what is missing and write submission.csv", _submission, "river:submission"),
    "predict": Verb(
        "read new battles with a finished ensemble; no training data needed", _predict, "river:predict"
    ),
    "import": Verb("keep predictions that another tool made as a member", _import, "files:import_member"),
    "validate": Verb(
        "say what a file of battles holds, and what is wrong with it", _validate, "files:validate"
    ),
    "report": Verb("write one page to look at: scores, calibration, members", _report, "files:report"),
    "audit": Verb("look for leaks: folds, members, canary, template, stacker", _audit, "audit:audit"),
    "sample": Verb("write the sample arena: battles with known true probabilities", _sample, "files:sample"),
    "doctor": Verb(
        "say whether this machine is ready; --plan: what each recipe needs on a card",
        doctor_arguments.doctor,
        "doctor:doctor",
    ),
}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="arena-ensemble",
        description="Calibrated P(A wins), P(B wins), P(tie) for two chatbot answers.",
        epilog="Exit codes: 0 done, 1 an error to mend, 2 usage, 3 our bug, 4 partly done, 130 interrupted.",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    for name, verb in VERBS.items():
        sub = verbs.add_parser(
            name, help=verb.summary, description=verb.summary[0].upper() + verb.summary[1:] + "."
        )
        verb.arguments(sub)
        sub.add_argument(
            "--workspace",
            type=Path,
            default=Path(),
            metavar="DIR",
            help="folder of models/ and oof/ (default: here)",
        )
        sub.add_argument(
            "--json", action="store_true", help="machine-readable result on stdout, talk on stderr"
        )
        sub.add_argument("-v", "--verbose", action="store_true", help="say more; show tracebacks")
    return top


def run(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code and never raises."""
    top = parser()
    try:
        options = top.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if options.version:
        from importlib.metadata import version

        print(f"arena-ensemble {version('arena-ensemble')}")
        return 0
    if options.verb is None:
        top.print_help(sys.stderr)
        return 2
    _set_up_logging(options.verbose)
    old = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        return _run_verb(VERBS[options.verb], options)
    except ArenaError as error:
        one_line = str(error).replace("\n", "\\n")  # a file's name may hold one
        print(f"error: {one_line}", file=sys.stderr)
        if options.verbose:
            traceback.print_exc()
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: finished folds are kept; run the same command to go on", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        print("terminated: finished folds are kept; run the same command to go on", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:  # whoever read our output has gone; the work itself is done and kept
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError) as error:  # the machine's word, not our bug
        print(f"error: {_told(error)}; finished folds are kept", file=sys.stderr)
        if options.verbose:
            traceback.print_exc()
        return ArenaError.exit_code
    except Exception:
        traceback.print_exc()
        print("this is a bug in arena-ensemble; finished folds are kept", file=sys.stderr)
        return BUG
    finally:
        signal.signal(signal.SIGTERM, old)


def _run_verb(verb: Verb, options: argparse.Namespace) -> int:
    from importlib import import_module

    seed = getattr(options, "seed", 0)
    if not 0 <= seed < 2**32:  # what NumPy and LightGBM take
        raise InputError(f"--seed {seed}: expected a seed from 0 to {2**32 - 1}")
    module, function = verb.function.split(":")
    result: Result = getattr(import_module(f".{module}", __name__), function)(options)
    # ASCII for machines: any locale can write it, and names with odd bytes survive
    text = json.dumps(result.facts) if options.json else result.text
    if text:
        print(text, flush=True)
    return result.exit_code


def _told(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; use fewer --jobs or a machine with more"
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror or error}"


class Result(NamedTuple):
    """What a verb came to: facts for machines, text for people, an exit code."""

    facts: dict[str, Any]
    text: str = ""
    exit_code: int = 0


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _set_up_logging(verbose: bool) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("arena_ensemble")
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False
