"""The built-in layouts, a recipe's template, and the texts that it shows of a battle."""

from __future__ import annotations

import difflib
import hashlib
import json
from typing import Final

from ..battles import Battles
from ..errors import RecipeError
from ..recipes import PromptSettings, Recipe
from ..recipes.template import Template

_COLUMNS: Final = ("prompt", "response_a", "response_b")
_PLAIN: Final = Template(
    name="plain-1",
    opening="Two assistants answered the same user. Which response is better: A, B, or is it a tie?"
    "\n\n[User]\n",
    before_a="\n\n[Response A]\n",
    before_b="\n\n[Response B]\n",
    cue="\n\n[End]\nBetter response:",
)
_BUILT_IN: Final = (
    _PLAIN,
    Template(
        name="rounds-1",
        opening="Two assistants talked with the same user, round by round. Which assistant's responses are "
        "better: A's, B's, or is it a tie?\n\n[User]\n",
        before_a="\n\n[Response A]\n",
        before_b="\n\n[Response B]\n",
        cue="\n\n[End]\nBetter responses:",
        turn="\n\n[User, next round]\n",
        rounds=True,
    ),
    Template(
        name="short-1",
        opening="[User]",
        before_a="[A]",
        before_b="[B]",
        cue="[Better]",
        before_response="[Response]",
        turn="[Next]",
        marker="[...]",
        empty="(no text)",
    ),
    Template(
        name="chat-1",
        opening="Two assistants answered the same user. Compare the responses and reply with one word."
        "\n\n[User]\n",
        before_a="\n\n[Response A]\n",
        before_b="\n\n[Response B]\n",
        cue="\n\n[End]\nWhich response is better: A, B, or tie?",
        gap="",
        chat=True,
    ),
    Template(
        name="dialogue-1",
        opening="",
        before_a="\n\n[Response A]\n",
        before_b="\n\n[Response B]\n",
        cue="\n\n[End]\n",
        chat=True,
        rounds=True,
        dialogue=True,
    ),
)
TEMPLATES: Final = {template.name: template for template in _BUILT_IN}


def get_template(name: str) -> Template:
    """The built-in template of that name.

    Raises
    ------
    RecipeError
        There is none; the nearest name is given.
    """
    if name not in TEMPLATES:
        close = difflib.get_close_matches(name, TEMPLATES, n=1, cutoff=0.0)
        raise RecipeError(f"unknown prompt.template {name!r}; the nearest is {close[0]!r}")
    return TEMPLATES[name]


def template_of(settings: PromptSettings) -> Template:
    """A recipe's template: its own file's, else the built-in one.

    Raises
    ------
    RecipeError
        As :func:`get_template`.
    """
    return settings.own or get_template(settings.template)


def template_digest(recipe: Recipe) -> str:
    """SHA-256 over the template's text and the prompt settings: what a card calls the prompt."""
    template = template_of(recipe.prompt)
    value = template.content() if recipe.prompt.own else template.model_dump()
    for name in ("rounds", "dialogue"):  # digests of layouts without them are older than the fields
        if not getattr(template, name):
            value.pop(name, None)
    value |= recipe.prompt.model_dump(mode="json")
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def turns_of(battles: Battles, template: Template) -> tuple[list[list[str]], ...]:
    """Prompt, response A and response B of every battle as lists of non-empty turns.

    A null or blank turn becomes the template's word for it; a null response becomes one such turn. Where
    the template goes by rounds, the three have as many turns, filled up with that word at the end.
    """

    def filled(turns: list[str | None] | None) -> list[str]:
        return [turn if turn and not turn.isspace() else template.empty for turn in turns or [None]]

    columns = tuple([filled(turns) for turns in battles.frame[name].to_list()] for name in _COLUMNS)
    if template.rounds:
        for battle in zip(*columns, strict=True):
            count = max(map(len, battle))
            for turns in battle:
                turns.extend([template.empty] * (count - len(turns)))
    return columns
