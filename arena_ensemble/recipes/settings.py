"""The one frozen :class:`Recipe` that holds every setting of a member, and the digests of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ..backbones.registry import HEADS, head_of
from ..errors import RecipeError
from .sections import (
    AdapterSettings,
    GenerateSettings,
    HeadSettings,
    LexicalSettings,
    MachineSettings,
    PredictSettings,
    PromptSettings,
    Section,
    Share,
    SoftSettings,
    TinySettings,
    TrainSettings,
)

_PREDICTION_ONLY: Final = ("read_orders", "second_order_share", "predict")
_MACHINE_SETTINGS: Final = (
    "train.batch_tokens",
    "train.gradient_checkpointing",
    "train.kernels",
    "train.checkpoint_minutes",
    "train.checkpoint_every",
    "train.report_to",
)
_ADDED: Final = (
    "train.start",
    "train.optimizer",
    "soft.teachers",
    "soft.teacher_weights",
    "soft.loss",
    "head.hidden",
    "head.dropout",
    "predict.merge",
)
"""Settings that came later: at their defaults they leave the digests of older recipes as they were."""
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?\Z")


def _registered(backbone: str) -> str:
    try:
        head_of(backbone)
    except RecipeError as error:
        raise ValueError(str(error)) from None
    return backbone


class Recipe(Section):
    """All settings of one member, defaults filled in. ``name`` is the recipe's folder name."""

    machine_settings: ClassVar[tuple[str, ...]] = _MACHINE_SETTINGS
    """How much a machine holds and what it reports: memory and speed, never what is learned, so that a member
    may be trained on one machine and predict on another."""

    name: str = Field(default="", exclude=True)
    folder: Path | None = Field(default=None, exclude=True)
    """where the recipe lies: relative base paths start here"""
    description: str = ""
    backbone: Annotated[str, AfterValidator(_registered)]
    """a head of the registry: ``classify``, ``generate``, ``reward`` or ``lexical``"""
    base: str = ""
    """``tiny:encoder``, ``tiny:decoder``, a hub id, a path (``/…``, ``./…``, ``~…``) to a folder or a
    ``.gguf`` file, or ``package:NAME``, an installed Python package that holds such a file"""
    revision: str = ""
    loader: Literal["transformers", "unsloth"] = "transformers"
    swap: Literal["none", "augment", "paired"] = "none"
    read_orders: Literal[1, 2] = 1
    """2 predicts the swapped battle too and averages both orders"""
    second_order_share: Share = 1.0
    """share of the rows that are predicted in the swapped order when ``read_orders`` is 2, drawn by a hash of
    their ids: half the share costs half the second pass"""
    seed: Annotated[int, Field(ge=0)] = 0
    prompt: PromptSettings = PromptSettings()
    train: TrainSettings = TrainSettings()
    adapter: AdapterSettings = AdapterSettings()
    predict: PredictSettings = PredictSettings()
    soft: SoftSettings = SoftSettings()
    generate: GenerateSettings = GenerateSettings()
    tiny: TinySettings = TinySettings()
    lexical: LexicalSettings = LexicalSettings()
    head: HeadSettings = HeadSettings()
    machine: MachineSettings = MachineSettings()

    def _suits_unsloth(self) -> None:
        """Its fused kernels know neither DoRA nor gradients of norms; packing is unchecked."""
        adapter = self.adapter
        if not self.has_weights or adapter.kind != "lora" or adapter.dora or adapter.also:
            raise ValueError(
                "loader = 'unsloth' trains plain LoRA: leave loader out, or adapter.kind, adapter.dora, "
                "adapter.also and train.epochs = 0 at their defaults"
            )
        if self.head.hidden:
            raise ValueError("loader = 'unsloth' with head.hidden is not supported; leave one of them out")
        if self.train.packing:
            raise ValueError("loader = 'unsloth' with train.packing is not supported; leave one of them out")

    def _has_adapters_to_merge(self) -> None:
        """What `predict.merge` needs; ``auto`` does without."""
        if self.for_prediction().adapter.quantise != "none":
            raise ValueError(
                "predict.merge = true would round the adapters to the few bits of a quantised base; leave it "
                "out, or set predict.quantise = 'none'"
            )
        if not self.merges:
            raise ValueError(
                "predict.merge = true is for adapter.kind = 'lora' with loader = 'transformers' and "
                "machine.processes = 1; leave it out"
            )

    def _takes_a_hidden_layer(self) -> None:
        if head_of(self.backbone).labels is None:
            able = ", ".join(repr(name) for name, other in HEADS.items() if other.labels is not None)
            raise ValueError(f"head.hidden is for backbone {able}; leave it out")
        if not self.has_weights:
            raise ValueError("head.hidden adds a layer that starts random; set train.epochs or train.start")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Refuse settings that contradict each other, before any hour is spent."""
        head = head_of(self.backbone)
        if head.needs_base and not self.base:
            raise ValueError(f"backbone {self.backbone!r} needs a base: a hub id, a path, or tiny:decoder")
        if self.base.startswith("tiny:") and self.base not in ("tiny:encoder", "tiny:decoder"):
            raise ValueError(f"base = {self.base!r}: the tiny bases are tiny:encoder and tiny:decoder")
        if head.causal and self.base == "tiny:encoder":
            raise ValueError(
                f"backbone {self.backbone!r} predicts the next token and needs a causal base, "
                "such as tiny:decoder"
            )
        if self.train.start and not head.needs_base:
            raise ValueError(f"train.start is for heads on a language model, not {self.backbone!r}")
        if self.train.epochs == 0 and not head.zero_shot and not self.train.start:
            able = ", ".join(repr(name) for name, other in HEADS.items() if other.zero_shot)
            raise ValueError(f"train.epochs = 0 (zero-shot) is for backbone {able} only")
        if self.generate.calibration != "none" and self.has_weights:
            raise ValueError("generate.calibration is for zero-shot members (train.epochs = 0)")
        if self.adapter.quantise != "none" and self.adapter.kind == "full":
            raise ValueError("adapter.kind = 'full' cannot train quantised weights; use 'lora'")
        if self.head.hidden:
            self._takes_a_hidden_layer()
        if self.loader == "unsloth":
            self._suits_unsloth()
        if self.machine.processes > 1 and (
            self.adapter.kind == "full" or self.adapter.quantise != "none" or self.loader == "unsloth"
        ):
            raise ValueError(
                f"machine.processes = {self.machine.processes} spreads frozen weights: set adapter.kind = "
                "'lora' or 'frozen', adapter.quantise = 'none' and loader = 'transformers', or leave it out"
            )
        if self.predict.quantise in ("4bit", "8bit") and self.adapter.kind == "full":
            raise ValueError(
                f"predict.quantise = {self.predict.quantise!r} would round weights that adapter.kind = "
                "'full' has trained; leave it out, or export the merged weights and quantise those"
            )
        if self.predict.merge is True:
            self._has_adapters_to_merge()
        if self.train.optimizer == "adamw-kahan" and self.adapter.kind != "full":
            raise ValueError("train.optimizer = 'adamw-kahan' is for adapter.kind = 'full'; use 'adamw'")
        return self

    @property
    def has_weights(self) -> bool:
        """Whether a fold keeps weights of its own: trained here, or what ``train.start`` gives."""
        return self.train.epochs > 0 or bool(self.train.start)

    @property
    def merges(self) -> bool:
        """Whether ``[predict]`` asks for adapters that are added to a base of 16 bits, and there are such."""
        adapters = self.has_weights and head_of(self.backbone).needs_base and self.adapter.kind == "lora"
        plain = self.loader == "transformers" and self.machine.processes == 1
        quantised = self.for_prediction().adapter.quantise != "none"
        return bool(self.predict.merge) and adapters and plain and not quantised

    def without_merging(self) -> Recipe:
        """The same with adapters beside the base."""
        predict = self.predict.model_copy(update={"merge": False})
        return self.model_copy(update={"predict": predict})

    @property
    def is_tiny(self) -> bool:
        """Whether the base is built on the spot."""
        return self.base.startswith("tiny:")

    @property
    def is_on_hub(self) -> bool:
        """Whether the base is written as a hub id, and no folder here has that name."""
        named = bool(self.base) and not self.is_tiny and not self.base.startswith("package:")
        return named and self.base_path() is None

    def base_path(self) -> Path | None:
        """The local folder of the base, or its ``.gguf`` file; None for tiny bases, packages and hub ids.

        Raises
        ------
        RecipeError
            The base is written as a path and no folder is there, or it is neither path nor hub id.
        """
        if not self.base or self.is_tiny or self.base.startswith("package:"):
            return None
        try:
            path = Path(self.base).expanduser()
        except RuntimeError as error:
            raise RecipeError(f"member {self.name!r}: base = {self.base!r}: {error}") from None
        in_gguf = path.suffix == ".gguf"
        written_as_path = self.base.startswith(("/", ".", "~")) or in_gguf
        if not written_as_path and _HUB_ID.match(self.base):
            return path if path.is_dir() else None
        if not path.is_absolute() and self.folder is not None:
            path = self.folder / path
        if in_gguf and path.is_file():
            return path
        if not path.is_dir():
            if in_gguf:
                raise RecipeError(
                    f"member {self.name!r}: base = {self.base!r} is no file ({path}); "
                    "give the path of a .gguf file"
                )
            raise RecipeError(
                f"member {self.name!r}: base = {self.base!r} is no folder ({path}); "
                "give a folder with config.json and safetensors, or a hub id such as org/name"
            )
        return path

    def orders(self) -> str:
        """Which orders are read, in a word: what was read under another word is read again."""
        share = (
            f" {self.second_order_share:g}" if self.read_orders == 2 and self.second_order_share < 1 else ""
        )
        return f"{self.read_orders}{share}"

    def for_prediction(self) -> Recipe:
        """The recipe with precision, attention and quantising as ``[predict]`` says."""
        wanted = self.predict.model_dump(include={"precision", "attention", "quantise"})
        changed = {name: value for name, value in wanted.items() if value != "trained"}
        quantise = {name: changed.pop(name) for name in ("quantise",) if name in changed}
        train, adapter = self.train.model_copy(update=changed), self.adapter.model_copy(update=quantise)
        return self.model_copy(update={"train": train, "adapter": adapter})

    def prediction_numbers(self) -> str | None:
        """What of ``[predict]`` changes numbers, in a word: predictions made under another are made again.

        None where nothing is set.
        """
        wanted = self.predict.model_dump(include={"precision", "attention", "quantise"})
        changed = [f"{name} {value}" for name, value in sorted(wanted.items()) if value != "trained"]
        if self.merges:
            changed.append(f"merge {str(self.predict.merge).lower()}")
        return ", ".join(changed) or None

    def settings(self) -> dict[str, Any]:
        """Every resolved setting except the description, as plain JSON values."""
        values: dict[str, Any] = self.model_dump(mode="json")
        del values["description"]
        return values

    def _identity(self) -> dict[str, Any]:
        """:meth:`settings` as the digests see them."""
        values = self.settings()
        del values["machine"]
        plain = type(self).model_construct().model_dump(mode="json")
        for name in _ADDED:
            section, key = name.split(".")
            if values[section][key] == plain[section][key]:
                del values[section][key]
            if not values[section]:
                del values[section]
        return values

    def digest(self) -> str:
        """SHA-256 over :meth:`settings` as canonical JSON: no ``[machine]``, later settings where used."""
        return _digest(self._identity())

    def fit_digest(self) -> str:
        """The same without what changes prediction only (the orders, ``[predict]``), and `machine_settings`.

        Where a base lies is not what it is: the fold's own record of its content is its identity. A tiny base
        is its name and shape.
        """
        return _digest(self._fit_values())

    def fit_settings(self) -> dict[str, Any]:
        """What :meth:`fit_digest` is over, as ``section.key`` → value: to name what was edited."""
        found: dict[str, Any] = {}
        for name, value in self._fit_values().items():
            part = {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else None
            found |= {name: value} if part is None else part
        return found

    def _fit_values(self) -> dict[str, Any]:
        values = {key: value for key, value in self._identity().items() if key not in _PREDICTION_ONLY}
        for name in self.machine_settings:
            section, key = name.split(".")
            del values[section][key]
        if not self.is_tiny:
            del values["base"], values["revision"]
        return values


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
