"""The template's literals and the verdict words as token ids of one tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ...errors import RecipeError
from ...prompts import Ids, Template, TokenizedTemplate, template_of
from ...recipes import PromptSettings
from ...recipes.template import SLOT

_PROPOSALS: Final = (
    ("A", "B", "tie"),
    ("A", "B", "C"),
    ("A", "B", "T"),
    ("1", "2", "3"),
    ("first", "second", "both"),
    ("left", "right", "same"),
)
_NO_CLOCK: Final = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
"""In place of the clock, the day that Llama 3's templates fall back to."""
_SLOTS: Final = (f"{SLOT}prompt>>", f"{SLOT}a>>", f"{SLOT}b>>")


def encode_literals(
    tokenizer: Any, settings: PromptSettings, *, causal: bool, singles: bool = False
) -> TokenizedTemplate:
    """Token ids of every literal, with the special tokens that the tokenizer puts around a text.

    A special token at the end (an encoder's ``[SEP]``) is kept only where no next token is read.

    Parameters
    ----------
    singles
        Whether a sequence shows one response alone (the reward head).

    Raises
    ------
    RecipeError
        The tokenizer has no chat template, or one that the layout cannot be put into; or a dialogue is
        asked for where a sequence shows both responses.
    """
    template = template_of(settings)
    if template.dialogue:
        if not singles:
            raise RecipeError(
                f"prompt.template = {settings.template!r} shows one response as the assistant's and is for "
                "backbone = 'reward'; use 'chat-1'"
            )
        return _dialogue(tokenizer, template)
    if template.chat:
        opening, before_a, before_b, cue = _chat_literals(tokenizer, template)
    else:
        before, after = special_tokens(tokenizer)
        opening = np.concatenate([before, _ids(tokenizer, template.opening)])
        before_a, before_b = _ids(tokenizer, template.before_a), _ids(tokenizer, template.before_b)
        decoder = causal or not len(after) or getattr(tokenizer, "cls_token", None) is None
        cue = np.concatenate([_ids(tokenizer, template.cue), after[:0] if decoder else after])
    return TokenizedTemplate(
        opening=opening.astype(np.int32),
        before_a=before_a,
        before_b=before_b,
        before_response=_ids(tokenizer, template.before_response),
        cue=cue.astype(np.int32),
        turn=_ids(tokenizer, template.turn),
        marker=_ids(tokenizer, template.marker),
        rounds=template.rounds,
    )


def _ids(tokenizer: Any, text: str) -> Ids:
    return np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)


def special_tokens(tokenizer: Any) -> tuple[Ids, Ids]:
    """Ids that the tokenizer puts before and after a text by itself."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return (
                np.asarray(full[:start], dtype=np.int32),
                np.asarray(full[start + len(bare) :], dtype=np.int32),
            )
    return np.empty(0, np.int32), np.empty(0, np.int32)


def _dialogue(tokenizer: Any, template: Template) -> TokenizedTemplate:
    """The tokenizer's chat template around two rounds of user and assistant, split at the texts' places.

    What stands before the last answer (Qwen3's has an empty thought there) stands before each.
    """
    talk = [
        {"role": role, "content": f"{SLOT}{role}{k}>>"} for k in range(2) for role in ("user", "assistant")
    ]
    slots = [message["content"] for message in talk]
    opening, _, turn, answer, end = _split(_in_chat(tokenizer, template, talk, cue=False), slots)
    return TokenizedTemplate(
        opening=_ids(tokenizer, opening),
        before_a=_ids(tokenizer, template.before_a),
        before_b=_ids(tokenizer, template.before_b),
        before_response=_ids(tokenizer, answer),
        cue=_ids(tokenizer, end),
        turn=_ids(tokenizer, turn),
        marker=_ids(tokenizer, template.marker),
        rounds=True,
    )


def _chat_literals(tokenizer: Any, template: Template) -> tuple[Ids, Ids, Ids, Ids]:
    """The literals with the tokenizer's chat template around them, split at the places of the texts."""
    content = (
        template.opening
        + _SLOTS[0]
        + template.before_a
        + _SLOTS[1]
        + template.before_b
        + _SLOTS[2]
        + template.cue
    )
    text = _in_chat(tokenizer, template, [{"role": "user", "content": content}], cue=True)
    opening, before_a, before_b, cue = (_ids(tokenizer, part) for part in _split(text, _SLOTS))
    return opening, before_a, before_b, cue


def _in_chat(tokenizer: Any, template: Template, talk: list[dict[str, str]], *, cue: bool) -> str:
    """Messages in the tokenizer's chat template; with ``cue`` up to where the assistant's answer starts."""
    if not getattr(tokenizer, "chat_template", None):
        raise RecipeError(
            f"prompt.template = {template.name!r}: this tokenizer has no chat template; use 'plain-1'"
        )
    chat = tokenizer.get_chat_template()
    if "strftime_now" in chat:  # it tells the date, and a prompt must not change overnight
        chat = _NO_CLOCK + chat
    text: str = tokenizer.apply_chat_template(
        talk,
        tokenize=False,
        add_generation_prompt=cue,
        chat_template=chat,
        **({"enable_thinking": False} if "enable_thinking" in chat else {}),  # the verdict comes at once
    )
    return text


def _split(text: str, slots: Sequence[str]) -> list[str]:
    """What stands before, between and after the slots."""
    parts = []
    for slot in slots:
        part, found, text = text.partition(slot)
        if not found:
            raise RecipeError("the tokenizer's chat template changes what the user says; use 'plain-1'")
        parts.append(part)
    return [*parts, text]


def verdict_ids(tokenizer: Any, settings: PromptSettings) -> tuple[int, int, int]:
    """The one token that each verdict word is, where it stands: right after the cue.

    Raises
    ------
    RecipeError
        A word is no single token there, or two words begin alike; the pieces are shown and words
        that work are proposed.
    """
    found = _in_context(tokenizer, settings, settings.verdicts)
    ids = [pieces[0] for pieces in found.values() if len(pieces) == 1]
    if len(ids) == 3 and len(set(ids)) == 3:
        return ids[0], ids[1], ids[2]
    shown = "; ".join(
        f"{word!r} = {tokenizer.convert_ids_to_tokens(pieces)}" for word, pieces in found.items()
    )
    for words in _PROPOSALS:
        other = [p[0] for p in _in_context(tokenizer, settings, words).values() if len(p) == 1]
        if len(set(other)) == 3:
            advice = f"prompt.verdicts = {list(words)} would do"
            break
    else:
        advice = "choose three words that are one token each in this tokenizer"
    raise RecipeError(
        f"prompt.verdicts = {list(settings.verdicts)}: after the cue they must be three different single "
        f"tokens, and they are {shown}; {advice}"
    )


def _in_context(tokenizer: Any, settings: PromptSettings, words: tuple[str, ...]) -> dict[str, list[int]]:
    """What each word adds to the ids of the cue; several ids if it also changes the cue's."""
    template = template_of(settings)
    cue = _ids(tokenizer, template.cue).tolist()
    if template.chat:
        cue = _chat_literals(tokenizer, template)[3].tolist()
    text = tokenizer.decode(cue) if template.chat else template.cue
    found = {}
    for word in words:
        ids = _ids(tokenizer, text + template.gap + word).tolist()
        same = ids[: len(cue)] == cue
        found[word] = ids[len(cue) :] if same and len(ids) > len(cue) else ids
    return found
