"""The leak audit: can anything of a held-out battle have reached the number that is reported for it?

Seven checks, each with its evidence. A check that cannot be carried out fails: nothing is taken on
trust but what the caller names.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from .. import backbones, folds, metrics, prompts
from ..artifacts import cards
from ..artifacts.cards import EnsembleCard, MemberCard
from ..artifacts.files import read_table
from ..artifacts.members import OOF, MemberArtifacts
from ..artifacts.tables import to_predictions
from ..artifacts.workspace import ENSEMBLE, Workspace
from ..battles import Battles, match_rows
from ..errors import ArenaError, InputError
from ..features import extract
from ..folds import Folds
from ..predictions import Predictions
from ..recipes import PromptSettings, recipe_from
from .audit_check import FAIL, OK, SKIPPED, Check
from .ensemble import restore
from .member_audit import check_members_of

log = logging.getLogger(__name__)

Ints = npt.NDArray[np.int64]

_CANARY_ROWS: Final = 1200
_CANARY: Final[dict[str, Any]] = {
    "backbone": "lexical",
    "lexical": {"max_features": 2000, "interactions": 0, "inner_folds": 0},
}
_TEMPLATE_ROWS: Final = 300
_SAME: Final = 1e-9


def run_checks(
    battles: Battles,
    made: Folds | None,
    fold: Ints,
    workspace: Workspace | None,
    *,
    trust: Collection[str] = (),
    seed: int = 0,
    canary: bool = True,
) -> list[Check]:
    """All checks, in order.

    Parameters
    ----------
    battles
        With outcomes.
    made
        The workspace's fold file, or None where the folds come from elsewhere.
    fold
        (n,), the fold of every battle.
    workspace
        Where members and ensemble are, or None to judge the folds alone. Without ``made``, it may hold
        external members only.
    trust
        Members and teachers whose folds the caller vouches for.
    """
    checks = [_groups(battles, fold), _near_duplicates(battles, fold)]
    if workspace is not None:
        checks.append(_provenance(workspace, battles, made, trust))
        group = folds.group_keys(battles) if made is None else made.group
        checks.append(check_members_of(workspace, battles, fold, group))
    if canary:
        checks.append(_canary(battles, fold, seed))
    checks.append(_template(battles))
    if workspace is not None and made is not None:
        checks.append(_refit_gap(workspace, battles, made))
    return checks


def _groups(battles: Battles, fold: Ints) -> Check:
    found = folds.fold_overlap(battles, fold, near_duplicates=None)
    evidence: dict[str, Any] = {
        "rows": found.rows,
        "groups": found.groups,
        "examples": [_example(pair) for pair in found.examples],
    }
    if not found.rows:
        return Check("groups", OK, "no prompt and no pair of answers lies in two folds", evidence)
    message = (
        f"{found.rows} of {len(battles)} battles share a prompt or their answers with another fold "
        f"({found.groups} groups), such as {_shown(evidence['examples'])}"
    )
    return Check("groups", FAIL, message, evidence)


def _near_duplicates(battles: Battles, fold: Ints) -> Check:
    found = folds.fold_overlap(battles, fold)
    examples = [_example(pair) for pair in found.examples if pair.what == "near-duplicate prompt"]
    evidence: dict[str, Any] = {
        "pairs": found.near_duplicate_pairs,
        "threshold": found.near_duplicates,
        "examples": examples,
    }
    if not found.near_duplicate_pairs:
        message = f"no two prompts in different folds are {found.near_duplicates} alike or more"
        return Check("near-duplicates", OK, message, evidence)
    message = f"{found.near_duplicate_pairs} pairs of near-equal prompts lie in different folds"
    return Check("near-duplicates", FAIL, f"{message}, such as {_shown(examples)}", evidence)


def _example(pair: folds.SharedText) -> dict[str, Any]:
    return {
        "what": pair.what,
        "ids": list(pair.ids),
        "folds": list(pair.folds),
        "similarity": round(pair.similarity, 3),
    }


def _shown(examples: list[dict[str, Any]]) -> str:
    if not examples:
        return "(none shown)"
    one = examples[0]
    (a, b), (i, j) = one["ids"], one["folds"]
    return f"{a!r} in fold {i} and {b!r} in fold {j} ({one['what']}, similarity {one['similarity']})"


def _provenance(workspace: Workspace, battles: Battles, made: Folds | None, trust: Collection[str]) -> Check:
    """Every member, its teachers and its extra battles: made under this fold file, or vouched for."""
    names = workspace.member_names()
    problems: list[str] = []
    evidence: dict[str, Any] = {}
    for name in names:
        try:
            predictions, card = MemberArtifacts(workspace, name).load()
        except ArenaError as error:
            problems.append(f"member {name}: {error}")
            continue
        evidence[name] = {"learned_from": card.learned_from, "folds_verified": card.folds_verified}
        if card.folds_verified and made is None:
            problems.append(f"member {name}: there is no fold file that shows its folds")
        elif card.folds_verified and made is not None:
            problems += _member_problems(name, predictions, card, battles, made, trust)
        elif name not in trust:
            what = "is external" if card.is_external else "starts from weights of another tool"
            problems.append(
                f"member {name} {what}: nothing shows that its rows are out of fold "
                f"(--trust {name} if you know that they are)"
            )
    if problems:
        return Check("provenance", FAIL, "; ".join(problems), evidence)
    if not names:
        return Check("provenance", SKIPPED, "no members in this workspace yet")
    message = f"{len(names)} members, their teachers and extra battles were made under this fold file"
    return Check("provenance", OK, message, evidence)


def _sources(card: MemberCard) -> list[tuple[str, dict[str, Any]]]:
    """Teachers and starts of a member's folds, each with what its card says."""
    found = []
    for fold in card.learned_from:
        teacher = fold.get("teacher")
        if teacher is not None:
            found += [("teacher", one) for one in teacher.get("each", [teacher])]
        if "start" in fold:
            found.append(("start", fold["start"]))
    return found


def _member_problems(
    name: str,
    predictions: Predictions,
    card: MemberCard,
    battles: Battles,
    made: Folds,
    trust: Collection[str],
) -> list[str]:
    """What is wrong with the provenance of a member that was trained here."""
    problems = []
    aligned = predictions.aligned_to(battles.ids, name=name)
    if card.key is None or card.key.folds != made.digest or card.key.data != battles.digest():
        problems.append(f"member {name} was made with other folds or battles")
    elif not np.array_equal(aligned.fold, made.fold):
        problems.append(f"member {name}: its rows name other folds than the fold file")
    for what, source in _sources(card):
        if not source.get("folds_verified") and source.get("name") not in trust:
            problems.append(f"member {name}: its {what} {source.get('name')} shows no folds")
            break
    loss = metrics.log_loss(aligned.combined().log_probs, battles.outcomes())
    if card.log_loss is None or abs(loss - card.log_loss) > _SAME:
        problems.append(f"member {name}: its card has another log-loss than its rows ({loss:.6f})")
    return problems


def _canary(battles: Battles, fold: Ints, seed: int) -> Check:
    """On shuffled outcomes nothing can be learned; whoever still beats the prior has seen them."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(battles))[:_CANARY_ROWS])
    part, parts = battles.take(rows), fold[rows]
    y = rng.permutation(part.outcomes())
    shuffled = Battles(part.frame.with_columns(pl.Series("outcome", y, dtype=pl.Int8)))
    recipe = recipe_from(_CANARY, name="canary")
    backbone = backbones.get("lexical")
    log_probs = np.zeros((len(part), 3))
    with tempfile.TemporaryDirectory() as name:
        for k in np.unique(parts):
            held = parts == k
            train, valid = shuffled.take(np.flatnonzero(~held)), shuffled.take(np.flatnonzero(held))
            fitted = backbone.fit(train, recipe=recipe, folder=Path(name), cache=Path(name))
            log_probs[held] = backbone.predict(fitted, valid)  # the outcomes stay in, for whoever peeks
    prior = metrics.row_losses(metrics.prior_log_probs(y, parts), y)
    gain = prior - metrics.row_losses(log_probs, y)
    error = metrics.standard_error(gain, folds.group_keys(part, near_duplicates=None))
    evidence = {"rows": len(part), "gain": float(gain.mean()), "standard_error": error, "seed": seed}
    message = f"on {len(part)} battles with shuffled outcomes lexical gains {gain.mean():+.4f} ± {error:.4f}"
    if not np.isfinite(error) or gain.mean() > 3 * error:
        return Check("canary", FAIL, f"{message} on the prior: it has seen outcomes", evidence)
    return Check("canary", OK, f"{message} on the prior", evidence)


def _template(battles: Battles) -> Check:
    """What a model reads must not change when votes, model names and language do."""
    part = battles.take(np.arange(min(len(battles), _TEMPLATE_ROWS)))
    other = {"outcome": pl.Series("outcome", [(int(v) + 1) % 3 for v in part.outcomes()], dtype=pl.Int8)}
    for name in ("model_a", "model_b", "language"):
        if name in part.frame.columns:
            other[name] = pl.Series(name, [f"\ue000{name}\ue001"] * len(part))
    altered = Battles(part.frame.with_columns(*other.values()))
    leaking = [name for name in prompts.TEMPLATES if _rendered(part, name) != _rendered(altered, name)]
    plain, changed = extract(part), extract(altered)
    if not (np.array_equal(plain.odd, changed.odd) and np.array_equal(plain.even, changed.even)):
        leaking.append("features")
    named = _names_in_templates(part)
    evidence = {"rows": len(part), "templates": list(prompts.TEMPLATES), "leaking": leaking, "named": named}
    if leaking or named:
        what = ", ".join([*leaking, *named])
        return Check("template", FAIL, f"votes or model names reach what models read: {what}", evidence)
    message = f"{len(prompts.TEMPLATES)} templates and the features read neither votes nor model names"
    return Check("template", OK, message, evidence)


def _codes(text: str) -> npt.NDArray[np.int32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.int32)


def _rendered(battles: Battles, name: str) -> bytes:
    """Every prompt of a template in code points instead of tokens, nothing cut."""
    template = prompts.get_template(name)
    literals = ("opening", "before_a", "before_b", "before_response", "cue", "turn", "marker")
    pieces = prompts.TokenizedTemplate(
        **{literal: _codes(getattr(template, literal)) for literal in literals}, rounds=template.rounds
    )
    turns = [
        [[_codes(turn) for turn in battle] for battle in column]
        for column in prompts.turns_of(battles, template)
    ]
    settings = PromptSettings(template=name, max_tokens=1 << 24)
    return prompts.assemble((turns[0], turns[1], turns[2]), pieces, settings).tokens.tobytes()


def _names_in_templates(battles: Battles) -> list[str]:
    """Names of competing models that a template's own words contain."""
    names: set[str] = set()
    for column in ("model_a", "model_b"):
        if column in battles.frame.columns:
            names.update(battles.frame[column].drop_nulls().to_list())
    words = {
        name: " ".join(str(part) for part in template.content().values()).casefold()
        for name, template in prompts.TEMPLATES.items()
    }
    return sorted(
        f"{model!r} in {name}"
        for name, text in words.items()
        for model in names
        if len(model) > 3 and model.casefold() in text
    )


def _refit_gap(workspace: Workspace, battles: Battles, made: Folds) -> Check:
    """The ensemble's honest rows against the refit stacker on the rows that it was fitted on."""
    folder = workspace.oof / ENSEMBLE
    card = cards.read_card(folder, EnsembleCard)
    if card is None:
        return Check("refit gap", SKIPPED, "no ensemble in this workspace yet")
    built = restore(folder, card)
    y = battles.outcomes()
    if card.key is None or card.key.folds != made.digest:
        return Check("refit gap", FAIL, "the ensemble was made with another fold file; run stack again")
    oof = to_predictions(read_table(folder / OOF, cards.verified(folder, OOF, card)))
    honest = metrics.row_losses(oof.aligned_to(battles.ids, name="the ensemble").log_probs, y)
    members: dict[str, Predictions] = {}
    for name in built.members:
        predictions, member = MemberArtifacts(workspace, name).load()
        if member.files[OOF] != card.key.members[name]:
            message = f"member {name} changed since the ensemble was made; run stack again"
            return Check("refit gap", FAIL, message)
        members[name] = predictions.aligned_to(battles.ids, name=name)
    refit = metrics.row_losses(built.stacker_log_probs(members, extract(battles)), y)
    gap = honest - refit
    error = metrics.standard_error(gap, made.group)
    evidence: dict[str, Any] = {
        "honest_log_loss": float(honest.mean()),
        "refit_log_loss": float(refit.mean()),
        "gap": float(gap.mean()),
        "standard_error": error,
    }
    message = (
        f"honest {honest.mean():.4f}, refit on its own rows {refit.mean():.4f}: "
        f"gap {gap.mean():+.4f} ± {error:.4f}"
    )
    if abs(card.log_loss - float(honest.mean())) > _SAME:
        return Check("refit gap", FAIL, f"the card has another log-loss than its rows; {message}", evidence)
    if gap.mean() < -3 * max(error, 1e-12):
        return Check("refit gap", FAIL, f"held-out rows do better than fitted ones; {message}", evidence)
    return Check("refit gap", OK, message, evidence)


def fold_of(frame: pl.DataFrame, battles: Battles, name: str) -> Ints:
    """Folds that another tool made, joined by id.

    Parameters
    ----------
    frame
        Text columns ``id`` and ``fold``.

    Raises
    ------
    InputError
        A battle has no fold, or a fold is no whole number.
    """
    rows = match_rows(frame["id"], battles.ids.cast(pl.String))
    found = pl.Series([frame["fold"][int(row)] if row >= 0 else None for row in rows], dtype=pl.String)
    whole = found.cast(pl.Int64, strict=False)
    if whole.null_count():
        row = int(whole.is_null().arg_max() or 0)
        raise InputError(
            f"{name}: battle {battles.ids[row]!r} has the fold {found[row]!r}, expected a number"
        )
    return whole.to_numpy().astype(np.int64)
