"""What goes over the wire, as pydantic models: the OpenAPI schema is made of them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..io.ids import replaced_surrogates

MOST_TURNS: Final = 1000
MOST_ID_CHARS: Final = 256
_INT64: Final = 2**63


def _writable(value: Any) -> Any:
    """Lone surrogates, which JSON can spell and UTF-8 cannot, are replaced as in files of battles."""
    return replaced_surrogates(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_writable)]
Turns = Text | Annotated[list[Text | None], Field(max_length=MOST_TURNS)]
"""A text, or a conversation's turns; a turn may be null."""
Id = (
    Annotated[int, Field(ge=-_INT64, lt=_INT64)]
    | Annotated[str, BeforeValidator(_writable), Field(max_length=MOST_ID_CHARS)]
)


class Model(BaseModel):
    """Strict: no unknown field, no conversion."""

    model_config = ConfigDict(strict=True, extra="forbid")


class BattleIn(Model):
    """A prompt and two answers."""

    id: Id | None = None
    """unique in the request; numbered from 1 where it is absent"""
    prompt: Turns
    response_a: Turns
    response_b: Turns


class PreferencesIn(Model):
    """Battles to predict."""

    battles: Annotated[list[BattleIn], Field(min_length=1)]
    explain: bool = False
    """also say why, for a few battles at once"""


class Preference(Model):
    """P(A wins), P(B wins), P(tie) of one battle."""

    id: int | str
    a: float
    b: float
    tie: float
    explanation: dict[str, Any] | None = None
    """see `arena_ensemble.pipeline.explanation.Explanation`"""


class PreferencesOut(Model):
    """In the order of the request."""

    preferences: list[Preference]
    request_id: str


class MemberOut(Model):
    """A member of the ensemble that is served."""

    name: str
    fold_models: int


class ModelOut(Model):
    """What is served."""

    choice: str
    members: list[MemberOut]
    rows: int
    """battles that it was fitted on"""
    log_loss: float
    """out of fold"""
    n_classes: int
    max_battles: int
    max_explained: int
    max_bytes: int
    neighbours: bool
    """whether explanations name training battles"""


class ErrorDetail(Model):
    """What is wrong and how to mend it."""

    status: int
    message: str
    request_id: str


class ErrorOut(Model):
    """Every refusal has this form."""

    error: ErrorDetail
