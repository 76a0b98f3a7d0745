"""What a member's tasks will cost on a machine: tokens, seconds and memory of one fold. All estimates.

A base on a card, or on a CPU that is taken for a slow card, is planned from its shapes (`estimate`). Members
that are built on the spot have no shapes worth counting: what they took on one core was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..backbones import head_of
from ..errors import ArenaError
from ..recipes import Recipe
from .gpus import GIB, Gpu
from .here import Machine
from .lengths import Lengths

CORE_FLOPS: Final = 90e9
"""float32 operations that one core reaches in a large product: half of what two did (docs/performance.md)"""
_BUS: Final = 20e9
LEXICAL_TOKENS: Final = 550e3
"""tokens of text a second and core that the lexical member learns from: 70 s of one core for a fold of 57,477
battles of 830 tokens (2026-11-26)"""
TINY_TOKENS: Final = 250e3
"""tokens a second and core that a tiny decoder of width 32 and one layer trains on (2026-11-26, tiny-swap)"""
_TINY_READS: Final = 3.0
"""times as fast as training"""
_TINY_ADAPTED: Final = 1.7
"""times the work where low-rank adapters stand beside trained embeddings (tiny-classify)"""
_START: Final = 1.5
"""seconds of a task that learns nothing yet: loading, token ids, writing"""
_PROCESS: Final = int(0.6 * GIB)
_BYTES_PER_TEXT_TOKEN: Final = 50
"""that the lexical member holds at its peak: texts, terms, matrices"""


@dataclass(frozen=True)
class MemberCost:
    """One fold of one member. Seconds, tokens, bytes; all estimates."""

    tokens: int
    """of training, padding included; 0 where nothing is trained"""
    held_tokens: int
    """of predicting the held-out rows"""
    test_tokens: int
    """of predicting the test rows with one fold's model"""
    fit_seconds: float
    held_seconds: float
    test_seconds: float
    memory: int
    """bytes at the peak, of the card where one is used"""
    fits: bool
    where: str
    """``cpu``, or the card"""

    @property
    def seconds(self) -> float:
        """Of a whole task: fit a fold, predict its rows and the test rows."""
        return self.fit_seconds + self.held_seconds + self.test_seconds

    def facts(self) -> dict[str, Any]:
        """Plain JSON values, marked as an estimate."""
        return {"estimate": True, **asdict(self)}


@dataclass(frozen=True)
class Texts:
    """The battles of a run: a sample of their lengths, how many there are, in how many folds.

    Parameters
    ----------
    rows, test_rows
        Battles to train on and to predict; ``rows`` is 0 where nothing is trained.
    """

    lengths: Lengths
    rows: int
    test_rows: int
    folds: int


def member_cost(recipe: Recipe, texts: Texts, machine: Machine, workers: int = 1) -> MemberCost:
    """The cost of one fold of a member.

    Parameters
    ----------
    workers
        Tasks side by side, which share a CPU's cores.

    Raises
    ------
    RecipeError
        The shape of its base is not known here.
    """
    cores = machine.cores / max(min(workers, machine.cores), 1)
    if not head_of(recipe.backbone).needs_base:
        return _lexical(texts)
    return _tiny(recipe, texts, cores) if recipe.is_tiny else _planned(recipe, texts, machine, cores)


def member_costs(
    recipes: Mapping[str, Recipe], texts: Texts, machine: Machine, workers: int = 1
) -> dict[str, MemberCost]:
    """The cost of one fold of each member; without those of which nothing is known."""
    found = {}
    for name, recipe in recipes.items():
        try:
            found[name] = member_cost(recipe, texts, machine, workers)
        except (ArenaError, OSError, RuntimeError, ValueError):
            continue
    return found


def _lexical(texts: Texts) -> MemberCost:
    mean = float(texts.lengths.sum(axis=1).mean()) if len(texts.lengths) else 0.0
    trained = mean * texts.rows * (texts.folds - 1) / texts.folds
    held, test = mean * texts.rows / texts.folds, mean * texts.test_rows
    return MemberCost(
        tokens=round(trained),
        held_tokens=round(held),
        test_tokens=round(test),
        fit_seconds=_START / 3 + trained / LEXICAL_TOKENS if trained else 0.0,
        held_seconds=held / (4 * LEXICAL_TOKENS),
        test_seconds=test / (4 * LEXICAL_TOKENS),
        memory=_PROCESS + round(_BYTES_PER_TEXT_TOKEN * mean * (texts.rows or texts.test_rows)),
        fits=True,
        where="cpu",
    )


def _tokens(recipe: Recipe, texts: Texts) -> tuple[float, float, float]:
    """Tokens of training a fold, of predicting its rows, of predicting the test rows."""
    from .workload import Workload, batch_totals

    if not len(texts.lengths):
        return 0.0, 0.0, 0.0
    trained, held = batch_totals(recipe, Workload(texts.lengths, max(texts.rows, 1), max(texts.folds, 2)))
    _, test = batch_totals(recipe, Workload(texts.lengths, max(texts.test_rows, 1), 1))
    learns = recipe.train.epochs > 0 and texts.rows > 0
    return (
        trained.tokens if learns else 0.0,
        held.tokens if texts.rows else 0.0,
        test.tokens if texts.test_rows else 0.0,
    )


def _calibration_share(recipe: Recipe, texts: Texts) -> float:
    """Tokens that a fold which trains nothing reads to be calibrated, over those of its held-out rows."""
    if recipe.train.epochs or not texts.rows:
        return 0.0
    batch = recipe.backbone == "generate" and recipe.generate.calibration == "batch"
    most = 512 if batch else 2048 if recipe.backbone == "reward" else 0
    rows = min(texts.rows * (texts.folds - 1) / texts.folds, most)
    orders = 1 + recipe.second_order_share if recipe.read_orders == 2 else 1.0
    return rows * texts.folds / texts.rows / orders


def _tiny(recipe: Recipe, texts: Texts, cores: float) -> MemberCost:
    trained, held, test = _tokens(recipe, texts)
    width = max(recipe.tiny.hidden * recipe.tiny.layers / 32, 1.0)
    pace = TINY_TOKENS * cores / width
    slower = _TINY_ADAPTED if recipe.adapter.kind == "lora" else 1.0
    return MemberCost(
        tokens=round(trained),
        held_tokens=round(held),
        test_tokens=round(test),
        fit_seconds=_START + slower * trained / pace if trained else 0.0,
        held_seconds=held / (_TINY_READS * pace),
        test_seconds=test / (_TINY_READS * pace),
        memory=2 * _PROCESS + round(4 * (trained / max(recipe.train.epochs, 1) + held)),
        fits=True,
        where="cpu",
    )


def _planned(recipe: Recipe, texts: Texts, machine: Machine, cores: float) -> MemberCost:
    from .estimate import estimate
    from .workload import Workload

    trained, held, test = _tokens(recipe, texts)
    fits = _calibration_share(recipe, texts) * held
    gpu = machine.gpu
    if gpu is None:
        pace = CORE_FLOPS * cores
        gpu = Gpu("cpu", machine.memory, pace, pace, _BUS)
        train = recipe.train.model_copy(update={"precision": "fp32"})
        recipe = recipe.model_copy(update={"train": train})
    found = estimate(recipe, gpu, Workload(texts.lengths, max(texts.rows, 1), max(texts.folds, 2)))
    reads = found.read_seconds / held if held else 0.0
    if not held:
        whole = estimate(recipe, gpu, Workload(texts.lengths, max(texts.test_rows, 2), 2))
        reads = 2 * whole.read_seconds / max(test, 1.0)
    return MemberCost(
        tokens=round(trained),
        held_tokens=round(held),
        test_tokens=round(test),
        fit_seconds=found.fit_seconds if trained else reads * fits,
        held_seconds=reads * held,
        test_seconds=reads * test,
        memory=found.train_peak_bytes if trained else found.read_peak_bytes,
        fits=found.fits_training if trained else found.fits_reading,
        where=gpu.name,
    )
