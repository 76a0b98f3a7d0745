"""What the features count, as patterns of Rust's ``regex`` (that of polars)."""

from __future__ import annotations

from typing import Final

WORD: Final = r"[a-z0-9\x{c0}-\x{1fff}]+|[\x{2c00}-\x{2fff}\x{3040}-\x{fdff}\x{ff10}-\x{10ffff}]"
"""A word of lowercased text. Scripts without spaces (Chinese, Japanese, Korean) give a word a character."""
WORD_CHARACTERS: Final = ((0x61, 0x7A), (0x30, 0x39), (0xC0, 0x1FFF))
WORDS_OF_ONE: Final = ((0x2C00, 0x2FFF), (0x3040, 0xFDFF), (0xFF10, 0x10FFFF))
"""The code points of its two kinds: words are counted by these, which is quicker (a test compares them)."""

# Every pattern is counted in one answer (all turns joined by a newline). Rust's regex engine is
# fast on ASCII classes and on plain alternatives, 30 times slower on case-blind or Unicode ones:
# so phrases are counted in the lowercased text.
MARKS: Final[dict[str, str]] = {
    "lines": r"\n",
    "paragraphs": r"\n[ \t]*\n",
    "sentences": r"[.!?](?:[ \n\"')]|$)|[。！？]",
    "headings": r"(?m)^ {0,3}#{1,6} ",
    "bullets": r"(?m)^[ \t]*[-*•+] ",
    "numbered": r"(?m)^[ \t]*[0-9]{1,3}[.)] ",
    "nested": r"(?m)^(?: {2,}|\t+)(?:[-*•+]|[0-9]{1,3}[.)]) ",
    "bold": r"\*\*[^*\n]+\*\*",
    "italics": r"(?:^|[ (\n])[*_][A-Za-z][^*_\n]*[*_](?:[ ).,;:!?\n]|$)",
    "code_fences": r"```",
    "inline_code": r"`[^`\n]+`",
    "table_rows": r"(?m)^[ \t]*\|.*\|",
    "links": r"https?://|\]\(",
    "questions": r"[?？]",
    "exclamations": r"[!！]",
    "commas": r"[,，、]",
    "colons": r":(?:\s|$)",
    "parentheses": r"\(",
    "quotes": r"[\"“”«»]",
    "ellipses": r"\.\.\.|…",
    "latex": r"\\[a-zA-Z]+|\\[(\[]|\$[^$\n]+\$",
    "json_keys": r"\"[A-Za-z_][^\"\n]*\"[ \t]*:",
    "emoji": r"[\x{1F300}-\x{1FAFF}\x{2600}-\x{27BF}]",
    "digits": r"[0-9]",
    "capitals": r"[A-Z]",
    "shouted": r"[A-Z]{3,}",
    "first_person": r"\bI\b",
}
PHRASES: Final[dict[str, str]] = {
    "refusals": (
        r"\b(?:i (?:can['’]?t|cannot|can not|won['’]t|will not|do not feel)"
        r"|i(?:['’]m| am) (?:not able|unable|not allowed|not programmed)"
        r"|unable to (?:assist|help|provide|fulfil)|not (?:appropriate|ethical) to|against my)\b"
    ),
    "ai_mentions": r"\b(?:as an? (?:ai|artificial|(?:large )?language model)|language model)\b",
    "apologies": r"\b(?:sorry|apologi[sz]e|apologies|unfortunately)\b",
    "ignorance": (
        r"\b(?:i (?:do not|don['’]t) (?:know|have|understand)|not sure|no information"
        r"|more (?:context|information|details)|could you (?:please )?(?:clarify|provide|specify))\b"
    ),
    "hedges": r"\b(?:may|might|perhaps|possibly|however|although|depends|typically|generally)\b",
    "connectives": r"\b(?:because|therefore|thus|since|for example|for instance|such as)\b",
    "closings": (
        r"\b(?:let me know|hope (?:this|that) helps|feel free|happy to (?:help|assist)|anything else"
        r"|any (?:other |more |further )?questions|in conclusion|in summary|overall,)"
    ),
    "second_person": r"\byour?\b",
}

# Shares of an answer's characters, by script; what is left is Latin. Letters with accents stand
# alone: they tell most European languages from English.
SCRIPTS: Final[dict[str, str]] = {
    "accented": r"[À-ɏ]",
    "cyrillic": r"\p{Cyrillic}",
    "cjk": r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]",
    "arabic": r"[\p{Arabic}\p{Hebrew}]",
    "indic": r"[\p{Devanagari}\p{Bengali}\p{Tamil}\p{Telugu}\p{Thai}]",
}

# What the lowercased prompt asks for: even by nature, as it belongs to neither side.
REQUESTS: Final[dict[str, str]] = {
    "questions": r"[?？]",
    "digits": r"[0-9]",
    "lines": r"\n",
    "code": r"```|\bdef |\bclass |#include|\bimport |[;{}]\n|</|\bselect ",
    "code_words": r"\b(?:code|python|java(?:script)?|c\+\+|sql|function|program|script|regex|html|bash)\b",
    "math": (
        r"\\[a-z]+|\b(?:calculate|solve|equation|probability|integral|how many|sum of|prove)\b"
        r"|[0-9] ?[-+*/=^] ?[0-9]"
    ),
    "writing": r"\b(?:write|compose|draft|essay|story|poem|blog|email|letter|song|lyrics|haiku)\b",
    "roleplay": r"\b(?:act as|pretend|imagine you|role ?play|you(?: a|['’])re an?|character)\b",
    "explain": r"\b(?:explain|why|how do(?:es)?|describe|what (?:is|are)|difference between|compare)\b",
    "rewrite": r"\b(?:summari[sz]e|rewrite|rephrase|edit|correct|translate|paraphrase|shorten)\b",
    "extract": r"\b(?:extract|classify|json|csv|table|list (?:of|the)|identify|rate|evaluate|label)\b",
    "brief": r"\b(?:brief(?:ly)?|short|concise|one sentence|in one word|only|just|no more than|at most)\b",
    "long": r"\b(?:detailed|in detail|comprehensive|in depth|step by step|thorough|at least)\b",
    "harm": r"\b(?:kill|bomb|weapon|hack|steal|drugs?|sex|porn|nsfw|illegal|racist|suicide)\b",
}

OPENING: Final = r"^\s*(?:sure|certainly|of course|absolutely|great question|yes|no|here(?:['’]s| is| are))\b"
ENDING: Final = r"[.!?:;)\]}>\"'”`*|。！？…~]$"
SYMBOL: Final = r"[^\p{L}\p{N}\s.,!?'\"-]"
FOREIGN: Final = r"[^\x00-ɏ\x{2000}-\x{206F}]"

# A pass over a whole answer costs the same for one rare character as for eight. So what several patterns
# look for is taken out once (`characters.odd_ones`, `LIST_HEADS`), and they count in the little that remains.
# Each part holds every match of its patterns, and apart as they stood: a count there is the count in the
# answer (a test compares them).
LIST_HEADS: Final = r"\n[ \t]*(?:[-*•+]|[0-9]{1,3}[.)]) "
IN_PART: Final = {
    **dict.fromkeys(("emoji", "symbol", "foreign", *SCRIPTS), "odd"),
    **dict.fromkeys(("bullets", "numbered", "nested"), "head"),
}
