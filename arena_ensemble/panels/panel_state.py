"""What a panel keeps of its encoders: the state beside the stacker's own files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from ..errors import ArtifactError
from ..stacking.base import FrozenState
from .encoding import RESTORE, Encoders

MAIN: Final = "panel.json"
FORMAT: Final = 1
_REMEDY: Final = "run `arena-ensemble panel` again"


class EncoderState(FrozenState):
    """One judge: the kind of its column, and the numbers that its encoder checks."""

    kind: Literal["verdicts", "scores", "log_probs"]
    values: dict[str, Any]
    numbers: Literal["120", "012"] | None = None
    """what numbers meant as its verdicts, where it gave numbers"""


class PanelState(FrozenState):
    """Everything that prediction needs beside the stacker's own files."""

    format: Literal[1]
    judges: dict[str, EncoderState] = Field(min_length=1)
    ties: bool
    table: bool


@dataclass(frozen=True, eq=False)
class Restored:
    """Encoders, whether a tie is possible, and whether a table of counts was tried."""

    encoders: Encoders
    ties: bool
    table: bool
    numbers: dict[str, str]


def dump_state(encoders: Encoders, *, ties: bool, table: bool, numbers: Mapping[str, str]) -> bytes:
    """The content of `MAIN`; ``numbers`` as in `Judgements`."""
    judges = {
        name: EncoderState(
            kind=one.kind,  # type: ignore[arg-type]
            values=one.state().model_dump(),
            numbers=numbers.get(name),  # type: ignore[arg-type]
        )
        for name, one in encoders.items()
    }
    state = PanelState(format=FORMAT, judges=judges, ties=ties, table=table)
    return state.model_dump_json(indent=1).encode()


def read_state(files: Mapping[str, bytes]) -> Restored:
    """What `dump_state` wrote.

    Raises
    ------
    ArtifactError
        The file is missing or broken.
    """
    if MAIN not in files:
        raise ArtifactError(f"the panel lacks {MAIN}; {_REMEDY}")
    try:
        state = PanelState.model_validate_json(files[MAIN])
        encoders = {name: RESTORE[one.kind](one.values) for name, one in state.judges.items()}
    except (ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ArtifactError(f"{MAIN} is not as written ({reason}); {_REMEDY}") from None
    numbers = {name: one.numbers for name, one in state.judges.items() if one.numbers is not None}
    return Restored(encoders, state.ties, state.table, dict(numbers))
