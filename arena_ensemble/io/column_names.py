"""Names of columns without regard to case, and the other names that people give them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from ..errors import InputError

WINNERS: Final = ("winner_model_a", "winner_model_b", "winner_tie")
ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "winner_model_a": ("winner_a",),
    "winner_model_b": ("winner_b",),
    "response_a": ("answer_a", "output_a", "completion_a"),
    "response_b": ("answer_b", "output_b", "completion_b"),
    "conversation_a": ("conversations_a", "messages_a"),
    "conversation_b": ("conversations_b", "messages_b"),
    "chosen": ("chosen_response", "response_chosen"),
    "rejected": ("rejected_response", "response_rejected"),
    "system": ("system_prompt", "system_message"),
    "tie": ("is_tie", "tied", "winner_tie"),
    "best": ("is_best", "correct", "is_correct", "best_answer", "best_response", "best_index", "best_id"),
    "item": ("item_id", "prompt_id", "query_id"),
    "answer": (
        "answer_id", "answer_index", "response_id", "response_index", "candidate", "candidate_id",
        "candidate_index", "completion_id", "completion_index",
    ),
    "judge": ("judge_model", "judge_name", "judge_id"),
    "score": ("reward", "rating", "grade"),
}  # fmt: skip
"""Field → names under which it is also found."""
QUESTIONS: Final = (
    "prompt", "question", "query", "user_prompt", "instruction", "messages", "conversations", "conversation",
    "input",
)  # fmt: skip
"""Columns that may hold the question, the likeliest first."""
MAKE: Final = "make the five columns id, prompt, response_a, response_b and winner (model_a, model_b or tie)"
_SHOWN: Final = 10
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN: Final = re.compile(r"[\s\-.]+")


def canonical(name: str) -> str:
    """``Response A``, ``response-a``, ``responseA`` and ``RESPONSE_A`` are all ``response_a``."""
    return _BETWEEN.sub("_", _CAMEL.sub("_", name.strip())).lower()


class Columns:
    """The columns of a file, found by field: exactly as written first, then by any case or alias."""

    def __init__(self, names: Sequence[str], *, file: str) -> None:
        self.names, self.file = tuple(names), file
        self._taken: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}
        for name in names:
            self._by_name.setdefault(canonical(name), []).append(name)

    def find(self, field: str) -> str | None:
        """The column that holds a field, as the file spells it; None where there is none.

        Raises
        ------
        InputError
            Two columns differ in case only, and neither is spelled as the field is.
        """
        if field in self._taken:
            return self._taken[field]
        for name in (field, *ALIASES.get(field, ())):
            found = self._by_name.get(name, [])
            if len(found) > 1 and name not in found:
                raise InputError(
                    f"{self.file} has the columns {' and '.join(found)}, which differ in case only; rename "
                    "one"
                )
            if found:
                return name if name in found else found[0]
        return None

    def taking(self, field: str, name: str) -> Columns:
        """The same, where the column ``name`` holds a field."""
        found = Columns(self.names, file=self.file)
        found._taken = {**self._taken, field: name}
        return found

    def __contains__(self, field: str) -> bool:
        return self.find(field) is not None

    def lacking(self, fields: Iterable[str]) -> list[str]:
        """The fields that no column holds."""
        return [field for field in fields if field not in self]

    @property
    def shown(self) -> str:
        """The first names, for a message."""
        more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
        return ", ".join(name[:24] for name in self.names[:_SHOWN]) + more
