"""``doctor --plan``: what each recipe would need on a GPU, estimated from shapes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from ..artifacts.workspace import Workspace
from ..errors import ArenaError, InputError
from ..io import read_battles
from ..pipeline.run_progress import clock
from ..recipes import Recipe, load_recipe, packaged_names
from . import tables
from .fleet_plan import PAIRS, plan_fleets
from .runner import Result
from .session_plan import plan_sessions

if TYPE_CHECKING:
    from .plan_options import PlanOptions

log = logging.getLogger(__name__)

_WIDTH: Final = 132
KAGGLE_ROWS: Final = 57_477
KAGGLE_TEST_ROWS: Final = 25_000
"""of the hidden test of the LMSYS competition, about"""


def plan_recipes(workspace: Workspace, options: PlanOptions) -> Result:
    """What each recipe would need on a GPU, estimated from shapes."""
    from ..planning.estimate import estimate
    from ..planning.gpus import gpus_named
    from ..planning.lengths import lengths_of
    from ..planning.workload import Workload, typical_lengths

    if options.nodes is not None and options.hours is not None:
        raise InputError("give --hours, for a session on one machine, or --nodes, for many; not both")
    usual = KAGGLE_ROWS if options.hours is None else KAGGLE_TEST_ROWS
    if options.nodes is not None:
        usual = PAIRS
    rows = usual if options.rows is None else options.rows
    if rows < 1 or options.tokens <= 0 or options.folds < 2:
        raise InputError("--rows and --tokens must be positive, --folds at least 2")
    if options.utilisation is not None and not 0 < options.utilisation <= 1:
        raise InputError(f"--utilisation {options.utilisation}: a share between 0 and 1 is expected")
    if options.hours is not None and not options.hours > 0:
        raise InputError(f"--hours {options.hours:g}: expected a number of hours above 0, such as 9")
    gpu, cards = gpus_named(options.card)
    recipes, skipped = _planned(workspace, options.models)
    if options.data is not None:
        battles = read_battles(options.data)
        lengths, rows, of = lengths_of(battles), len(battles), str(options.data)
    else:
        lengths = typical_lengths(options.tokens)
        of = f"log-normal lengths of mean {options.tokens:g} tokens"
    shares = {}
    if options.utilisation is not None:
        shares = {"train_utilisation": options.utilisation, "read_utilisation": options.utilisation}
    workload = Workload(lengths, rows, options.folds, **shares)
    if options.nodes is not None:
        return plan_fleets(recipes, skipped, gpu, cards, workload, options, of)
    if options.hours is not None:
        return plan_sessions(recipes, skipped, gpu, cards, workload, options.hours, of)
    estimates = []
    for name, recipe in recipes.items():
        log.info("planning %s", name)
        estimates.append(estimate(recipe, gpu, workload))
    facts = {
        "estimate": True,
        "card": gpu.name,
        "rows": rows,
        "folds": options.folds,
        "mean_tokens": float(lengths.sum(axis=1).mean()),
        "train_utilisation": workload.train_utilisation,
        "read_utilisation": workload.read_utilisation,
        "recipes": [one.facts() for one in estimates],
        "skipped": skipped,
    }
    title = (
        f"ESTIMATES from shapes, nothing run: {rows:,} battles, {of}, {options.folds} folds, one {gpu.name}"
    )
    return Result(facts, _plan_text(estimates, title, facts))


def _planned(workspace: Workspace, names: str | None) -> tuple[dict[str, Recipe], dict[str, str]]:
    if names:
        wanted = [name.strip() for name in names.split(",")]
        return {name: load_recipe(workspace.recipe_path(name)) for name in wanted}, {}
    good, skipped = all_recipes(workspace)
    real = {name: recipe for name, recipe in good.items() if recipe.base and not recipe.is_tiny}
    skipped |= dict.fromkeys(good.keys() - real.keys(), "built on the spot; no GPU is needed")
    return real, dict(sorted(skipped.items()))


def _plan_text(estimates: list[Any], title: str, facts: dict[str, Any]) -> str:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in (
        "params",
        "trained",
        "weights",
        "states",
        "activ.",
        "fit",
        "read",
        "fold",
        "all",
        "fits",
        "MFU",
        "batch",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    units = ["", "B", "M", "GB", "GB", "GB", "GB peak", "GB peak", "fit+read", "GPU-h", "", "", "tokens"]
    table.add_row(*(Text(unit, style="dim") for unit in units))
    for one in estimates:
        states = one.trained_bytes + one.gradient_bytes + one.optimizer_bytes
        trains = one.fit_seconds > 0
        table.add_row(
            one.name,
            f"{one.parameters / 1e9:.2f}",
            f"{one.trained_parameters / 1e6:.0f}",
            f"{one.weight_bytes / 1e9:.1f}",
            f"{states / 1e9:.1f}",
            f"{one.activation_bytes / 1e9:.1f}",
            f"{one.train_peak_bytes / 1e9:.1f}" if trains else "–",
            f"{one.read_peak_bytes / 1e9:.1f}",
            clock(one.fit_seconds + one.read_seconds),
            f"{one.gpu_hours:.3g}",
            "no" if not one.fits_reading else "yes" if one.fits_training or not trains else "read only",
            f"{one.implied_mfu:.0%}" if trains else "–",
            f"{one.batch_tokens:,}{' *' if one.gradient_checkpointing else '  '}" if trains else "–  ",
        )
    lines = [tables.rendered(table, width=_WIDTH), ""]
    lines.append(
        f"Assumed: {facts['train_utilisation']:.0%} (fit) and {facts['read_utilisation']:.0%} (read) of the "
        "card's dense peak for the operations performed,"
    )
    lines.append(
        "recomputation included; 5 % fragmentation and 0.75 GiB of CUDA context; 4 bytes of text per token."
    )
    lines.append(
        "batch: tokens of a micro-batch; * layers are computed again in the backward pass, for memory."
    )
    lines += [f"{one.name}: {note}" for one in estimates for note in one.notes]
    if facts["skipped"]:
        lines.append(f"not planned: {', '.join(facts['skipped'])}")
    return "\n".join(lines)


def all_recipes(workspace: Workspace) -> tuple[dict[str, Recipe], dict[str, str]]:
    """Every recipe of the workspace and the package by name, and why the others cannot be read."""
    own = [path.parent.name for path in workspace.models.glob("*/recipe.toml")]
    good: dict[str, Recipe] = {}
    broken: dict[str, str] = {}
    for name in sorted({*own, *packaged_names()}):
        try:
            good[name] = load_recipe(workspace.recipe_path(name))
        except ArenaError as error:
            broken[name] = str(error)
    return good, broken
