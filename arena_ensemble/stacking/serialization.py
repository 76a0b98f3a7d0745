"""A fitted stacker as named bytes and back: one JSON file and LightGBM texts, each checked by its SHA-256.

A truncated or edited LightGBM text can kill the process that parses it, so no text is parsed before
its hash matches the one in the JSON, and the width of what comes out is checked afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from lightgbm.basic import LightGBMError
from pydantic import Field, NonNegativeInt, PositiveFloat, ValidationError, model_validator

from ..errors import ArtifactError
from .base import FrozenState, Model
from .candidates import RESTORE
from .selection import Decision

MAIN: Final = "stacker.json"
FORMAT: Final = 4
_REMEDY: Final = "run `arena-ensemble stack` again (`panel` for a panel)"

NonNegativeFloat = Annotated[float, Field(ge=0)]


class TextFile(FrozenState):
    """A LightGBM text beside the JSON."""

    file: str
    sha256: str


class ModelState(FrozenState):
    """One fitted model: its kind, how it is used, and the numbers that its class checks."""

    kind: str
    predicts_tie_logit: bool
    path_index: tuple[NonNegativeInt, NonNegativeInt]
    beta: PositiveFloat
    values: dict[str, Any]
    texts: tuple[TextFile, ...]


class InputNames(FrozenState):
    """Members and features that the stacker was fitted on, in order."""

    members: tuple[str, ...]
    odd: tuple[str, ...]
    even: tuple[str, ...]
    one_order: tuple[str, ...]


class StackerState(FrozenState):
    """Everything that prediction needs, but the LightGBM texts."""

    format: Literal[4]
    selection_frequency: dict[str, NonNegativeFloat] = Field(min_length=1)
    blend_weights: dict[str, Annotated[dict[str, float], Field(min_length=1)]]
    names: InputNames
    models: dict[str, ModelState]
    ties: bool = True
    """False where no tie can be voted"""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if set(self.decision().parts()) != set(self.models):
            raise ValueError(f"what was chosen does not need just its {len(self.models)} models")
        if abs(sum(self.selection_frequency.values()) - 1) > 1e-6:
            raise ValueError("the selection frequencies do not sum to one")
        return self

    def decision(self) -> Decision:
        """The decision, without the losses that it was made on."""
        return Decision(
            {name: model.path_index for name, model in self.models.items()},
            {name: model.beta for name, model in self.models.items()},
            self.blend_weights,
            self.selection_frequency,
            {},
        )


@dataclass(frozen=True)
class FittedStacker:
    """What a stacker predicts with.

    ``predicts_tie_logit`` says of each model what its path holds; ``odd_names`` and ``even_names`` are
    those of the features, ``one_order`` members that predicted one order only; ``ties`` is whether a tie
    can be voted.
    """

    models: Mapping[str, Model]
    predicts_tie_logit: Mapping[str, bool]
    decision: Decision
    members: tuple[str, ...]
    odd_names: tuple[str, ...]
    even_names: tuple[str, ...]
    one_order: tuple[str, ...] = ()
    ties: bool = True


def to_files(fitted: FittedStacker) -> dict[str, bytes]:
    """File name → content of everything that prediction needs."""
    files: dict[str, bytes] = {}
    models: dict[str, ModelState] = {}
    decision = fitted.decision
    for place, (name, model) in enumerate(sorted(fitted.models.items())):
        texts = []
        for number, text in enumerate(model.texts()):
            file = f"trees-{place}-{number}.txt"
            files[file] = text.encode()
            texts.append(TextFile(file=file, sha256=hashlib.sha256(files[file]).hexdigest()))
        models[name] = ModelState(
            kind=model.kind,
            predicts_tie_logit=fitted.predicts_tie_logit[name],
            path_index=decision.path_index[name],
            beta=decision.betas[name],
            values=model.state().model_dump(),
            texts=tuple(texts),
        )
    chosen = decision.selection_frequency
    weights = {name: decision.blend_weights[name] for name in chosen if name in decision.blend_weights}
    state = StackerState(
        format=FORMAT,
        selection_frequency=chosen,
        blend_weights=weights,
        names=InputNames(
            members=fitted.members,
            odd=fitted.odd_names,
            even=fitted.even_names,
            one_order=fitted.one_order,
        ),
        models=models,
        ties=fitted.ties,
    )
    files[MAIN] = json.dumps(state.model_dump(), indent=1).encode()
    return files


def from_files(files: Mapping[str, bytes]) -> FittedStacker:
    """What `to_files` was given.

    Raises
    ------
    ArtifactError
        The JSON is missing, broken or of another format; a text is missing or its hash differs; a
        model has another width than it was written with.
    """
    state = _parsed(files)
    models: dict[str, Model] = {}
    for name, saved in state.models.items():
        texts = [_checked(files, text) for text in saved.texts]
        try:
            models[name] = RESTORE[saved.kind](saved.values, [text.decode() for text in texts])
        except (KeyError, ValueError, LightGBMError) as error:
            raise _not_as_written(error) from None
    return FittedStacker(
        models,
        {name: saved.predicts_tie_logit for name, saved in state.models.items()},
        state.decision(),
        state.names.members,
        state.names.odd,
        state.names.even,
        state.names.one_order,
        state.ties,
    )


def _parsed(files: Mapping[str, bytes]) -> StackerState:
    try:
        content = json.loads(files[MAIN], parse_constant=_no_number)
    except KeyError:
        raise ArtifactError(f"the stacker lacks {MAIN}; {_REMEDY}") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{MAIN} is no whole JSON ({error}); {_REMEDY}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ArtifactError(f"{MAIN} has another format than {FORMAT}; {_REMEDY}")
    try:
        return StackerState.model_validate_json(files[MAIN])
    except ValidationError as error:
        raise _not_as_written(error) from None


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} among the numbers")


def _not_as_written(error: Exception) -> ArtifactError:
    """One line that tells the first thing that is wrong and where."""
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place[:200]}: {first['msg']}" if place else first["msg"]
    return ArtifactError(f"{MAIN} is not as written ({reason}); {_REMEDY}")


def _checked(files: Mapping[str, bytes], text: TextFile) -> bytes:
    if text.file not in files:
        raise ArtifactError(f"the stacker lacks {text.file}; {_REMEDY}")
    content = files[text.file]
    if hashlib.sha256(content).hexdigest() != text.sha256:
        raise ArtifactError(
            f"{text.file} was truncated or edited (its SHA-256 differs); it was not loaded; {_REMEDY}"
        )
    return content
