"""Options that several verbs share, with their help, and how their texts are parsed."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import InputError
from ..io.format_names import FORMAT_NAMES
from .runner import WorkspaceOption

if TYPE_CHECKING:
    from ..pipeline.external_files import NamedFile
    from ..pipeline.extra_data import ExtraFile

log = logging.getLogger(__name__)

_LARGEST_WEIGHT: Final = 1e6

DataOption = Annotated[Path, typer.Option(metavar="FILE", help="battles with votes")]
TestOption = Annotated[Path | None, typer.Option(metavar="FILE", help="battles to predict")]
RequiredTestOption = Annotated[Path, typer.Option("--test", metavar="FILE", help="battles to predict")]
FormatOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"{', '.join(FORMAT_NAMES[:-1])} or {FORMAT_NAMES[-1]}",
        show_default="decided by the columns",
    ),
]
SkipUnvotedOption = Annotated[
    bool,
    typer.Option(
        "--skip-unvoted", help="leave out rows without a vote, and say how many, instead of refusing"
    ),
]
LogitsOption = Annotated[
    bool, typer.Option("--logits", help="the numbers are logits, no probabilities: take their softmax")
]
IdsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="file whose column id names the rows of an .npy or .npz of --oof"),
]
TestIdsOption = Annotated[Path | None, typer.Option(metavar="FILE", help="the same for --test")]
AverageOption = Annotated[
    bool,
    typer.Option(
        "--average",
        help="average the seeds of one member: rows that repeat an id, or several members in one file",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(help="processes side by side", show_default="by device and member size"),
]
OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="open no connection; a base must be a folder or in the hub's cache (as HF_HUB_OFFLINE=1)",
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="stop where a member fails instead of going on without it")
]
BaseOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=DIR",
        help="where the base of member NAME, or the hub id NAME, lies on this machine (repeat)",
    ),
]
UseFoldsOption = Annotated[
    str | None,
    typer.Option(
        metavar="K,…",
        help="predict with the models of these folds alone, such as 0,2, or with refit or averaged",
        show_default="all",
    ),
]
HoursOption = Annotated[
    float | None,
    typer.Option(help="stop in time, with what is there; the same command goes on", show_default="no limit"),
]
TruthOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="true probabilities (sample arena), for scoring"),
]
AllRowsOption = Annotated[
    bool, typer.Option("--all", help="show the score of every candidate, not only the rows that matter first")
]
SampleSubmissionOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="check ids and columns against it")
]
SubmissionOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="file to write", show_default="submission.csv in the workspace"
    ),
]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every verb that trains takes, beside its data and test files."""

    models: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…",
            help="members, by recipe name; auto: what this machine trains in good time on so many battles",
            show_default="auto",
        ),
    ] = None
    format: FormatOption = None
    folds: Annotated[int, typer.Option(help="cross-fitting folds")] = 5
    near_duplicates: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="prompts alike from here on are one group: Jaccard of character 5-grams, or off",
            show_default="0.7",
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="seed of the folds and the stacker")] = 0
    jobs: JobsOption = None
    retrain: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="forget this member first (repeat)")
    ] = None
    remake: Annotated[list[str] | None, typer.Option(hidden=True)] = None
    """the old spelling of ``--retrain``, for one release"""
    extra: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:WEIGHT]",
            help="more training battles, kept from folds that hold their prompts (repeat)",
        ),
    ] = None
    pseudo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BATTLES=PREDICTIONS[:WEIGHT]",
            help="more training battles that nobody voted on, and soft labels for them (repeat)",
        ),
    ] = None
    skip_unvoted: SkipUnvotedOption = False
    offline: OfflineOption = False
    refit: Annotated[bool, typer.Option("--refit", help="a model of all rows too, for --test")] = False
    average_folds: Annotated[bool, typer.Option("--average-folds", help="averaged weights, for --test")] = (
        False
    )
    strict: StrictOption = False
    base: BaseOption = None
    hours: HoursOption = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="show tasks, tokens, time and memory, and what is done already; write nothing"
        ),
    ] = False
    workspace: WorkspaceOption = Path()


_OWN: Final = "Your own predictions (instead of --data)"


@dataclass(frozen=True, kw_only=True)
class ExternalOptions:
    """What ``stack`` takes for predictions that other tools made."""

    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="id and outcome: stack predictions made elsewhere", rich_help_panel=_OWN
        ),
    ] = None
    oof: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="out-of-fold predictions: id and p_a, p_b, p_tie, or NAME_a, NAME_b, NAME_tie (repeat)",
            rich_help_panel=_OWN,
        ),
    ] = None
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="battles of the same ids, for the features", rich_help_panel=_OWN),
    ] = None
    test_text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="battles of the test ids, for the features", rich_help_panel=_OWN),
    ] = None
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|FILE",
            help="rows that belong together",
            show_default="by --text",
            rich_help_panel=_OWN,
        ),
    ] = None
    common: Annotated[
        bool,
        typer.Option("--common", help="keep only the ids that every member has", rich_help_panel=_OWN),
    ] = False
    logits: Annotated[
        bool,
        typer.Option(
            "--logits",
            help="the numbers are logits, no probabilities: take their softmax",
            rich_help_panel=_OWN,
        ),
    ] = False
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="names the rows of .npy and .npz files of --oof", rich_help_panel=_OWN
        ),
    ] = None
    test_ids: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="the same for --test", rich_help_panel=_OWN),
    ] = None
    average: Annotated[
        bool,
        typer.Option(
            "--average",
            help="average the seeds of one member: rows that repeat an id, members of one file, files of "
            "one NAME",
            rich_help_panel=_OWN,
        ),
    ] = False
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="folder for the stacker, its OOF and submission.csv", rich_help_panel=_OWN
        ),
    ] = None


def given(options: Any, *, but: Collection[str] = ()) -> list[str]:
    """The options of a dataclass that were given another value than their default, as they are typed."""
    return [
        f"--{field.name.replace('_', '-')}"
        for field in dataclasses.fields(options)
        if field.name not in but and getattr(options, field.name) != field.default
    ]


def check_target(out: Path | None) -> None:
    """Raise InputError where ``--out`` lies in no folder: before the work, not after it."""
    if out is not None and not out.parent.is_dir():
        raise InputError(
            f"--out {out} cannot be written: there is no folder {out.parent}; make it, or name another file"
        )


def names(text: str | None) -> list[str]:
    """``a, b`` as a list."""
    return [name.strip() for name in text.split(",")] if text else []


def renamed(new: list[str] | None, old: list[str] | None, option: str, old_option: str) -> list[str]:
    """The values of an option and of its old spelling, which is accepted for one release."""
    if old:
        log.warning("%s is now called %s; the old name goes with the next release", old_option, option)
    return [*(new or []), *(old or [])]


def share_or_off(text: str | None, default: float) -> float | None:
    """``--near-duplicates``: the similarity from which prompts are joined; None for ``off``.

    Raises
    ------
    InputError
        It is neither a share nor ``off``.
    """
    if text is None:
        return default
    if text.strip().lower() == "off":
        return None
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"--near-duplicates {text}: expected a share above 0 and up to 1, or off")
    return share


def extra_files(extra: list[str] | None, pseudo: list[str] | None) -> list[ExtraFile]:
    """The files of ``--extra`` and ``--pseudo``, in that order.

    Raises
    ------
    InputError
        A weight is not positive and finite, or ``--pseudo`` has no ``=``.
    """
    from ..pipeline.extra_data import ExtraFile

    found = [ExtraFile(*weighted(text, option="--extra")) for text in extra or ()]
    for text in pseudo or ():
        battles, equals, labels = text.partition("=")
        if not (battles and equals and labels):
            raise InputError(f"--pseudo {text}: expected BATTLES=PREDICTIONS[:WEIGHT]")
        path, weight = weighted(labels, option="--pseudo")
        found.append(ExtraFile(Path(battles), weight, path))
    return found


def weighted(text: str, *, option: str) -> tuple[Path, float]:
    """``FILE`` or ``FILE:weight``.

    Raises
    ------
    InputError
        The weight is not positive and finite.
    """
    path, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon and path else math.nan
    except ValueError:
        return Path(text), 1.0
    if not (colon and path):
        return Path(text), 1.0
    if not 0 < weight <= _LARGEST_WEIGHT:
        raise InputError(f"{option} {text}: the weight {number} is not above 0 and up to {_LARGEST_WEIGHT:g}")
    return Path(path), weight


def named_file(text: str) -> NamedFile:
    """``NAME=FILE`` or ``FILE``.

    Raises
    ------
    InputError
        The name is no plain member name.
    """
    from ..artifacts.workspace import check_name
    from ..pipeline.external_files import NamedFile

    name, equals, path = text.partition("=")
    return NamedFile(Path(path), check_name(name)) if equals else NamedFile(Path(text))
