"""From token ids to three logits per battle: the classification, generation and reward heads.

A head model takes a dictionary of tensors (``input_ids``, ``last``, and where needed ``attention_mask``,
``token_type_ids``, ``position_ids``) and returns float32 logits (battles, 3), columns A, B, TIE.
Only the last real position of each row meets a decoder's head, and only three rows of a language
model's output layer are multiplied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from ...errors import RecipeError
from .speedups.last_layer import ReadPositions, patch_last_layer
from .text_decoder import reads_both_ways, text_config, text_decoder

Batch = Mapping[str, torch.Tensor]
_CAPS: Final = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""What configurations call the soft-cap on logits: Gemma, RecurrentGemma, xLSTM."""
_EXACT: Final = 1e-3
_ROUNDED: Final = 0.05
"""Tolerated difference of sliced and full logits, relative to the largest, in float32 and in 16 bits."""


class HeadModel(nn.Module):
    """A base and its head: ``features`` are the base's vectors of the rows, ``logits`` applies the head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        whole: Any = model.config
        config: Any = text_config(whole)
        self.segment_ids: list[int] | None = getattr(config, "segment_ids", None)
        self.body: list[nn.Module] = [
            text_decoder(model) if is_decoder(model) else _body(model)
        ]  # in a list: registered once, inside ``model``
        self.pools_last = is_decoder(model)
        self.causal = self.pools_last and not reads_both_ways(config)
        if self.pools_last and config is whole:
            # Where no mask is passed and the last token is pooled here, so nothing may look for pad ids: a
            # pad token equal to eos would hide the true last token.
            # A model that also sees puts its text's pad id where images stand, and pools nothing.
            with contextlib.suppress(StrictDataclassError):  # ModernBERT-decoder's takes no None
                config.pad_token_id = None
        self.positions: ReadPositions | None = None

    def patch_last_layer(self) -> None:
        """Compute the last layer only at the positions that the head reads, if the architecture is known."""
        self.positions = patch_last_layer(self.model, self.body[0])

    @property
    def head_name(self) -> str:
        """Name of the classification layer inside ``model``."""
        return "score" if self.pools_last else "classifier"

    def features(self, batch: Batch) -> torch.Tensor:
        """(rows, hidden): a decoder's last real token, or what meets an encoder's classifier."""
        inputs = {k: v for k, v in batch.items() if k not in ("last", "row")}
        row, last = batch.get("row"), batch["last"]
        if row is None:
            row = torch.arange(len(last), device=last.device)
        if self.positions is not None:
            self.positions.at = (row, last if self.pools_last else torch.zeros_like(last))
        if not self.pools_last:
            return self._before_classifier(inputs)
        hidden: torch.Tensor = self.body[0](**inputs).last_hidden_state
        return hidden[row, last]

    def _before_classifier(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        head = self.model.get_submodule(self.head_name)
        hook = head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        try:
            self.model(**inputs)
        finally:
            hook.remove()
        found = seen[0]
        late = getattr(self.model.config, "classifier_pooling", None) == "late"
        if late and isinstance(head, nn.Linear):  # EuroBERT takes the mean of all tokens' logits
            mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))[..., None]
            found = (found * mask).sum(dim=1) / mask.sum(dim=1)
        return found

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (battles, 3) from features (rows, hidden)."""
        raise NotImplementedError

    def head_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs (rows, labels) of the classification layer, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            logits: torch.Tensor = self.model.get_submodule(self.head_name)(features.float())
        return logits

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (battles, 3), float32; computed from ``features`` where the batch holds them."""
        features = batch.get("features")
        return self.logits(self.features(batch) if features is None else features)


def _body(model: nn.Module) -> nn.Module:
    """The model without its head."""
    prefix = str(getattr(model, "base_model_prefix", "model"))
    body = getattr(model, prefix, None)
    if not isinstance(body, nn.Module):
        raise RecipeError(f"{type(model).__name__}: no body named {prefix!r} below the head")
    return body


def is_decoder(model: nn.Module) -> bool:
    """Whether the head reads the last token.

    In nearly all such models a token sees only what stands before it (``causal``). Then padding on the
    right is invisible to every real token, so no mask is needed and the fused causal kernels apply.
    """
    if hasattr(model, "score") or getattr(model, "lm_head", None) is not None:
        return True
    return getattr(model, "language_model", None) is not None


class ClassificationHeadModel(HeadModel):
    """Three labels. A decoder is pooled at its last real token; an encoder by its own head."""

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (rows, 3)."""
        return self.head_logits(features)


class GenerationHeadModel(HeadModel):
    """The next token's distribution over the three verdict tokens.

    Parameters
    ----------
    model
        A causal language model.
    verdicts
        Ids of the tokens for A, B, tie.
    own_rows
        Whether the three rows of the output layer are copied and trained (a frozen base).
    """

    verdicts: torch.Tensor

    def __init__(self, model: nn.Module, verdicts: Sequence[int], *, own_rows: bool = False) -> None:
        super().__init__(model)
        output: Any = model.get_output_embeddings()  # type: ignore[operator]
        if not isinstance(getattr(output, "weight", None), torch.Tensor):
            raise RecipeError(f"{type(model).__name__} has no output layer whose rows could be read")
        self.output: list[Any] = [output]
        self.register_buffer("verdicts", torch.tensor(list(verdicts)), persistent=False)
        config: Any = text_config(model.config)
        self.cap = next((cap for name in _CAPS if (cap := getattr(config, name, None))), None)
        # Cohere multiplies its logits, Granite divides them
        self.scale = float(getattr(config, "logit_scale", None) or 1.0)
        self.scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        self.rows: nn.Parameter | None = None
        if own_rows:
            self.rows = nn.Parameter(output.weight[list(verdicts)].detach().float().clone())

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (rows, 3), equal to those columns of the full output layer."""
        output, ids = self.output[0], self.verdicts
        rows = self.rows if self.rows is not None else output.weight[ids]
        with torch.autocast(features.device.type, enabled=False):
            bias = None if getattr(output, "bias", None) is None else output.bias[ids].float()
            return self._scaled(features.float() @ rows.float().T, bias)

    def _scaled(self, logits: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        logits = (logits if bias is None else logits + bias) * self.scale
        return torch.tanh(logits / self.cap) * self.cap if self.cap else logits

    @torch.no_grad()
    def mass_outside(self, features: torch.Tensor) -> torch.Tensor:
        """Probability (rows,) that the base gives to any token but the verdicts."""
        output = self.output[0]
        with torch.autocast(features.device.type, enabled=False):
            # in the weights' own type: a float32 copy of 256,000 rows would not fit beside a large base
            every = (features.to(output.weight.dtype) @ output.weight.T).float()
            every = self._scaled(every, getattr(output, "bias", None))
            kept = torch.logsumexp(every[:, self.verdicts], -1) - torch.logsumexp(every, -1)
        return 1 - kept.exp()

    @torch.no_grad()
    def check(self, batch: Batch) -> None:
        """Compare with the model's own full-vocabulary logits on one row.

        Raises
        ------
        RecipeError
            The model's output layer is more than a matrix, a bias, a scale and a soft-cap.
        """
        inputs = {k: v for k, v in batch.items() if k not in ("last", "row")}
        with self.positions.whole() if self.positions else contextlib.nullcontext():
            full = self.model(**inputs, logits_to_keep=1).logits[:, -1].float()
        features = self.features(batch)
        own = self.logits(features)
        away = float((full[:, self.verdicts] - own).abs().max())
        exact = {features.dtype, self.output[0].weight.dtype} == {torch.float32}
        exact &= not torch.is_autocast_enabled(features.device.type)
        allowed = _EXACT if exact else _ROUNDED
        if not away <= allowed * max(1.0, float(full.abs().max())):
            raise RecipeError(
                f"{type(self.model).__name__}: its output layer differs from the sliced one by {away:.2g}; "
                "this architecture does not suit the generation head, use backbone = 'classify'"
            )


class RewardHeadModel(HeadModel):
    """Each response scored on its own: ``delta = s(A) - s(B)``, ``tau = b + t(A) + t(B)``.

    Exchanging the responses negates delta and leaves tau alone, whatever the weights are. The batch
    holds all first responses, then all second ones.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.tie_bias = nn.Parameter(torch.zeros(()))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (battles, 3): ``[delta/2, -delta/2, tau]``."""
        first, second = self.head_logits(features).chunk(2)
        half = (first[:, 0] - second[:, 0]) / 2
        tau = self.tie_bias + first[:, 1] + second[:, 1]
        return torch.stack([half, -half, tau], dim=1)
