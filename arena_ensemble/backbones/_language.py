"""The river of every language-model member: battles → token ids → trained weights → log-probabilities.

The three heads differ in what a reading is and how its logits arise; all else is here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ..battles import SWAP, Battles
from ..calibrate import fit_temperature
from ..errors import ArenaError, ArtifactError, RecipeError
from ..predictions import Floats, normalised
from ..prompts import Encoded, Pieces, assemble, assemble_singles, room_for_texts, template_digest, turns_of
from ..prompts import get_template as template_of
from ..recipes import Recipe
from . import _adapters, _bases, _checkpoints, tiny
from ._literals import encode_literals
from ._readings import Readings
from ._scorers import Scorer
from ._tokens import TokenStore
from ._training import Lessons, Trainer, read
from .base import Progress

_log = logging.getLogger(__name__)
_SETTINGS: Final = "settings.json"
_WEIGHTS: Final = "weights.safetensors"
_BASE: Final = "base"
_INNER_SHARE: Final = 0.125


@dataclass(frozen=True, eq=False)
class Reader:
    """A base's tokenizer with a recipe's template: battles in, rows of token ids out."""

    recipe: Recipe
    source: _bases.Source
    config: Any
    tokenizer: Any
    pieces: Pieces
    store: TokenStore

    @classmethod
    def open(cls, recipe: Recipe, source: _bases.Source, cache: Path) -> Reader:
        """Load configuration and tokenizer, and check that the window fits the base.

        Raises
        ------
        RecipeError
            No such base, a window that it cannot take, or a template that leaves no room.
        """
        config = _bases.load_config(source)
        limit = getattr(config, "max_position_embeddings", None)
        if limit and recipe.prompt.max_tokens > limit:
            raise RecipeError(
                f"prompt.max_tokens = {recipe.prompt.max_tokens}: the base {recipe.base!r} reads at most "
                f"{limit} tokens; set prompt.max_tokens = {limit} or less"
            )
        tokenizer = _bases.load_tokenizer(source)
        pieces = encode_literals(tokenizer, recipe.prompt, causal=recipe.backbone == "generate")
        room_for_texts(pieces, recipe.prompt)
        return cls(recipe, source, config, tokenizer, pieces, TokenStore(tokenizer, cache))

    @property
    def pad_id(self) -> int:
        """Any id will do: what is padded is masked or stands behind every real token."""
        for name in ("pad_token_id", "eos_token_id"):
            if (found := getattr(self.tokenizer, name, None)) is not None:
                return int(found)
        return 0

    def encode(self, battles: Battles, *, singles: bool = False) -> tuple[Encoded, ...]:
        """One table of rows, or two (of A, of B) for the reward head."""
        turns = self.store.look_up(turns_of(battles, template_of(self.recipe.prompt.template)))
        if singles:
            return assemble_singles(turns, self.pieces, self.recipe.prompt)
        return (assemble(turns, self.pieces, self.recipe.prompt),)


@dataclass(frozen=True)
class Head:
    """How a kind of head is built.

    Parameters
    ----------
    labels
        Outputs of the classification head, or None for a causal language model.
    build
        The scorer over a loaded model.
    singles
        Whether each response is read on its own.
    """

    labels: int | None
    build: Callable[[Any, Reader], Scorer]
    singles: bool = False


@dataclass(eq=False)
class Member:
    """A fitted language-model member."""

    reader: Reader
    scorer: Scorer
    policy: _bases.Policy
    facts: dict[str, Any] = field(default_factory=dict)
    shift: Floats | None = None
    """(3,) subtracted from the log-probabilities: zero-shot calibration"""


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
            source = _build_tiny(recipe, battles, cache, texts, on_progress)
        else:
            source = _bases.source_of(recipe)
        reader = Reader.open(recipe, source, cache)
        _bases.choose_policy(recipe, reader.config)  # a setting that this device cannot take is told now
        progress = (lambda done, total: on_progress(done, total, "tokenising")) if on_progress else None
        reader.store.prepare(texts(), progress)

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
    ) -> Member:
        """See :class:`arena_ensemble.backbones.base.Backbone`.

        ``valid`` is not looked at: it is the fold that will be reported, and choosing a step by it
        would flatter the report. Early stopping holds out an eighth of the training prompts instead.
        """
        start = time.perf_counter()
        source = _tiny_source(recipe, cache) if recipe.is_tiny else _bases.source_of(recipe)
        reader = Reader.open(recipe, source, cache)
        if not resume:
            _checkpoints.clear(folder)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(recipe.seed)
            member, head, facts = self._model(reader)
            trained = _adapters.trained_parameters(member.scorer)
            if recipe.train.epochs:
                kept, held = _inner_split(train, recipe)
                lessons, cut = self._lessons(reader, train, kept, soft_targets, weights)
                facts["truncation"] = cut
                facts |= self._train(member, head, lessons, train, held, folder, resume, on_progress)
            else:
                member.shift = zero_shot_shift(self, member, train)
        facts["trained_parameters"] = sum(p.numel() for p in trained.values())
        facts["fit_seconds"] = round(time.perf_counter() - start, 3)
        self._write(member, folder, facts)
        _checkpoints.clear(folder)
        return self._ready(member)

    def load(self, folder: Path, *, recipe: Recipe, cache: Path) -> Member:
        """See :class:`arena_ensemble.backbones.base.Backbone`."""
        try:
            kept = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{folder / _SETTINGS}: cannot be read ({error}); train this fold again"
            ) from None
        own = folder / _BASE
        source = _bases.Source(str(own)) if own.is_dir() else _bases.source_of(recipe)
        reader = Reader.open(recipe, source, cache)
        for name, value in _identity(reader).items():
            if kept.get(name) != value:
                raise ArtifactError(
                    f"{folder}: was trained with another {name.replace('_', ' ')} than the recipe and base "
                    "here give; restore them or train this fold again"
                )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            member, _, _ = self._model(reader)
        if recipe.train.epochs:
            _adapters.load_weights(member.scorer, folder / _WEIGHTS)
        member.shift = None if kept.get("shift") is None else np.asarray(kept["shift"], dtype=np.float64)
        member.facts = kept["facts"]
        return self._ready(member)

    def predict(self, fitted: Member, battles: Battles, *, on_progress: Progress | None = None) -> Floats:
        """See :class:`arena_ensemble.backbones.base.Backbone`."""
        if not len(battles):
            return np.empty((0, 3))
        encoded = fitted.reader.encode(battles, singles=self.head.singles)
        readings = Readings.of(*encoded, paired=self.head.singles)
        return self._log_probs(fitted, readings, on_progress)

    def _log_probs(self, member: Member, readings: Readings, on_progress: Progress | None) -> Floats:
        logits = read(
            member.scorer,
            readings,
            policy=member.policy,
            pad_id=member.reader.pad_id,
            batch_tokens=member.reader.recipe.train.predict_tokens,
            on_progress=on_progress,
        )
        if not np.isfinite(logits).all():
            row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
            raise ArenaError(f"row {row + 1}: the model's logits are NaN or infinite; try precision = 'fp32'")
        log_probs = normalised(logits)
        return log_probs if member.shift is None else normalised(log_probs - member.shift)

    def _model(self, reader: Reader) -> tuple[Member, list[str], dict[str, Any]]:
        """The base with its head and adapters, before any training; head names; facts."""
        recipe = reader.recipe
        policy = _bases.choose_policy(recipe, reader.config)
        model, fresh = _bases.load_model(reader.source, recipe, policy, labels=self.head.labels)
        head = _adapters.head_parameters(model, fresh) if self.head.labels is not None else set()
        if recipe.train.epochs:
            _adapters.attach(model, recipe.adapter, head)
        else:
            model.requires_grad_(False)
        if policy.autocast:
            _adapters.float32_head(model, head)
        if recipe.train.gradient_checkpointing:
            _bases.recompute_activations(model)
        scorer = self.head.build(model, reader).to(policy.device)
        scorer.eval()
        names = [f"model.{name}" for name in head]
        names += [name for name, _ in scorer.named_parameters() if not name.startswith("model.")]
        facts = {
            "device": str(policy.device)
            if policy.device.type == "cpu"
            else torch.cuda.get_device_name(policy.device),
            "dtype": str(policy.dtype).removeprefix("torch."),
            "attention": str(getattr(model.config, "_attn_implementation", policy.attention)),
            "architecture": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "head_parameters": sorted(names),
        }
        return Member(reader, scorer, policy), names, facts

    def _lessons(
        self,
        reader: Reader,
        train: Battles,
        kept: np.ndarray[Any, np.dtype[np.int64]],
        soft_targets: Floats | None,
        weights: Floats | None,
    ) -> tuple[Lessons, dict[str, Any]]:
        """What is learned of the kept rows, in one order or both."""
        recipe, n = reader.recipe, len(kept)
        rows = train.take(kept)
        both = recipe.swap != "none" and not self.head.singles  # the reward head is equivariant already
        encoded = reader.encode(rows, singles=self.head.singles)
        cut = encoded[0].facts()
        labels = rows.outcomes()
        weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)[kept]
        teacher = None if soft_targets is None else np.asarray(soft_targets, dtype=np.float64)[kept]
        names = rows.ids.to_list()
        units = np.arange(n)[:, None]
        if both:
            encoded += reader.encode(rows.swapped())
            order = np.asarray(SWAP)
            labels = np.concatenate([labels, order[labels]])
            weight = np.concatenate([weight, weight])
            teacher = None if teacher is None else np.concatenate([teacher, teacher[:, order]])
            names = names * 2
            units = np.arange(2 * n).reshape(2, n).T if recipe.swap == "paired" else np.arange(2 * n)[:, None]
        readings = Readings.of(*encoded, paired=self.head.singles)
        return Lessons(readings, labels, weight, units, names, teacher), cut

    def _train(
        self,
        member: Member,
        head: list[str],
        lessons: Lessons,
        train: Battles,
        held: np.ndarray[Any, np.dtype[np.int64]],
        folder: Path,
        resume: bool,
        on_progress: Progress | None,
    ) -> dict[str, Any]:
        recipe = member.reader.recipe
        trainer = Trainer(
            member.scorer,
            lessons,
            recipe.train,
            policy=member.policy,
            seed=recipe.seed,
            pad_id=member.reader.pad_id,
            head=head,
            soft_temperature=recipe.soft.temperature,
            soft_share=recipe.soft.weight,
        )
        evaluate = None
        if len(held):
            rows = train.take(held)
            outcomes = rows.outcomes()
            readings = Readings.of(
                *member.reader.encode(rows, singles=self.head.singles), paired=self.head.singles
            )

            def evaluate() -> float:
                log_probs = self._log_probs(member, readings, None)
                refined = fit_temperature(log_probs, outcomes).apply(log_probs)
                return float(-refined[np.arange(len(outcomes)), outcomes].mean())

        facts = trainer.run(checkpoints=folder, resume=resume, evaluate=evaluate, on_progress=on_progress)
        if len(held):
            facts["inner_validation_rows"] = len(held)
        return facts

    def _write(self, member: Member, folder: Path, facts: dict[str, Any]) -> None:
        recipe, own = member.reader.recipe, folder / _BASE
        member.facts = facts
        if recipe.train.epochs:
            _adapters.save_weights(member.scorer, folder / _WEIGHTS)
        if recipe.is_tiny and not own.exists():  # a tiny base exists nowhere else
            shutil.copytree(member.reader.source.name, own)
        kept = {
            **_identity(member.reader),
            "base": recipe.base,
            "revision": recipe.revision,
            "shift": None if member.shift is None else member.shift.tolist(),
            "facts": facts,
        }
        (folder / _SETTINGS).write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")

    def _ready(self, member: Member) -> Member:
        """Evaluation mode; adapters folded in where that is exact enough and saves time."""
        recipe = member.reader.recipe
        member.scorer.eval()
        if recipe.train.epochs and recipe.adapter.kind == "lora" and not member.policy.autocast:
            _adapters.merge_adapters(member.scorer)
        return member


def _identity(reader: Reader) -> dict[str, str]:
    """What a fold's weights depend on besides the recipe: checked when they are read back."""
    return {"template": template_digest(reader.recipe), "tokenizer": reader.store.digest}


def _pointer(recipe: Recipe, cache: Path) -> Path:
    return cache / "tiny" / f"{tiny.base_digest(recipe, '')[:16]}.json"


def _build_tiny(
    recipe: Recipe,
    battles: Battles,
    cache: Path,
    texts: Callable[[], Iterable[str]],
    on_progress: Progress | None,
) -> _bases.Source:
    """Build the base for these texts unless it is there, and note it as this recipe's base."""
    state = hashlib.sha256()
    for text in texts():
        state.update(hashlib.blake2b(text.encode("utf-8", "replace")).digest())
    name = tiny.base_digest(recipe, state.hexdigest())[:16]
    folder = cache / "tiny" / name
    if not (folder / "config.json").is_file():
        if on_progress:
            on_progress(0, 1, "building the tiny base")
        tiny.build(recipe, texts(), folder)
    pointer = _pointer(recipe, cache)
    partial = pointer.with_suffix(".tmp-json")
    partial.write_text(json.dumps({"base": name}))
    partial.replace(pointer)
    return _bases.Source(str(folder))


def _tiny_source(recipe: Recipe, cache: Path) -> _bases.Source:
    try:
        name = json.loads(_pointer(recipe, cache).read_text())["base"]
    except (OSError, ValueError, KeyError):
        raise ArtifactError(
            f"{cache / 'tiny'}: the base {recipe.base!r} is not built; call prepare() with all battles first"
        ) from None
    return _bases.Source(str(cache / "tiny" / name))


def _inner_split(
    train: Battles, recipe: Recipe
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Rows to learn from and rows to stop by: whole prompts, chosen by a hash of the first turn."""
    rows = np.arange(len(train))
    if not recipe.train.early_stopping:
        return rows, rows[:0]
    draws = []
    for turns in train.frame["prompt"].to_list():
        first = " ".join((turns[0] if turns and turns[0] else "").lower().split())
        mark = hashlib.blake2b(f"{recipe.seed}|{first}".encode("utf-8", "replace"), digest_size=8).digest()
        draws.append(int.from_bytes(mark, "big") / 2**64)
    held = np.asarray(draws) < _INNER_SHARE
    if not held.any() or held.all():
        raise RecipeError("train.early_stopping: too few different prompts to hold any out; set it to 0")
    return rows[~held], rows[held]


def zero_shot_shift(model: LanguageModel, member: Member, train: Battles) -> Floats | None:
    """The verdict words' own bias (3,), from training rows only; None where none is wanted.

    ``contextual`` asks about battles without content (Zhao et al. 2021, arXiv:2102.09690); ``batch``
    takes the mean probabilities over training rows (Zhou et al. 2023, arXiv:2309.17249).
    """
    how = member.reader.recipe.generate.calibration
    if how == "none":
        return None
    if how == "contextual":
        blanks = ("N/A", "", "[MASK]")
        rows = [{"id": k, "prompt": [t], "response_a": [t], "response_b": [t]} for k, t in enumerate(blanks)]
        probs = np.exp(model.predict(member, Battles.from_rows(rows)))
    else:
        some = np.random.default_rng(member.reader.recipe.seed).permutation(len(train))[:512]
        probs = np.exp(model.predict(member, train.take(np.sort(some)).without_outcomes()))
    return np.asarray(np.log(probs.mean(axis=0)), dtype=np.float64)
