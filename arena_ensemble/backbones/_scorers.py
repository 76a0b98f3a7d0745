"""From token ids to three logits per battle: the classification, generation and reward heads.

A scorer takes a dictionary of tensors (``input_ids``, ``last``, and where needed ``attention_mask``,
``token_type_ids``, ``position_ids``) and returns float32 logits (battles, 3), columns A, B, TIE.
Only the last real position of each row meets a decoder's head, and only three rows of a language
model's output layer are multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn

from ..errors import RecipeError

Batch = Mapping[str, torch.Tensor]
_SELF_CHECK_TOLERANCE: Final = 1e-3


class Scorer(nn.Module):
    """A base and its head. ``sequences`` is how many rows of ids one battle takes."""

    sequences = 1

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        config: Any = model.config
        self.segment_ids: list[int] | None = getattr(config, "segment_ids", None)
        self.body: list[nn.Module] = [_body(model)]  # in a list: registered once, inside ``model``
        self.causal = is_causal(model)
        if self.causal:
            # No mask is passed and the last token is pooled here, so nothing may look for pad ids: a
            # pad token equal to eos would hide the true last token.
            config.pad_token_id = None

    def last_hidden(self, batch: Batch) -> torch.Tensor:
        """(rows, hidden) of each row's last real token."""
        inputs = {k: v for k, v in batch.items() if k != "last"}
        hidden = self.body[0](**inputs).last_hidden_state
        last: torch.Tensor = hidden[torch.arange(len(hidden), device=hidden.device), batch["last"]]
        return last

    def forward(self, batch: Batch) -> torch.Tensor:
        raise NotImplementedError


def _body(model: nn.Module) -> nn.Module:
    """The model without its head."""
    prefix = str(getattr(model, "base_model_prefix", "model"))
    body = getattr(model, prefix, None)
    if not isinstance(body, nn.Module):
        raise RecipeError(f"{type(model).__name__}: no body named {prefix!r} below the head")
    return body


def is_causal(model: nn.Module) -> bool:
    """Whether a token sees only what stands before it.

    Then padding on the right is invisible to every real token, so no mask is needed at all and the
    fused causal kernels apply.
    """
    return hasattr(model, "score") or getattr(model, "lm_head", None) is not None


class ClassifyScorer(Scorer):
    """Three labels. A decoder is pooled at its last real token; an encoder by its own head."""

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (rows, 3)."""
        if self.causal:
            pooled = self.last_hidden(batch)
            return _exact(self.model.score, pooled)
        inputs = {k: v for k, v in batch.items() if k != "last"}
        logits: torch.Tensor = self.model(**inputs).logits
        return logits.float()


def _exact(head: Any, hidden: torch.Tensor) -> torch.Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        logits: torch.Tensor = head(hidden.float())
    return logits


class GenerateScorer(Scorer):
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

    def __init__(self, model: nn.Module, verdicts: Sequence[int], *, own_rows: bool = False) -> None:
        super().__init__(model)
        output: Any = model.get_output_embeddings()  # type: ignore[operator]
        if not isinstance(getattr(output, "weight", None), torch.Tensor):
            raise RecipeError(f"{type(model).__name__} has no output layer whose rows could be read")
        self.output: list[Any] = [output]
        self.register_buffer("verdicts", torch.tensor(list(verdicts)), persistent=False)
        config: Any = model.config
        self.cap = getattr(config, "final_logit_softcapping", None)
        # Cohere multiplies its logits, Granite divides them
        self.scale = float(getattr(config, "logit_scale", None) or 1.0)
        self.scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        self.rows: nn.Parameter | None = None
        if own_rows:
            self.rows = nn.Parameter(output.weight[list(verdicts)].detach().float().clone())

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (rows, 3), equal to those columns of the full output layer."""
        return self.from_hidden(self.last_hidden(batch))

    def from_hidden(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (rows, 3) from the last hidden state (rows, hidden)."""
        output, ids = self.output[0], self.verdicts
        rows = self.rows if self.rows is not None else output.weight[ids]
        with torch.autocast(hidden.device.type, enabled=False):
            logits = hidden.float() @ rows.float().T
            if getattr(output, "bias", None) is not None:
                logits = logits + output.bias[ids].float()
            logits = logits * self.scale
            if self.cap:
                logits = torch.tanh(logits / self.cap) * self.cap
        return logits

    @torch.inference_mode()
    def self_check(self, batch: Batch) -> float:
        """Compare with the model's own full-vocabulary logits on one batch.

        Returns the probability mass that lies outside the verdict tokens, mean over rows.

        Raises
        ------
        RecipeError
            The model's output layer is more than a matrix, a bias, a scale and a soft-cap.
        """
        inputs = {k: v for k, v in batch.items() if k != "last"}
        hidden = self.last_hidden(batch)
        full = self.model(**inputs, logits_to_keep=0).logits
        full = full[torch.arange(len(full), device=full.device), batch["last"]].float()
        own = self.from_hidden(hidden)
        away = float((full[:, self.verdicts] - own).abs().max())
        if not away <= _SELF_CHECK_TOLERANCE * (1 + float(own.abs().max())) + _rounding(full, hidden):
            raise RecipeError(
                f"{type(self.model).__name__}: its output layer differs from the sliced one by {away:.2g}; "
                "this architecture is not supported by the generation head, use backbone = 'classify'"
            )
        kept = torch.logsumexp(full[:, self.verdicts], -1) - torch.logsumexp(full, -1)
        return float(1 - kept.exp().mean())


def _rounding(full: torch.Tensor, hidden: torch.Tensor) -> float:
    """What 16-bit arithmetic may differ by at these magnitudes; nothing in float32."""
    return 0.0 if hidden.dtype is torch.float32 else 0.05 * float(full.abs().max())


class RewardScorer(Scorer):
    """Each response scored on its own: ``delta = s(A) - s(B)``, ``tau = b + t(A) + t(B)``.

    Exchanging the responses negates delta and leaves tau alone, whatever the weights are. The batch
    holds all first responses, then all second ones.
    """

    sequences = 2

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.tie_bias = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (battles, 3): ``[delta/2, -delta/2, tau]``."""
        if self.causal:
            score = _exact(self.model.score, self.last_hidden(batch))
        else:
            score = self.model(**{k: v for k, v in batch.items() if k != "last"}).logits.float()
        first, second = score.chunk(2)
        half = (first[:, 0] - second[:, 0]) / 2
        tau = self.tie_bias + first[:, 1] + second[:, 1]
        return torch.stack([half, -half, tau], dim=1)
