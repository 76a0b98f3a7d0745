"""The tables of a recipe: every setting of a part of a member, with its default."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_serializer, model_validator

from .template import Template

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
    """passes over the training rows; 0 trains nothing: zero-shot (generation head), a reward model
    or ``start`` as it is"""
    start: str = ""
    """weights to start from: ``member:NAME`` (fold k from its fold k), or a folder beside the recipe:
    a PEFT adapter, a fitted fold, or ``fold-0``, ``fold-1``, … of either; empty is the base alone"""
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
    window: Count = 32
    """optimizer steps per shuffled window, inside which rows are sorted by length"""
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    """whether backward computes layers again instead of keeping them; ``auto``: where memory is short"""
    optimizer: Literal["adamw", "adamw-8bit", "adamw-paged-8bit", "adamw-kahan"] = "adamw"
    """how AdamW keeps its moments: float32; 8 bits, paged or not; or for bfloat16 weights (full training)"""
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
    kernels: Literal["auto", "plain", "liger"] = "auto"
    """norms and feed-forward blocks by liger-kernel; ``auto``: on a GPU, where it is installed"""
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


class HeadSettings(Section):
    """The classification or reward head's own shape: linear unless ``hidden`` is set."""

    hidden: Annotated[int, Field(ge=0)] = 0
    """units of a layer between the base's vector and the outputs; 0 is none"""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of the vector, and of these units, that is left out of a training step"""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.dropout and not self.hidden:
            raise ValueError("head.dropout is for a head with a layer between; set head.hidden")
        return self


class PredictSettings(Section):
    """How a trained model predicts, on whichever machine: no part of what was learned.

    Where it then runs otherwise than it was trained, the difference is measured on rows that the fold keeps.
    """

    precision: Literal["trained", "auto", "fp32", "bf16", "fp16"] = "trained"
    """``trained`` is what ``train.precision`` says, so that ``auto`` there is chosen anew by the card"""
    attention: Literal["trained", "auto", "sdpa", "eager", "flex_attention", "flash_attention_2"] = "trained"
    quantise: Literal["trained", "none", "4bit", "8bit"] = "trained"
    """``trained`` is what ``adapter.quantise`` says"""
    merge: bool | Literal["auto"] = False
    """low-rank adapters added to a base of 16 bits, which spares their products and rounds them; ``auto``: by
    each fold for itself, where the rows that it keeps allow it. In float32 they are always added"""
    tokens: Count = 16384
    """tokens per batch, padding included"""
    tolerance: NonNegative = 0.005
    """mean Kullback-Leibler divergence, in nats, up to which such a difference is accepted"""
    check_rows: Annotated[int, Field(ge=0, le=4096)] = 64
    """battles that a fold keeps for that measurement when it is trained, texts included; 0 keeps none"""


class SoftSettings(Section):
    """Learning from a teacher's out-of-fold probabilities beside the votes."""

    teacher: str = ""
    """a member's name, or a predictions file; empty is none"""
    teachers: Words = ()
    """several of them, in place of ``teacher``: their probabilities are averaged"""
    teacher_weights: Annotated[
        tuple[Positive, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)
    ] = ()
    """how much each of ``teachers`` counts, in any unit; empty counts all alike"""
    temperature: Positive = 1.0
    weight: Share = 0.5
    """share of the loss that is the teachers'; the rest is the votes'"""
    loss: Literal["kl", "kl+cosine"] = "kl"
    """what is asked of the pupil beside the teachers' probabilities: their divergence, and 1 - cosine"""

    @property
    def names(self) -> tuple[str, ...]:
        """Every teacher."""
        return (self.teacher,) if self.teacher else self.teachers

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.teacher and self.teachers:
            raise ValueError("give soft.teacher or soft.teachers, not both")
        if self.teacher_weights and len(self.teacher_weights) != len(self.teachers):
            raise ValueError(
                f"soft.teacher_weights has {len(self.teacher_weights)} numbers and soft.teachers "
                f"{len(self.teachers)} names; give one each"
            )
        if len(set(self.names)) < len(self.names):
            raise ValueError("soft.teachers names one teacher twice; use soft.teacher_weights")
        return self


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


class MachineSettings(Section):
    """What one fold asks of the machines that it runs on: no part of what is learned, nor of any digest."""

    cpus: Count = 1
    """cores of a task where a cluster places it (``--executor ray``); its threads are as many"""
    gpus: Annotated[int, Field(ge=0)] = 1
    """cards of a task there, for heads with a base where the cluster has cards"""
    memory_gib: NonNegative = 0.0
    """memory of a task there; 0 is by the size of the base"""
    processes: Count = 1
    """processes, with a card each where there are cards, that one fold's model is spread over"""


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
