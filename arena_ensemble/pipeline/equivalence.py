"""Whether a model that runs otherwise than it was trained still predicts what it predicted there.

A fold keeps some held-out battles, with their texts, and what its model predicted of them when it was
trained. Another card, number type, kernel or quantisation predicts them again before anything else.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import backbones
from ..artifacts import atomic
from ..artifacts.cards import EquivalenceCheck, FoldCard
from ..artifacts.files import parquet_bytes, read_content, read_table
from ..backbones.base import Backbone, Fitted
from ..battles import Battles
from ..errors import ArenaError, MemberError
from ..predictions import LOG_FLOOR, Floats
from ..recipes import Recipe

log = logging.getLogger(__name__)

CHECK: Final = "check.parquet"
_MERGED: Final = "adapters"
"""in what a model runs with: only where its adapters are merged in 16 bits"""
_COLUMNS: Final = ("log_p_a", "log_p_b", "log_p_tie")


def keep_rows(folder: Path, backbone: Backbone, fitted: Fitted, battles: Battles, recipe: Recipe) -> None:
    """Keep some battles and what a model predicts of them in its folder, before that gets its card.

    The rows are ``predict.check_rows``, evenly spread. Models whose numbers do not depend on the machine's
    settings (lexical ones) keep none.
    """
    count = min(recipe.predict.check_rows, len(battles))
    if not count or not getattr(fitted, "running", None):
        return
    some = battles.without_outcomes().take(np.linspace(0, len(battles) - 1, count).astype(np.int64))
    try:
        log_probs = backbone.predict(fitted, some)
    except MemberError as error:  # the hours of training are worth more than what these rows would show
        log.warning("%s keeps no rows to measure [predict] on: %s", folder, error)
        return
    columns = {name: log_probs[:, k] for k, name in enumerate(_COLUMNS)}
    atomic.write_bytes(folder / CHECK, parquet_bytes(some.frame.with_columns(**columns)))


def load(
    folder: Path, card: FoldCard | None, backbone: Backbone, recipe: Recipe, *, cache: Path
) -> tuple[Fitted, EquivalenceCheck | None]:
    """A fitted fold, ready to predict, and what `check` measured of it.

    Where ``predict.merge`` is ``auto``, adapters are merged into a base of 16 bits if that was measured and
    is within ``predict.tolerance``; else they stay beside it.

    Raises
    ------
    MemberError, ArtifactError, StaleError
        As `check` and the backbone's ``load`` do.
    """
    with backbones.reraise_os_errors(folder):
        fitted = backbone.load(folder, recipe=recipe, cache=cache)
    try:
        return fitted, check(folder, card, backbone, fitted, recipe)
    except MemberError as error:
        if recipe.predict.merge != "auto" or _MERGED not in (getattr(fitted, "running", None) or {}):
            raise
        log.info("%s %s: adapters stay beside the base: %s", recipe.name or "a member", folder.name, error)
    del fitted  # before another is loaded: both may be too many for the memory
    with backbones.reraise_os_errors(folder):
        fitted = backbone.load(folder, recipe=recipe.without_merging(), cache=cache)
    return fitted, check(folder, card, backbone, fitted, recipe)


def check(
    folder: Path, card: FoldCard | None, backbone: Backbone, fitted: Fitted, recipe: Recipe
) -> EquivalenceCheck | None:
    """Predict the kept rows again where a fitted fold runs otherwise than it was trained.

    Parameters
    ----------
    folder
        Of the fold, its files checked against ``card``.
    fitted
        The model as it was loaded here.

    Returns
    -------
    What was measured; None where the model runs as it was trained, or its fold keeps no rows.

    Raises
    ------
    MemberError
        The mean Kullback-Leibler divergence is above ``predict.tolerance``, or adapters are merged in 16 bits
        and the fold keeps no rows to measure that. The caller names the fold.
    """
    running: dict[str, str] = getattr(fitted, "running", None) or {}
    facts = {} if card is None else card.facts
    # folds of an earlier version did not note how they were quantised: as the recipe says
    older = {"kernels": "plain", "quantise": recipe.adapter.quantise}  # what cards of then do not say
    older[_MERGED] = "beside the base"
    trained = {name: str(facts.get(name, older.get(name))) for name in running}
    if stored := facts.get("stored"):
        trained, running = trained | {"stored": "adapters in float32"}, running | {"stored": str(stored)}
    changes = [f"{name} {trained[name]} → {now}" for name, now in running.items() if now != trained[name]]
    if not changes:
        return None
    what = ", ".join(changes)
    named = f"{recipe.name or 'a member'} {folder.name}: {what}"
    if not (folder / CHECK).is_file():
        if _MERGED in running:
            raise MemberError(
                f"{what}: what that changes cannot be measured, since the fold keeps no rows for it "
                "(predict.check_rows = 0 in its training); set merge = false in [predict]"
            )
        log.warning("%s: what that changes is not measured, since the fold keeps no rows for it", named)
        return None
    frame = read_table(folder / CHECK, read_content(folder / CHECK))
    before = frame.select(_COLUMNS).to_numpy().astype(np.float64)
    try:
        after = backbone.predict(fitted, Battles(frame.drop(_COLUMNS)))
    except ArenaError as error:  # NaN or infinite: it overflows where it runs now
        raise MemberError(f"{what}: {error}; {_remedy(trained, running)}") from None
    found = EquivalenceCheck(**differences(before, after), trained=trained, running=running)
    measured = (
        f"mean KL {found.mean_kl:.2g} nats, log-probabilities differ by {found.mean_difference:.2g} on "
        f"average and {found.max_difference:.2g} at most, on {found.rows} rows"
    )
    if not found.mean_kl <= recipe.predict.tolerance:
        raise MemberError(
            f"{what} changes its predictions too much ({measured}; predict.tolerance = "
            f"{recipe.predict.tolerance:g}): {_remedy(trained, running)}, or raise predict.tolerance"
        )
    log.info("%s: %s", named, measured)
    return found


def differences(before: Floats, after: Floats) -> dict[str, Any]:
    """Rows, mean KL(before || after) and differences of log-probabilities (n, 3), hard zeros floored."""
    p, q = np.maximum(before, LOG_FLOOR), np.maximum(after, LOG_FLOOR)
    apart = np.abs(p - q)
    return {
        "rows": len(p),
        "mean_kl": max(0.0, float((np.exp(p) * (p - q)).sum(axis=1).mean())),
        "max_difference": float(apart.max()),
        "mean_difference": float(apart.mean()),
    }


def _remedy(trained: dict[str, str], running: dict[str, str]) -> str:
    """The setting of ``[predict]`` that most likely takes the difference away."""
    if _MERGED in running:
        return "set merge = false in [predict]"
    if trained["quantise"] != running["quantise"]:
        return f'set quantise = "{trained["quantise"]}" in [predict]'
    if trained["dtype"] != running["dtype"]:
        wanted = {"float32": "fp32", "bfloat16": "bf16"}.get(trained["dtype"], "fp32")
        if running["dtype"] == "float16":  # a card without bfloat16: float32 holds both
            wanted = "fp32"
        return f'set precision = "{wanted}" in [predict]'
    if trained["attention"] != running["attention"]:
        kernel = trained["attention"].removeprefix("arena_").removesuffix("_expanded")
        return f'set attention = "{kernel}" in [predict]'
    if "stored" in running:
        return "pack the adapters in float32"
    return 'set precision = "fp32" in [predict]'
