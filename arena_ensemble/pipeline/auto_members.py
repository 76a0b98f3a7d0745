"""``--models auto``: the members that this machine trains in good time on so many battles, and the plan.

Without a card, what a machine does in under half an hour: the lexical member, then tiny ones while they fit.
With cards, recipes whose base lies on this disk and which fit the card's memory, until a day is full. Nothing
is downloaded. The choice depends on the machine, the training battles and the disk, and on nothing else, so
that the same command goes on with the same members.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..artifacts.workspace import Workspace
from ..backbones.language import hub
from ..battles import Battles
from ..errors import ArenaError
from ..planning.costs import MemberCost, Texts, member_cost
from ..planning.here import Machine, this_machine
from ..planning.lengths import sampled_lengths
from ..recipes import Recipe, load_recipe
from .run_progress import clock
from .schedule import Work, makespan, ordered

AUTO: Final = "auto"
ON_A_CPU: Final = ("lexical", "tiny-generate", "tiny-swap", "tiny-classify")
"""in the order of what they add to a pool for their time, on the sample arena (README's table); a tiny member
added nothing that showed on 1,150 real votes (docs/log.md)"""
ON_A_CARD: Final = (
    "lexical",
    "gemma-2-9b-classify",
    "qwen2.5-7b-classify",
    "llama-3.1-8b-generate",
    "gemma-2-9b-4bit",
    "qwen2.5-7b-4bit",
    "llama-3.1-8b-4bit",
    "qwen3-4b-classify",
    "modernbert-large",
    "deberta-v3-large",
    "smollm2-classify",
)
"""large ones first; 4 bits stand in where 16 do not fit"""
CPU_SECONDS: Final = 22 * 60.0
"""of training: reading, folds, stacking and predicting have the rest of half an hour"""
CARD_SECONDS: Final = 24 * 3600.0

machine_here = functools.cache(this_machine)


@dataclass(frozen=True)
class Candidate:
    """A recipe that was looked at: whether it is taken, and why or why not."""

    name: str
    taken: bool
    why: str
    cost: MemberCost | None


@dataclass(frozen=True)
class AutoPlan:
    """The members that were chosen, and all that were looked at."""

    machine: str
    rows: int
    workers: int
    seconds: float
    """planned, of training the chosen ones"""
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> list[str]:
        """Names of the members, the cheap ones first."""
        return [one.name for one in self.candidates if one.taken]

    def lines(self) -> list[str]:
        """The plan for people, in one line or two."""
        taken = ", ".join(f"{one.name} ({one.why})" for one in self.candidates if one.taken)
        left = "; ".join(f"{one.name}: {one.why}" for one in self.candidates if not one.taken)
        where = f"members for {self.machine} and {self.rows:,} battles"
        head = f"{where}, about {clock(self.seconds)} in all: {taken}"
        return [head, *([f"left out: {left}"] if left else [])]

    def facts(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"estimate": True, **asdict(self), "chosen": self.chosen}


def choose_members(
    workspace: Workspace, train: Battles, *, n_folds: int, machine: Machine | None = None
) -> AutoPlan:
    """The members of this machine and these battles.

    Parameters
    ----------
    machine
        Another than this one, for a test or a plan.
    """
    machine = machine or machine_here()
    texts = Texts(sampled_lengths(train), len(train), 0, n_folds)
    if machine.gpu is not None:
        found = _chosen(workspace, ON_A_CARD, texts, machine, max(machine.gpus, 1), CARD_SECONDS)
        if len(found.chosen) > 1:
            return found
    return _chosen(workspace, ON_A_CPU, texts, machine, min(machine.cores, 8), CPU_SECONDS)


def with_chosen(names: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """The names with ``auto`` replaced by what was chosen, each once."""
    whole = [one for name in names for one in (chosen if name == AUTO else [name])]
    return list(dict.fromkeys(whole))


def _chosen(
    workspace: Workspace,
    names: Sequence[str],
    texts: Texts,
    machine: Machine,
    workers: int,
    most_seconds: float,
) -> AutoPlan:
    """Take the recipes in turn while the makespan stays within ``most_seconds``; the first one always."""
    works: list[Work[str]] = []
    looked: list[Candidate] = []
    bases: set[str] = set()
    for name in names:
        try:
            recipe = load_recipe(workspace.recipe_path(name))
            cost = member_cost(recipe, texts, machine, workers)
        except (ArenaError, OSError, RuntimeError, ValueError) as error:
            looked.append(Candidate(name, False, f"cannot be planned ({error})", None))
            continue
        more = [*works, *(Work(f"{name} fold {k}", name, cost.seconds) for k in range(texts.folds))]
        seconds = makespan(ordered(more, workers), workers)
        own = clock(makespan(more[len(works) :], workers))
        refusal = _refusal(recipe, cost, bases)
        if refusal is None and works and seconds > most_seconds:
            refusal = f"about {own}, and all together would take more than {clock(most_seconds)}"
        if refusal is None:
            works = more
            bases.add(recipe.base)
        looked.append(Candidate(name, refusal is None, refusal or f"about {own}", cost))
    total = makespan(ordered(works, workers), workers)
    return AutoPlan(str(machine), texts.rows, workers, total, tuple(looked))


def _refusal(recipe: Recipe, cost: MemberCost, bases: set[str]) -> str | None:
    if not cost.fits:
        return f"needs about {cost.memory / 1e9:.0f} GB"
    if not recipe.base or recipe.is_tiny:
        return None
    if recipe.base in bases:
        return "another member has its base"
    try:
        hub.check_base(recipe)
        here = hub.weight_bytes(recipe) is not None
    except ArenaError as error:
        return str(error)
    fetch = "" if recipe.base.startswith("package:") else f": hf download {recipe.base}"
    return None if here else f"its base is not on this disk{fetch}"
