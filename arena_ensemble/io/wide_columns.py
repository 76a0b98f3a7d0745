"""Names of columns that belong to one judge: its two answers' numbers, its two orders, its samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from ..judgements import First
from ..judgements.known import Known, known_judge
from .column_names import canonical
from .judge_columns import ABOUT_ANSWERS, ABOUT_PAIRS, ANNOTATORS, TRUTH, is_fact, is_no_judge

T = TypeVar("T")
Kind = Literal["scores", "probabilities", "logs"]
_WORDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("score", "scores", "reward", "rewards", "rating", "grade", "points"), "scores"),
    **dict.fromkeys(("p", "prob", "probs", "probability", "winner"), "probabilities"),
    **dict.fromkeys(
        ("logp", "log_p", "logprob", "log_prob", "logprobs", "log_probs", "lp", "logit", "logits"), "logs"
    ),
}
_SIDES: Final = {"a": "a", "b": "b", "tie": "tie", "c": "tie", "draw": "tie", "1": "a", "2": "b"}
_WORD: Final = "|".join(sorted(_WORDS, key=len, reverse=True))
_OF: Final = r"(?:(?:model|response|answer|assistant)_)?"
_AFTER: Final = re.compile(
    rf"(?:(?P<judge>.*?)(?P<sep>[_:. -]))?(?:(?P<what>{_WORD})[_ .-]?{_OF})?(?P<side>a|b|tie|c|draw|1|2)\Z",
    re.IGNORECASE,
)
_BEFORE: Final = re.compile(
    rf"(?P<what>{_WORD})[_ .-]?(?P<side>a|b|tie|c|draw)[_:. -](?P<judge>.+)\Z", re.IGNORECASE
)
_ALONE: Final = re.compile(
    rf"(?:(?P<what>{_WORD})_{_OF}(?P<side>a|b|tie|c|draw|1|2)|{_OF}(?P<left>a|b)_(?P<right>{_WORD}))\Z"
)
_MARGINS: Final = ("margin", "score_diff", "score_difference", "score_margin", "reward_margin", "reward_diff")
_ORDERS: Final = (
    ("_ab", "_ba"), ("_a_first", "_b_first"), ("_original", "_swapped"), ("_orig", "_swap"),
    ("_orig", "_swapped"), ("_original", "_reversed"), ("_normal", "_swapped"), ("_forward", "_backward"),
    ("_forward", "_reverse"), ("_order_ab", "_order_ba"), ("_order1", "_order2"), ("_order_1", "_order_2"),
    ("", "_swapped"), ("", "_swap"), ("", "_flipped"), ("", "_reversed"),
)  # fmt: skip
"""Ends of the names of one judge's columns, that of the calls with A first and that of those with B first."""
_SAMPLE: Final = re.compile(
    r"(?P<stem>.+?)(?:[_.-](?P<word>samples?|run|trial|rep|repeat|draw|attempt|try|s|r)[_.-]?|_)(?P<n>\d+)\Z",
    re.IGNORECASE,
)
_FEWEST: Final = 3
"""numbered columns that are samples without the word"""
_MANY: Final = frozenset(
    (
        "judge", "model", "rm", "llm", "scorer", "grader", "member", "prompt", "j", "m", "reward", "score",
        "verifier", "critic", "agent", "reviewer", "evaluator", "template", "metric", "verdict", "jury",
        "expert",
    )
)  # fmt: skip
"""Numbered, these are judges of their own: ``judge_1, judge_2``."""


@dataclass(frozen=True)
class Sided:
    """A judge's columns of numbers about answer A, answer B, and the tie where there is one."""

    names: tuple[str, ...]
    kind: Kind | None
    """None where the names do not say it"""


def sided(columns: Sequence[str], known: Known = ()) -> dict[str, Sided]:
    """Judge → its columns ``NAME_a, NAME_b[, NAME_tie]``, with or without a word for what they hold.

    The word (``score``, ``prob``, ``logp`` …) stands after the judge, or before the side: ``gpt_prob_a``,
    ``gpt:score_a``, ``p_a_gpt``; without a judge it is the judge's name. A judge that is known by
    the name with the word keeps it. Of probabilities A's alone are enough.
    """
    found: dict[tuple[str, Kind | None], dict[str, str]] = {}
    for name in columns:
        match = _AFTER.match(name)
        judge, what = (match["judge"] or "", match["what"]) if match else ("", None)
        if match is None or (what is None and (match["sep"] not in ("_", ":") or match["side"] in "12")):
            match = _BEFORE.match(name)
            if match is None:
                continue
            judge, what = match["judge"], match["what"]
        kind = None if what is None else _WORDS[what.lower()]
        if what is not None and match.re is _AFTER:
            full = f"{judge}{match['sep'] or ''}{what}"
            kind = _WORDS.get(full.lower(), kind)
            vague = canonical(judge) in ABOUT_ANSWERS or judge in columns or not judge
            if vague or full.lower() in _WORDS or (full in known and judge not in known):
                judge = full
            whole = name[: match.start("side")].rstrip("_:. -")  # gpt_winner_model
            if whole in known and judge not in known:
                judge = whole
        kind = kind or _WORDS.get(judge.lower())
        if judge not in known and (canonical(judge) in ABOUT_PAIRS | TRUTH or is_fact(judge)):
            continue
        side = _SIDES[match["side"].lower()]
        found.setdefault((judge, kind), {}).setdefault(side, name)
    judges: dict[str, Sided] = {}
    for (judge, kind), sides in found.items():
        if "a" not in sides or ("b" not in sides and not _alone(judge, sides["a"], kind, known)):
            continue
        names = tuple(
            sides[side]
            for side in ("a", "b", "tie")
            if side in sides and not (kind == "scores" and side == "tie")
        )
        if "b" not in sides:
            names = names[:1]
        told = known_judge(known, judge)
        scores = kind is None and told is not None and told.kind == "scores"
        if judge not in judges or judges[judge].kind is None:
            judges[judge] = Sided(names, "scores" if scores else kind)
    return judges


def _alone(judge: str, name: str, kind: Kind | None, known: Known) -> bool:
    """Whether a column of A's numbers is enough: ``gpt_prob_a``, not ``human_prob_a`` or ``is_winner_a``."""
    if kind != "probabilities":
        return False
    plain = canonical(name)
    return judge in known or not (plain[-1:] == "1" or "winner" in plain or ANNOTATORS.match(judge))


def both_orders(columns: Sequence[str], known: Known = ()) -> dict[str, tuple[tuple[str, First | None], ...]]:
    """Judge → its columns with the answer that was seen first in each; None: as the row or the file says.

    Columns of one judge are ``NAME_ab, NAME_ba``, ``NAME, NAME_swapped`` and the like; any other column is a
    judge's own, and so is one of a name that is known.
    """
    left = list(columns)
    found: dict[str, tuple[tuple[str, First | None], ...]] = {}
    for first, second in _ORDERS:
        for name in list(left):
            if not name.lower().endswith(second) or name in known or name not in left:
                continue
            judge = name[: -len(second)]
            other = next(
                (one for one in left if one.lower() == f"{judge}{first}".lower() and one != name), None
            )
            if not judge or other is None or (other in known and first):
                continue
            left.remove(name)
            left.remove(other)
            found[judge] = ((other, First.A), (name, First.B))
    return found | {name: ((name, None),) for name in left}


def samples(columns: Sequence[str], known: Known = ()) -> dict[str, tuple[str, ...]]:
    """Judge → its columns of samples, ``NAME_1 … NAME_8`` or ``NAME_sample1 …``; others are judges' own.

    Numbered from 0 or 1 without a gap, two or more with the word and three or more without; not where the
    name before the number is that of any judge (``judge_1``), or a column's own name is known.
    """
    stems: dict[tuple[str, bool], dict[int, str]] = {}
    for name in columns:
        match = _SAMPLE.match(name)
        if match is not None and name not in known:
            stems.setdefault((match["stem"], match["word"] is not None), {})[int(match["n"])] = name
    owner: dict[str, str] = {}
    for (stem, worded), numbered in stems.items():
        start, count = min(numbered), len(numbered)
        whole = start in (0, 1) and max(numbered) == start + count - 1 and stem not in columns
        plain = canonical(stem).rpartition("_")[2] in _MANY and not worded and stem not in known
        if whole and not plain and count >= (2 if worded else _FEWEST):
            owner.update(dict.fromkeys(numbered.values(), stem))
    found: dict[str, tuple[str, ...]] = {}
    for name in columns:
        judge = owner.get(name, name)
        found[judge] = (*found.get(judge, ()), name)
    return found


def samples_note(found: dict[str, tuple[str, ...]]) -> list[str]:
    """What to tell of columns that were read as samples."""
    return [
        f"{names[0]} … {names[-1]} are read as {len(names)} samples of one judge, {judge}{more}; if they are "
        "judges of their own, name them without numbers at the end"
        for judge, names, more in _first_folded(found)
    ]


def orders_note(found: dict[str, tuple[tuple[str, First | None], ...]]) -> list[str]:
    """What to tell of columns that were read as one judge's two orders."""
    return [
        f"{own[0][0]} and {own[1][0]} are read as one judge, {judge}, that saw A first and B first{more}; "
        "if they are two judges, give them other names"
        for judge, own, more in _first_folded(found)
    ]


def _first_folded(found: dict[str, tuple[T, ...]]) -> list[tuple[str, tuple[T, ...], str]]:
    """The first judge of several columns, its columns, and words for how many more there are; or nothing."""
    folded = [(judge, own) for judge, own in found.items() if len(own) > 1]
    more = f", and so on for {len(folded) - 1} more" if len(folded) > 1 else ""
    return [(*one, more) for one in folded[:1]]


def stated(columns: Sequence[str]) -> list[Sided]:
    """Columns of numbers without a judge's name: ``score_a, score_b``, ``prob_A``, ``logp_a``, ``margin``.

    Probabilities may be named like Kaggle's votes, ``winner_model_a`` …, or like the labels, ``A, B, C``.
    """
    found: dict[Kind, dict[str, str]] = {}
    plain = {canonical(name): name for name in columns}
    for short, name in plain.items():
        match = _ALONE.match(short)
        if match is not None:
            kind = _WORDS[match["what"] or match["right"]]
            found.setdefault(kind, {}).setdefault(_SIDES[match["side"] or match["left"]], name)
    if not found and {"a", "b"} <= set(plain):
        found["probabilities"] = {_SIDES[one]: plain[one] for one in ("a", "b", "c", "tie") if one in plain}
    judges = []
    for kind, sides in found.items():
        if "a" in sides and ("b" in sides or kind == "probabilities"):
            order = ("a", "b", "tie") if kind != "scores" and "b" in sides else ("a", "b")
            judges.append(Sided(tuple(sides[one] for one in order if one in sides), kind))
    margins = [plain[one] for one in _MARGINS if one in plain]
    return judges or [Sided((one,), "scores") for one in margins[:1]]


def margins(columns: Sequence[str], known: Known = ()) -> dict[str, Sided]:
    """Judge → its column ``NAME_margin`` (or ``margin_NAME``): the score of A minus that of B.

    Margins of people, votes and facts about answers (``vote_margin``, ``length_margin``) are no judge's.
    """
    found: dict[str, Sided] = {}
    for name in columns:
        short = name.lower()
        for word in sorted(_MARGINS, key=len, reverse=True):
            judge = name[: -len(word) - 1] if short.endswith(f"_{word}") else ""
            judge = judge or (name[len(word) + 1 :] if short.startswith(f"{word}_") else "")
            if judge and (judge in known or not _of_no_judge(judge)):
                found.setdefault(judge, Sided((name,), "scores"))
                break
    return found


def _of_no_judge(name: str) -> bool:
    plain = canonical(name)
    return is_no_judge(name) or plain in ("votes", "winner_votes") or plain.startswith("of_")
