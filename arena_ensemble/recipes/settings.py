"""Every setting of a member with its default, and the one frozen :class:`Recipe` that holds them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)

from ..backbones.registry import HEADS, head_of
from ..errors import RecipeError
from .template import Template

_PREDICTION_ONLY: Final = ("read_orders", "second_order_share")
_MACHINE_SETTINGS: Final = (
    "train.batch_tokens",
    "train.predict_tokens",
    "train.gradient_checkpointing",
    "train.checkpoint_minutes",
    "train.checkpoint_every",
    "train.report_to",
)
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?\Z")

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Words = Annotated[tuple[str, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]
Verdicts = Annotated[tuple[str, str, str], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]


class Section(BaseModel):
    """A table of a recipe: frozen, of strict types, without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class PromptSettings(Section):
    """What the model reads: the template and how long texts are cut."""

    template: str = "plain-1"
    """a built-in layout's name, or a file in the recipe's folder: ``./template.toml``"""
    max_tokens: Annotated[int, Field(ge=32)] = 1024
    """the whole window: literals, prompt and both responses"""
    cut: Literal["middle", "head", "tail", "last-turns"] = "middle"
    """what is left out of a text that overflows its budget"""
    prompt_share: Annotated[float, Field(ge=0, le=0.8)] = 0.25
    """share of the window that a long prompt may take when the responses are long too"""
    verdicts: Verdicts = ("A", "B", "tie")
    """words for A wins, B wins, tie; each must be one token after the cue (generation head)"""
    own: Template | None = Field(default=None, exclude=True)
    """what the file holds that ``template`` names"""

    @field_serializer("template")
    def _by_content(self, name: str) -> str | dict[str, Any]:
        """A file is what it holds: digests do not see where it lies."""
        return name if self.own is None else self.own.content()


class TrainSettings(Section):
    """The training loop. Batches are counted in rows for the optimizer, in tokens for the device."""

    epochs: Annotated[int, Field(ge=0)] = 1
    """passes over the training rows; 0 trains nothing (zero-shot, generation head only)"""
    learning_rate: Positive = 2e-4
    head_learning_rate: Positive | None = None
    """the head's own rate; the default is ``learning_rate``"""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """rate of a layer relative to the one above it"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.05
    """share of the steps in which the rate climbs from zero"""
    weight_decay: NonNegative = 0.01
    max_grad_norm: NonNegative = 1.0
    """gradients are clipped at this norm; 0 leaves them alone"""
    batch_rows: Count = 16
    """battles per optimizer step; the gradient is the mean over their examples"""
    batch_tokens: Count = 8192
    """tokens per micro-batch, padding included; a single longer row is a batch of its own (on a CPU at most
    2,048, which its caches hold: the gradient is the same)"""
    predict_tokens: Count = 16384
    window: Count = 32
    """optimizer steps per shuffled window, inside which rows are sorted by length"""
    gradient_checkpointing: bool = False
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of an exponential moving average of the weights; 0 is off"""
    early_stopping: Annotated[int, Field(ge=0)] = 0
    """evaluations without a better refined validation loss before training stops; 0 is off"""
    evaluations: Count = 1
    """evaluations on held-out rows per epoch, when early stopping is on"""
    checkpoint_minutes: NonNegative = 15.0
    """minutes between checkpoints inside a fold; 0 keeps none by time"""
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    """optimizer steps between checkpoints, besides; 0 keeps none by count"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    attention: Literal["auto", "sdpa", "eager", "flex_attention", "flash_attention_2"] = "auto"
    packing: bool = False
    """several rows in one sequence, apart from each other by block-diagonal attention"""
    report_to: Words = ()
    """``tensorboard`` or another of transformers' reports; they lie in ``cache/reports/<member>/fold-<k>``"""


class AdapterSettings(Section):
    """What is trained: low-rank adapters, everything, or the head alone."""

    kind: Literal["lora", "full", "frozen"] = "lora"
    r: Count = 16
    alpha: Positive = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rslora: bool = False
    dora: bool = False
    target: Literal["linear", "attention"] = "linear"
    """every linear layer of the base, or those of attention only"""
    first_layer: Annotated[int, Field(ge=0)] = 0
    """layers below it get no adapter, stay frozen and are not stored for backward"""
    also: Annotated[
        tuple[Literal["embeddings", "norms"], ...],
        BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v),
    ] = ()
    """parts of the base trained in full beside the adapters"""
    quantise: Literal["none", "4bit", "8bit"] = "none"


class SoftSettings(Section):
    """Learning from a teacher's out-of-fold probabilities beside the votes."""

    teacher: str = ""
    """a member's name, or a predictions file; empty is none"""
    temperature: Positive = 1.0
    weight: Share = 0.5
    """share of the loss that is the teacher's; the rest is the votes'"""


class GenerateSettings(Section):
    """What only the generation head knows."""

    calibration: Literal["none", "contextual", "batch"] = "none"
    """for ``epochs = 0``: remove the verdict words' own bias, estimated on training folds only"""


class TinySettings(Section):
    """Shape of ``tiny:encoder`` and ``tiny:decoder``; their weights start random."""

    hidden: Count = 64
    layers: Count = 2
    heads: Count = 2
    vocabulary: Annotated[int, Field(ge=300)] = 2048
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class LexicalSettings(Section):
    """The member without a GPU: TF-IDF of each response, their difference, length and formatting."""

    word_ngram_max: Annotated[int, Field(ge=1, le=2)] = 2
    """1: words; 2: words and pairs of neighbours"""
    max_features: Count = 20_000
    """words and pairs kept, the most frequent first"""
    min_count: Count = 3
    """responses that a word or a pair must occur in"""
    length: bool = True
    """length and formatting features of both sides beside the words"""
    interactions: Annotated[int, Field(ge=0, le=4096)] = 512
    """random Fourier features over the latter; 0 is none"""
    C: Positive = 1.0
    """how freely coefficients move; inner folds choose among a quarter, one and four times this"""
    inner_folds: Annotated[int, Field(ge=0)] = 3
    """grouped folds inside the training rows; under 2, ``C`` is taken as it is"""


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
    soft: SoftSettings = SoftSettings()
    generate: GenerateSettings = GenerateSettings()
    tiny: TinySettings = TinySettings()
    lexical: LexicalSettings = LexicalSettings()

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
        if self.train.epochs == 0 and not head.zero_shot:
            able = ", ".join(repr(name) for name, other in HEADS.items() if other.zero_shot)
            raise ValueError(f"train.epochs = 0 (zero-shot) is for backbone {able} only")
        if self.generate.calibration != "none" and self.train.epochs:
            raise ValueError("generate.calibration is for zero-shot members (train.epochs = 0)")
        if self.adapter.quantise != "none" and self.adapter.kind == "full":
            raise ValueError("adapter.kind = 'full' cannot train quantised weights; use 'lora'")
        return self

    @property
    def is_tiny(self) -> bool:
        """Whether the base is built on the spot."""
        return self.base.startswith("tiny:")

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

    def settings(self) -> dict[str, Any]:
        """Every resolved setting except the description, as plain JSON values."""
        values: dict[str, Any] = self.model_dump(mode="json")
        del values["description"]
        return values

    def digest(self) -> str:
        """SHA-256 over :meth:`settings` as canonical JSON."""
        return _digest(self.settings())

    def fit_digest(self) -> str:
        """The same without what changes prediction only (which orders are read), and `machine_settings`.

        Where a base lies is not what it is: the fold's own record of its content is its identity. A tiny base
        is its name and shape.
        """
        values = {key: value for key, value in self.settings().items() if key not in _PREDICTION_ONLY}
        for name in self.machine_settings:
            section, key = name.split(".")
            del values[section][key]
        if not self.is_tiny:
            del values["base"], values["revision"]
        return _digest(values)


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
