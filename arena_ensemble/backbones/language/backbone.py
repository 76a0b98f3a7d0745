"""The way of every language-model member: battles → token ids → trained weights → log-probabilities.

The heads differ in what an example is and how its logits arise; all else is here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ...battles import SWAP, Battles
from ...calibration import fit_temperature
from ...errors import ArtifactError, RecipeError
from ...predictions import Floats
from ...prompts import get_template as template_of
from ...prompts import turns_of
from ...recipes import Recipe
from ..base import Progress, labels_of
from . import adapters, checkpoints, generation_checks, loading, tiny
from .encoder import PromptEncoder, identity, inner_split
from .fitted import MemberModel
from .heads import HeadModel
from .peft_import import completed, read_adapter
from .reporting import reporter
from .sequences import TokenSequences
from .speedups.fused_lora import fuse
from .trainer import Trainer, TrainingSet

_log = logging.getLogger(__name__)
_SETTINGS: Final = "settings.json"
_WEIGHTS: Final = "weights.safetensors"
_BASE: Final = "base"


@dataclass(frozen=True)
class Head:
    """How a kind of head is built.

    Parameters
    ----------
    labels
        Outputs of the classification head, or None for a causal language model.
    build
        The head model over a loaded model.
    singles
        Whether each response is read on its own.
    """

    labels: int | None
    build: Callable[[Any, PromptEncoder], HeadModel]
    singles: bool = False


class LanguageModel:
    """The backbone contract for one head."""

    def __init__(self, head: Head) -> None:
        self.head = head

    def prepare(
        self, battles: Battles, *, recipe: Recipe, cache: Path, on_progress: Progress | None = None
    ) -> None:
        """See :class:`arena_ensemble.backbones.base.Backbone`."""
        turns = turns_of(battles, template_of(recipe.prompt.template))

        def texts() -> Iterable[str]:
            return (turn for column in turns for battle in column for turn in battle)

        if recipe.is_tiny:
            source = tiny.prepare(recipe, cache, texts, on_progress)
        else:
            source = loading.source_of(recipe)
        encoder = PromptEncoder.open(recipe, source, cache)
        loading.choose_policy(recipe, encoder.config)  # a setting that this device cannot take is told now
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
    ) -> MemberModel:
        """See :class:`arena_ensemble.backbones.base.Backbone`.

        ``valid`` is not looked at: it is the fold that will be reported, and choosing a step by it
        would flatter the report. Early stopping holds out an eighth of the training prompts instead.
        """
        start = time.perf_counter()
        source = tiny.prepared(recipe, cache) if recipe.is_tiny else loading.source_of(recipe)
        encoder = PromptEncoder.open(recipe, source, cache)
        if not resume:
            checkpoints.clear(folder)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(recipe.seed)
            member, head, facts = self._model(encoder)
            trained = adapters.trained_parameters(member.head_model)
            if recipe.train.epochs:
                if recipe.train.packing and not member.head_model.causal:
                    raise RecipeError(
                        "train.packing needs a causal base: only its attention can be cut by row"
                    )
                kept, held = inner_split(train, recipe)
                training_set, cut = self._training_set(encoder, train, kept, soft_targets, weights)
                facts["truncation"] = cut
                facts |= generation_checks.check(member, training_set.sequences)
                facts |= self._train(member, head, training_set, train, held, folder, resume, on_progress)
            else:
                some = train.take(np.arange(min(len(train), generation_checks.ROWS)))
                facts |= generation_checks.check(member, TokenSequences.of(*encoder.encode(some)))
                member.shift = generation_checks.zero_shot_shift(
                    member, train, lambda battles: self.predict(member, battles)
                )
        facts["trained_parameters"] = sum(p.numel() for p in trained.values())
        facts["fit_seconds"] = round(time.perf_counter() - start, 3)
        self._write(member, folder, facts)
        checkpoints.clear(folder)
        return self._ready(member)

    def load(self, folder: Path, *, recipe: Recipe, cache: Path) -> MemberModel:
        """See :class:`arena_ensemble.backbones.base.Backbone`."""
        try:
            kept = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{folder / _SETTINGS}: cannot be read ({error}); train this fold again"
            ) from None
        own = folder / _BASE
        source = loading.Source(str(own)) if own.is_dir() else loading.source_of(recipe)
        encoder = PromptEncoder.open(recipe, source, cache)
        for name, value in identity(encoder).items():
            if kept.get(name) != value:
                raise ArtifactError(
                    f"{folder}: was trained with another {name.replace('_', ' ')} than the recipe and base "
                    "here give; restore them or train this fold again"
                )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            member, _, _ = self._model(encoder)
        if recipe.train.epochs:
            adapters.load_weights(member.head_model, folder / _WEIGHTS)
        member.shift = None if kept.get("shift") is None else np.asarray(kept["shift"], dtype=np.float64)
        member.facts = kept["facts"]
        return self._ready(member)

    def import_adapter(self, adapter: Path, *, recipe: Recipe, folder: Path, cache: Path) -> MemberModel:
        """Write a fold folder from a PEFT adapter that another tool trained; prediction only.

        The recipe states the base, the template and the adapter's shape; a classification head must
        give its three labels in the order A, B, tie.

        Raises
        ------
        ArtifactError, RecipeError
            The adapter is broken, lacks its head, or does not fit the base or the recipe.
        """
        encoder = PromptEncoder.open(recipe, loading.source_of(recipe), cache)
        tensors = read_adapter(adapter, recipe.adapter)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            member, _, facts = self._model(encoder)
        trained = adapters.trained_parameters(member.head_model)
        adapters.put_weights(member.head_model, completed(tensors, trained, adapter), str(adapter))
        self._write(member, folder, {**facts, "imported": True, "alarms": []})
        return self._ready(member)

    def predict(
        self, fitted: MemberModel, battles: Battles, *, on_progress: Progress | None = None
    ) -> Floats:
        """See :class:`arena_ensemble.backbones.base.Backbone`."""
        if not len(battles):
            return np.empty((0, 3))
        encoded = fitted.encoder.encode(battles, singles=self.head.singles)
        sequences = TokenSequences.of(*encoded, paired=self.head.singles)
        return fitted.log_probs(sequences, on_progress)

    def _model(self, encoder: PromptEncoder) -> tuple[MemberModel, list[str], dict[str, Any]]:
        """The base with its head and adapters, before any training; head names; facts."""
        recipe = encoder.recipe
        policy = loading.choose_policy(recipe, encoder.config)
        model, fresh = loading.load_model(encoder.source, recipe, policy, labels=self.head.labels)
        head = adapters.head_parameters(model, fresh) if self.head.labels is not None else set()
        if recipe.train.epochs:
            adapters.attach(model, recipe.adapter, head)
            if recipe.adapter.kind == "lora" and not policy.autocast:
                fuse(model)
        else:
            model.requires_grad_(False)
        if policy.autocast:
            adapters.float32_head(model, head)
            adapters.leave_casts_to_autocast(model)
        if recipe.train.gradient_checkpointing:
            loading.recompute_activations(model)
        head_model = self.head.build(model, encoder).to(policy.device)
        if recipe.loader == "transformers":
            head_model.patch_last_layer()
        head_model.eval()
        names = [f"model.{name}" for name in head]
        names += [name for name, _ in head_model.named_parameters() if not name.startswith("model.")]
        facts = {
            "device": str(policy.device)
            if policy.device.type == "cpu"
            else torch.cuda.get_device_name(policy.device),
            "dtype": str(policy.dtype).removeprefix("torch."),
            "attention": str(getattr(model.config, "_attn_implementation", policy.attention)),
            "architecture": type(model).__name__,
            "last_layer": "where it is read" if head_model.positions else "whole",
            "parameters": sum(p.numel() for p in model.parameters()),
            "head_parameters": sorted(names),
        }
        member = MemberModel(encoder, head_model, policy)
        if recipe.adapter.kind == "frozen" and recipe.train.epochs and _only_labels(head_model, head):
            kind = [loading.fingerprint(encoder.source), facts["dtype"], type(model).__name__]
            kind += [recipe.loader, recipe.adapter.quantise]
            name = hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:16]
            member.hidden = encoder.cache / "hidden" / name
        return member, names, facts

    def _training_set(
        self,
        encoder: PromptEncoder,
        train: Battles,
        kept: np.ndarray[Any, np.dtype[np.int64]],
        soft_targets: Floats | None,
        weights: Floats | None,
    ) -> tuple[TrainingSet, dict[str, Any]]:
        """What is learned of the kept rows, in one order or both."""
        recipe, n = encoder.recipe, len(kept)
        rows = train.take(kept)
        both = recipe.swap != "none" and not self.head.singles  # the reward head is equivariant already
        encoded = encoder.encode(rows, singles=self.head.singles)
        cut = encoded[0].facts()
        soft = None if soft_targets is None else np.asarray(soft_targets, dtype=np.float64)[kept]
        labels, voted = labels_of(rows, soft)
        weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)[kept]
        teacher = soft
        names = rows.ids.to_list()
        units = np.arange(n)[:, None]
        if both:
            encoded += encoder.encode(rows.swapped())
            order = np.asarray(SWAP)
            labels = np.concatenate([labels, order[labels]])
            weight, voted = np.concatenate([weight, weight]), np.concatenate([voted, voted])
            teacher = None if teacher is None else np.concatenate([teacher, teacher[:, order]])
            names = names * 2
            units = np.arange(2 * n).reshape(2, n).T if recipe.swap == "paired" else np.arange(2 * n)[:, None]
        sequences = TokenSequences.of(*encoded, paired=self.head.singles)
        return TrainingSet(sequences, labels, weight, units, names, teacher, voted), cut

    def _train(
        self,
        member: MemberModel,
        head: list[str],
        training_set: TrainingSet,
        train: Battles,
        held: np.ndarray[Any, np.dtype[np.int64]],
        folder: Path,
        resume: bool,
        on_progress: Progress | None,
    ) -> dict[str, Any]:
        recipe = member.encoder.recipe
        trainer = Trainer(
            member.head_model,
            replace(training_set, sequences=member.from_frozen(training_set.sequences, on_progress)),
            recipe.train.model_copy(
                update={"batch_tokens": member.policy.micro_batch(recipe.train.batch_tokens)}
            ),
            policy=member.policy,
            seed=recipe.seed,
            pad_id=member.encoder.pad_id,
            head=head,
            soft_temperature=recipe.soft.temperature,
            soft_share=recipe.soft.weight,
            name=f"{recipe.name or 'a member'} {folder.name.removesuffix('.partial')}",
        )
        evaluate = None
        if len(held):
            rows = train.take(held)
            outcomes = rows.outcomes()
            sequences = TokenSequences.of(
                *member.encoder.encode(rows, singles=self.head.singles), paired=self.head.singles
            )

            def evaluate() -> float:
                log_probs = member.log_probs(sequences)
                refined = fit_temperature(log_probs, outcomes).apply(log_probs)
                return float(-refined[np.arange(len(outcomes)), outcomes].mean())

        log = close = None
        if recipe.train.report_to:
            place = member.encoder.cache / "reports" / (recipe.name or recipe.digest()[:12])
            place /= folder.name.removesuffix(".partial")
            log, close = reporter(recipe.train.report_to, place, trainer.steps)
        try:
            facts = trainer.run(
                checkpoints=folder, resume=resume, evaluate=evaluate, on_progress=on_progress, on_log=log
            )
        finally:
            if close is not None:
                close()
        if len(held):
            facts["inner_validation_rows"] = len(held)
        return facts

    def _write(self, member: MemberModel, folder: Path, facts: dict[str, Any]) -> None:
        recipe, own = member.encoder.recipe, folder / _BASE
        member.facts = facts
        if recipe.train.epochs:
            adapters.save_weights(member.head_model, folder / _WEIGHTS)
        if recipe.is_tiny and not own.exists():  # a tiny base exists nowhere else
            shutil.copytree(member.encoder.source.name, own)
        kept = {
            **identity(member.encoder),
            "base": recipe.base,
            "revision": recipe.revision,
            "shift": None if member.shift is None else member.shift.tolist(),
            "facts": facts,
        }
        (folder / _SETTINGS).write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")

    def _ready(self, member: MemberModel) -> MemberModel:
        """Evaluation mode; adapters folded in where that is exact enough and saves time."""
        recipe = member.encoder.recipe
        member.head_model.eval()
        if recipe.train.epochs and recipe.adapter.kind == "lora" and not member.policy.autocast:
            adapters.merge_adapters(member.head_model)
        return member


def _only_labels(head_model: HeadModel, head: set[str]) -> bool:
    """Whether all that a frozen base's head trains stands after its features, so these can be kept."""
    names = {name.rpartition(".")[0] for name in head}
    if not head:
        return True
    return names == {head_model.head_name} and isinstance(
        head_model.model.get_submodule(head_model.head_name), torch.nn.Linear
    )
