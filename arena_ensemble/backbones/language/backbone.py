"""The way of every language-model member: battles → token ids → trained weights → log-probabilities.

The heads differ in what an example is and how its logits arise; all else is here.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ...battles import Battles
from ...calibration import Symmetric
from ...deadline import Deadline
from ...errors import OutOfTime, RecipeError
from ...folds.holdout import holdout_by_group
from ...predictions import Floats
from ...prompts import template_of, turns_of
from ...recipes import Recipe
from ..base import Progress
from ..progress_texts import CALIBRATING
from . import adapters, checkpoints, fold_record, generation_checks, loading, spread, tiny
from .encoder import PromptEncoder, identity
from .model import MemberModel
from .opening import BuildHead, build_model, fresh_model, open_encoder
from .out_of_memory import named
from .reward_base import fit_margin, put_margin
from .row_check import check_rows
from .spread_member import SpreadMember, is_wanted
from .starting import start_from
from .trainer import GO_ON
from .training import train_member
from .training_data import training_set_of

_log = logging.getLogger(__name__)
_BASE: Final = "base"
_LESS: Final = "set adapter.quantise = '4bit', adapter.kind = 'lora' or train.early_stopping = 0"
_LESS_TO_PREDICT: Final = "set quantise = '4bit' and merge = false in [predict]"


class LanguageModel:
    """The backbone contract for one head.

    Parameters
    ----------
    build
        The head over a loaded model; what else is true of the head stands in the registry.
    """

    def __init__(self, build: BuildHead) -> None:
        self.build = build

    def prepare(
        self, battles: Battles, *, recipe: Recipe, cache: Path, on_progress: Progress | None = None
    ) -> None:
        """See :class:`arena_ensemble.backbones.base.Backbone`."""
        turns = turns_of(battles, template_of(recipe.prompt))

        def texts() -> Iterable[str]:
            return (turn for column in turns for battle in column for turn in battle)

        if recipe.is_tiny:
            source = tiny.prepare(recipe, cache, texts, on_progress)
        else:
            source = loading.source_of(recipe, cache)
        encoder = PromptEncoder.open(recipe, source, cache)
        loading.choose_policy(recipe, encoder.config)  # a setting that this device cannot take fails now
        progress = (lambda done, total: on_progress(done, total, "tokenising")) if on_progress else None
        encoder.store.prepare(texts(), progress)

    def fit(
        self,
        train: Battles,
        *,
        valid: Battles | None = None,
        soft_targets: Floats | None = None,
        weights: Floats | None = None,
        recipe: Recipe,
        folder: Path,
        cache: Path,
        resume: bool = False,
        on_progress: Progress | None = None,
        deadline: Deadline | None = None,
        start: Path | None = None,
    ) -> MemberModel | SpreadMember:
        """See :class:`arena_ensemble.backbones.base.Backbone`.

        ``valid`` is not looked at: it is the fold that will be reported, and choosing a step by it
        would flatter the report. Early stopping holds out an eighth of the training groups instead.
        """
        if deadline is not None and deadline.over():
            raise OutOfTime(f"{recipe.name or 'a member'}: no time is left to train a fold; {GO_ON}")
        if is_wanted(recipe):
            group = SpreadMember(recipe)
            group.fit(
                on_progress,
                train=train,
                soft_targets=soft_targets,
                weights=weights,
                recipe=recipe,
                folder=folder,
                cache=cache,
                resume=resume,
                deadline=deadline,
                start=start,
            )
            return group
        began = time.perf_counter()
        encoder = open_encoder(recipe, cache)
        if not resume and spread.first():
            checkpoints.clear(folder)
        if resume and checkpoints.are_there(folder):
            fold_record.check_begun(folder, encoder)
        if spread.first():
            fold_record.begin(folder, encoder)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(recipe.seed)
            with named(f"loading of {recipe.name or 'a member'}", _LESS):
                member = build_model(encoder, self.build)
            trained = adapters.trained_parameters(member.head_model)
            if start is not None:
                member.facts["start"] = start_from(member, start)
                if not member.facts["start"]["fresh"]:
                    member.facts.pop("score", None)
            if recipe.train.epochs:
                facts = self._trained(
                    member, train, soft_targets, weights, folder, resume, on_progress, deadline
                )
            elif recipe.has_weights:
                facts = {**member.facts, "alarms": []}
            else:
                facts = self._zero_shot(member, train, on_progress)
            if not recipe.train.epochs and recipe.backbone == "reward":
                facts |= self._calibrated(member, train, on_progress)
        facts["trained_parameters"] = sum(p.numel() for p in trained.values())
        facts["fit_seconds"] = round(time.perf_counter() - began, 3)
        if spread.first():
            _write(member, folder, facts)
        spread.wait()
        with named(f"merging of {recipe.name or 'a member'}", _LESS):
            member.ready()
        if spread.first():  # now that nothing of this can fail any more
            checkpoints.clear(folder)
        return member

    def _trained(
        self,
        member: MemberModel,
        train: Battles,
        soft_targets: Floats | None,
        weights: Floats | None,
        folder: Path,
        resume: bool,
        on_progress: Progress | None,
        deadline: Deadline | None,
    ) -> dict[str, Any]:
        recipe, encoder = member.encoder.recipe, member.encoder
        if recipe.train.packing and not member.head_model.causal:
            raise RecipeError("train.packing needs a causal base: only its attention can be cut by row")
        kept, held = np.arange(len(train)), np.arange(0)
        if recipe.train.early_stopping:
            kept, held = holdout_by_group(train, seed=recipe.seed)
        training_set, cut = training_set_of(
            encoder, train, rows=kept, soft_targets=soft_targets, weights=weights
        )
        facts = {**member.facts, "truncation": cut}
        with named(f"training of {recipe.name or 'a member'}", _LESS):
            check_rows(member, training_set.sequences)
            facts |= generation_checks.check(member, training_set.sequences)
            return facts | train_member(
                member,
                training_set,
                train.take(held),
                folder=folder,
                resume=resume,
                on_progress=on_progress,
                deadline=deadline,
            )

    def _zero_shot(self, member: MemberModel, train: Battles, on_progress: Progress | None) -> dict[str, Any]:
        encoder = member.encoder
        some = train.take(np.arange(min(len(train), generation_checks.ROWS)))
        sequences = encoder.joined(encoder.encode(some))
        check_rows(member, sequences)
        facts = member.facts | generation_checks.check(member, sequences)
        member.shift = generation_checks.zero_shot_shift(
            member, train, lambda battles: self._calibrates(member, battles, on_progress)
        )
        return facts

    def _calibrates(self, member: MemberModel, battles: Battles, on_progress: Progress | None) -> Floats:
        """Predictions that a calibration is fitted on: minutes of a large base, which should be seen."""
        tell = (lambda done, total, _: on_progress(done, total, CALIBRATING)) if on_progress else None
        return self.predict(member, battles, on_progress=tell)

    def _calibrated(
        self, member: MemberModel, train: Battles, on_progress: Progress | None
    ) -> dict[str, Any]:
        """Give a reward model that is used as it is its sharpness and its ties; facts for the card."""
        started = member.facts.get("start")
        if started is not None and not started.get("one_output"):
            return {}  # our own head, whose training knew both
        seed = member.encoder.recipe.seed
        margin = fit_margin(train, lambda battles: self._calibrates(member, battles, on_progress), seed=seed)
        if margin is None:
            return {}
        if started is None:
            member.margin = margin
        else:  # its weights are kept, so they take it
            put_margin(member.head_model, margin, started["one_output"])
        return {"margin": asdict(margin)}

    def load(self, folder: Path, *, recipe: Recipe, cache: Path) -> MemberModel | SpreadMember:
        """See :class:`arena_ensemble.backbones.base.Backbone`."""
        if is_wanted(recipe):
            group = SpreadMember(recipe)
            group.load(folder=folder, recipe=recipe, cache=cache)
            return group
        encoder, kept = self.open_fold(folder, recipe.for_prediction(), cache)
        with named(f"loading of {recipe.name or 'a member'}", _LESS_TO_PREDICT):
            member = fresh_model(encoder, self.build)
            if recipe.has_weights:
                adapters.load_weights(member.head_model, folder / adapters.WEIGHTS)
        member.shift = None if kept.get("shift") is None else np.asarray(kept["shift"], dtype=np.float64)
        member.sharpness = float(kept.get("sharpness", 1.0))
        margin = kept.get("margin")
        member.margin = None if margin is None else Symmetric(**margin)
        member.facts = kept["facts"]
        with named(f"merging of {recipe.name or 'a member'}", _LESS_TO_PREDICT):
            return member.ready(rounded=recipe.merges)

    def open_fold(self, folder: Path, recipe: Recipe, cache: Path) -> tuple[PromptEncoder, dict[str, Any]]:
        """The encoder of a fitted fold, on the base that it was trained on, and what `fit` kept beside it.

        Raises
        ------
        ArtifactError
            A file is broken.
        StaleError
            Template, tokenizer or base are not those of the training.
        """
        kept = fold_record.read_settings(folder)
        own = folder / _BASE
        source = loading.Source(str(own)) if own.is_dir() else loading.source_of(recipe, cache)
        encoder = PromptEncoder.open(recipe, source, cache)
        fold_record.check(folder, kept, encoder)
        return encoder, kept

    @staticmethod
    def weights_of(folder: Path) -> dict[str, torch.Tensor]:
        """The trained weights of a fitted fold by their names in the head model.

        Raises
        ------
        ArtifactError
            The file is absent or broken.
        """
        return adapters.read_weights(folder / adapters.WEIGHTS)

    def check_base(self, folder: Path, *, recipe: Recipe, cache: Path) -> None:
        """Make sure that the recipe's base is the one that a fitted fold stands on, without its weights.

        Raises
        ------
        StaleError
            It, its tokenizer or the prompt is another; the first difference is named.
        """
        if not recipe.is_tiny:
            encoder = PromptEncoder.open(recipe, loading.source_of(recipe, cache), cache)
            fold_record.check(folder, fold_record.read_settings(folder), encoder)

    def predict(
        self, fitted: MemberModel | SpreadMember, battles: Battles, *, on_progress: Progress | None = None
    ) -> Floats:
        """See :class:`arena_ensemble.backbones.base.Backbone`."""
        if not len(battles):
            return np.empty((0, 3))
        if isinstance(fitted, SpreadMember):
            return fitted.predict(battles, on_progress)
        return fitted.log_probs(fitted.encoder.joined(fitted.encoder.encode(battles)), on_progress)


def _write(member: MemberModel, folder: Path, facts: dict[str, Any]) -> None:
    """The files of a fitted fold: trained weights, settings, and a tiny base, which exists nowhere else."""
    recipe, own = member.encoder.recipe, folder / _BASE
    facts = {**facts, "base": recipe.base}
    member.facts = facts
    if recipe.has_weights:
        adapters.save_weights(member.head_model, folder / adapters.WEIGHTS)
    if recipe.is_tiny and not own.exists():
        shutil.copytree(member.encoder.source.name, own)
    base = member.encoder.base()
    (folder / adapters.BASE_RECORD).write_text(base.to_json(), encoding="utf-8")
    kept = {
        **identity(member.encoder),
        "base": recipe.base,
        "revision": recipe.revision,
        "adapter": recipe.adapter.model_dump(mode="json"),
        "shift": None if member.shift is None else member.shift.tolist(),
        "margin": None if member.margin is None else asdict(member.margin),
        "facts": facts,
    }
    (folder / adapters.SETTINGS).write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
