"""Where a base comes from, and in which precision and attention it runs on this device."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from ...errors import DependencyError, RecipeError
from . import gguf_base, hub, spread, unsloth_loader
from .attention import card_here, choose_attention, expand_shared_heads, needs_expanding, next_attention
from .base_folder import check_base_folder
from .hidden_head import put_hidden_layer
from .notices import quiet
from .optimizers import keeps_bf16
from .precision import precision_on_gpu
from .text_decoder import DecoderClassifier, auto_class, text_config, text_decoder

if TYPE_CHECKING:  # any object with the same fields will do
    from ...recipes import Recipe

_log = logging.getLogger(__name__)
_CPU_TOKENS: Final = 2048
_BLOCK: Final = 64
"""weights that share a scale in 4 bits"""


@dataclass(frozen=True)
class Policy:
    """Device, storage type of the frozen weights, computing type, attention."""

    device: torch.device
    dtype: torch.dtype
    attention: str | None
    """None leaves the choice to transformers (scaled dot product where the model supports it)"""
    expand: bool = False
    """whether keys and values that heads share are repeated before PyTorch's attention"""

    @property
    def autocast(self) -> bool:
        """Whether forward passes run under autocast (trained weights stay float32)."""
        return self.dtype is not torch.float32

    @property
    def scaled(self) -> bool:
        """Whether gradients need a scaler (float16 alone)."""
        return self.dtype is torch.float16

    @property
    def home(self) -> torch.device:
        """Where a model is put together: in a group of processes in main memory, whence its shards move."""
        return torch.device("cpu") if spread.inside() else self.device

    def micro_batch(self, tokens: int) -> int:
        """Tokens of one micro-batch where a recipe allows ``tokens``: on a CPU few, which its caches hold.

        A step's gradient does not depend on how it is cut, so only the speed does.
        """
        return min(tokens, _CPU_TOKENS) if self.device.type == "cpu" else tokens

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """The autocast context of one forward pass."""
        if not self.autocast:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def choose_policy(recipe: Recipe, config: Any) -> Policy:
    """fp32 on a CPU, bf16 where it is native, fp16 on older cards (fp32 for models that overflow it).

    Attention as :func:`.attention.choose_attention` says, expanded where the card's fused kernels need it.
    """
    precision = recipe.train.precision
    card = card_here()
    cuda = card.capability is not None
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    if precision == "auto":
        native = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = precision_on_gpu(config, bf16=native) if cuda else "fp32"
    if precision == "fp16" and not cuda:
        raise RecipeError("precision = 'fp16' needs a GPU; use 'auto', 'fp32' or 'bf16' on a CPU")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    chosen = choose_attention(recipe.train.attention, config, dtype, card)
    return Policy(device, dtype, chosen, needs_expanding(dtype, card))


@dataclass(frozen=True)
class Source:
    """Where transformers reads a base from: a folder, or a hub id and its revision."""

    name: str
    revision: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What every ``from_pretrained`` gets. Code that travels with a checkpoint never runs."""
        options: dict[str, Any] = {"trust_remote_code": False}
        if self.revision:
            options["revision"] = self.revision
        return options


def named_source(recipe: Recipe) -> Source:
    """The base of a recipe that is not tiny, as the recipe writes it: nothing is fetched."""
    folder = recipe.base_path()
    if folder is not None:
        check_base_folder(folder, member=recipe.name, base=recipe.base)
        return Source(str(folder))
    return Source(recipe.base, recipe.revision or None)


def source_of(recipe: Recipe, cache: Path) -> Source:
    """The base of a recipe that is not tiny, as a folder: a hub id is its snapshot, fetched if need be.

    One in GGUF is dequantised into ``cache`` at the first call.

    Raises
    ------
    RecipeError
        The folder holds no model, or the hub id is neither in the hub's cache nor within reach.
    """
    file = gguf_base.gguf_of(recipe)
    if file is not None:
        return Source(str(gguf_base.dequantised(file, cache)))
    source = named_source(recipe)
    if Path(source.name).is_dir():
        return source
    return Source(str(hub.snapshot(recipe.name, source.name, source.revision)))


def trains_bf16(recipe: Recipe, policy: Policy) -> bool:
    """Whether full fine-tuning keeps its weights in bfloat16, as :func:`.optimizers.keeps_bf16` has it."""
    return keeps_bf16(recipe.train.optimizer, recipe.adapter.kind, policy.dtype)


@contextlib.contextmanager
def _reraise_load_errors(source: Source, what: str) -> Iterator[None]:
    """Read a part of a base; transformers' errors as one line that says what to do."""
    try:
        with quiet():
            yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RecipeError(
            f"base {source.name!r}: cannot load its {what}: {lines[0]} "
            "(give a folder with config.json, tokenizer and safetensors, or a hub id within reach)"
        ) from error


def load_config(source: Source) -> Any:
    """The base's configuration."""
    from transformers import AutoConfig

    with _reraise_load_errors(source, "configuration"):
        return AutoConfig.from_pretrained(source.name, **source.options)


def load_tokenizer(source: Source) -> Any:
    """The base's tokenizer."""
    from transformers import AutoTokenizer

    with _reraise_load_errors(source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(source.name, **source.options)
    tokenizer.model_max_length = 10**9  # texts are cut by us, after they are counted
    return tokenizer


def load_model(
    source: Source, recipe: Recipe, policy: Policy, *, labels: int | None
) -> tuple[Any, frozenset[str]]:
    """A model with a classification head (``labels`` outputs) or a causal one (``labels`` None).

    Returns the model on its device, and the names of parameters that the checkpoint did not hold
    (the fresh head): exactly those must be trained and saved.
    """
    if recipe.loader == "unsloth":
        return unsloth_loader.load(source, recipe, policy, labels)
    # what is trained in float32 is not rounded on the way
    exact = recipe.adapter.kind == "full" and not trains_bf16(recipe, policy)
    options: dict[str, Any] = {**source.options, "dtype": torch.float32 if exact else policy.dtype}
    options |= {"output_loading_info": True, "use_safetensors": True}
    if policy.attention:
        options["attn_implementation"] = policy.attention
    if recipe.adapter.quantise != "none":
        options["quantization_config"] = _quantisation(recipe, policy)
        options["device_map"] = {"": policy.device}
    loader, own_head = auto_class(load_config(source), labels)
    if labels is not None and not own_head:
        options["num_labels"] = labels
        options["ignore_mismatched_sizes"] = True
    with _reraise_load_errors(source, "weights"):
        try:
            model, report = loader.from_pretrained(source.name, **options)
        except (ValueError, ImportError) as error:
            if recipe.train.attention != "auto" or policy.attention != "flash_attention_2":
                raise
            _log.info("flash attention is not used: %s", str(error).strip().splitlines()[0])
            config = load_config(source)
            options["attn_implementation"] = next_attention(config)
            model, report = loader.from_pretrained(source.name, **options)
    fresh = {*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])}
    if (labels is None or own_head) and fresh:
        raise RecipeError(f"base {source.name!r} lacks the weights {', '.join(sorted(fresh)[:3])}")
    if labels is not None and own_head:
        model, fresh = DecoderClassifier(model, labels), {"score.weight"}
    if labels is not None and (hidden := put_hidden_layer(model, recipe.head)):
        name = next(iter(hidden)).partition(".")[0]
        fresh = {key for key in fresh if key.partition(".")[0] != name} | hidden
    if recipe.adapter.quantise == "none":
        model = model.to(policy.home)
    elif recipe.adapter.quantise == "4bit" and policy.device.type == "cpu":
        _refuse_odd_widths(model, source)
        _keep_trainable(model)
    text_config(model.config).use_cache = False
    if policy.expand:
        expand_shared_heads(text_decoder(model))
    return model, frozenset(fresh)


def recompute_activations(model: Any) -> None:
    """Gradient checkpointing. Not reentrant: layers below the lowest adapter keep no graph at all, so
    they are neither stored nor computed again."""
    # the newer name came during transformers 5; the older one warns there
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    names = inspect.signature(enable).parameters
    [name] = [name for name in names if name.endswith("checkpointing_kwargs")]
    enable(**{name: {"use_reentrant": False}})


def recomputes(model: Any) -> bool:
    """Whether gradient checkpointing is on."""
    return any(getattr(part, "gradient_checkpointing", False) for part in model.modules())


def _refuse_odd_widths(model: Any, source: Source) -> None:
    """bitsandbytes 0.50 has 4-bit products on a CPU for inputs in whole blocks of 64 alone."""
    for name, part in model.named_modules():
        if type(part).__name__ == "Linear4bit" and part.in_features % _BLOCK:
            raise RecipeError(
                f"base {source.name!r}: {name} is {part.in_features} wide, and in 4 bits a CPU takes "
                f"multiples of {_BLOCK} alone; set adapter.quantise = '8bit' or 'none', or use a GPU"
            )


def _keep_trainable(model: Any) -> None:
    """On a CPU bitsandbytes 0.50 packs 4-bit weights at the first prediction, and no gradient passes then.

    A check before training, an evaluation in it or a fold that predicted on the same base would do that.
    """
    for part in model.modules():
        if type(part).__name__ == "Linear4bit":
            part.support_avx512bf16_for_cpu = False


def _quantisation(recipe: Recipe, policy: Policy) -> Any:
    """bitsandbytes settings; heads stay unquantised."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise DependencyError(
            f"adapter.quantise = {recipe.adapter.quantise!r} needs bitsandbytes: "
            "pip install 'arena-ensemble[quantised]'"
        )
    from transformers import BitsAndBytesConfig

    heads = ["score", "classifier", "pooler", "pooler.dense", "lm_head"]  # whole names or their ends
    if recipe.adapter.quantise == "8bit":
        # it tells of its cast to float16 at every product of every batch
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=heads)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=policy.dtype,
        llm_int8_skip_modules=heads,
    )
