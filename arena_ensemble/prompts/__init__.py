"""Battles to token ids: one versioned template for training and prediction, budgets, the verdict cue."""

from ..recipes.template import Template
from .assembly import assemble, assemble_singles, room_for_texts
from .budgets import cut_turns, share_budget
from .encoded import PROMPT, RESPONSE_A, RESPONSE_B, Encode, Encoded, Ids, TokenizedTemplate
from .rounds import rounds_kept
from .templates import TEMPLATES, get_template, template_digest, template_of, turns_of

__all__ = [
    "PROMPT",
    "RESPONSE_A",
    "RESPONSE_B",
    "TEMPLATES",
    "Encode",
    "Encoded",
    "Ids",
    "Template",
    "TokenizedTemplate",
    "assemble",
    "assemble_singles",
    "cut_turns",
    "get_template",
    "room_for_texts",
    "rounds_kept",
    "share_budget",
    "template_digest",
    "template_of",
    "turns_of",
]
