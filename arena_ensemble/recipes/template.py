"""The words around a battle's texts: a built-in layout's, or a file of one's own beside the recipe.

Literals only: the texts stand between them in a fixed order, so a template can neither swap them nor
show an outcome.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import RecipeError

_PLACEHOLDER: Final = re.compile(
    r"\{+\s*(prompt|question|instruction|response\w*|answer\w*|a|b|winner|label|outcome)\s*\}+", re.IGNORECASE
)
SLOT: Final = "<<slot:"
"""Marks the places of the texts while a chat template is applied."""

_Words = Annotated[str, Field(min_length=1)]


class Template(BaseModel):
    """The literals around the texts. A change of one character is another digest."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str = ""
    opening: str
    before_a: _Words
    before_b: _Words
    cue: _Words
    gap: str = " "
    """between the cue and the verdict word"""
    before_response: _Words = "\n\n[Response]\n"
    """before the one response that the reward head reads"""
    turn: _Words = "\n\n[Next turn]\n"
    """between the turns of one text, or between two rounds"""
    marker: str = " [...] "
    """stands where text was cut out"""
    empty: _Words = "(no text)"
    """stands for a null or empty turn"""
    chat: bool = False
    """wrap in the tokenizer's own chat template"""
    rounds: bool = False
    """prompt, A and B of one round after the other, in place of all prompts, all of A, all of B"""
    dialogue: bool = False
    """the prompt as the user's and one response as the assistant's turn of the tokenizer's chat template, as
    reward models are trained: for the reward head, and of the words above the marker and ``empty`` alone"""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for key, text in self.content().items():
            if not isinstance(text, str):
                continue
            if found := _PLACEHOLDER.search(text):
                raise ValueError(
                    f"{key} contains {found.group()!r}: a template is the words between the texts; prompt, A "
                    "and B stand between them by themselves, so leave it out"
                )
            if SLOT in text:
                raise ValueError(f"{key} contains {SLOT!r}, which marks a text's place; leave it out")
        if self.dialogue and not (self.chat and self.rounds):
            raise ValueError("dialogue = true shows a chat round by round; set chat and rounds to true too")
        if self.before_a == self.before_b:
            raise ValueError("before_a and before_b are equal: nothing says which response is A; change one")
        if self.cue.isspace():
            raise ValueError("cue is blank; write what asks for the verdict")
        return self

    def content(self) -> dict[str, Any]:
        """Everything that a model reads of it: all fields except the name."""
        unused = set() if self.dialogue else {"dialogue"}  # digests of other layouts are older than the field
        return self.model_dump(exclude={"name", *unused})


def names_a_file(template: str) -> bool:
    """Whether ``prompt.template`` is written as a file rather than as a built-in layout's name."""
    return template.startswith((".", "/", "~")) or template.endswith(".toml") or "/" in template


def read_template(typed: str, folder: Path | None) -> Template:
    """The template file that a recipe names.

    Parameters
    ----------
    typed
        As the recipe writes it, relative to its folder.
    folder
        Where the recipe lies.

    Raises
    ------
    RecipeError
        The file lies outside that folder or is not there, is no TOML, or a key or a value is wrong.
    """
    path = PurePosixPath(typed)
    if folder is None:
        raise RecipeError(
            f"prompt.template = {typed!r}: a template file lies beside a recipe.toml, and this recipe lies "
            "nowhere; write it to a folder, or name a built-in template"
        )
    if path.is_absolute() or typed.startswith("~") or ".." in path.parts:
        raise RecipeError(
            f"prompt.template = {typed!r} leaves the recipe's folder, and would be missing where the "
            "recipe is copied to; put the file beside recipe.toml and write './template.toml'"
        )
    file = folder / path
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"prompt.template = {typed!r}: no file {file} ({error.strerror or error}); put it beside "
            "recipe.toml"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{file}: not a TOML file: {error}; mend it") from None
    known = [key for key in Template.model_fields if key != "name"]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.5)
            nearest = f"the nearest known key is {close[0]!r}" if close else f"known keys: {', '.join(known)}"
            raise RecipeError(f"{file}: unknown key {key!r}; {nearest}")
    try:
        return Template.model_validate({**values, "name": typed})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        shown = f"{key}: " if first["type"] == "missing" else f"{key} = {first['input']!r}: " if key else ""
        raise RecipeError(f"{file}: {shown}{message}") from None
