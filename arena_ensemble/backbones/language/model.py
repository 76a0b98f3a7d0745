"""A language model with its head: log-probabilities and features of encoded battles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...calibration import Symmetric
from ...errors import ArenaError
from ...predictions import Floats, normalised
from ..base import Progress
from . import adapters, loading, spread
from .encoder import PromptEncoder
from .heads import HeadModel
from .hidden_cache import Vectors, with_features
from .inference import compute_features, predict_logits
from .out_of_memory import TokenBudget
from .sequences import TokenSequences


@dataclass(eq=False)
class MemberModel:
    """A base with its head and adapters, on its device, and the encoder of its prompts."""

    encoder: PromptEncoder
    head_model: HeadModel
    policy: loading.Policy
    head_parameters: list[str] = field(default_factory=list)
    """names of the head's own parameters in ``head_model``"""
    facts: dict[str, Any] = field(default_factory=dict)
    """plain JSON values for the card"""
    hidden: Path | None = None
    """where a frozen base's vectors are kept, or None when the base runs every time"""
    shift: Floats | None = None
    """(3,) subtracted from the log-probabilities: zero-shot calibration"""

    margin: Symmetric | None = None
    """of a reward model that is not trained: how sharp its margin is, and how common ties are"""
    sharpness: float = 1.0
    """of an average of folds: all log-probabilities are multiplied by it"""
    running: dict[str, str] = field(default_factory=dict)
    """device, dtype, attention and quantise of this model, to be held against those of its training;
    ``adapters`` where they are merged in 16 bits"""
    budget: TokenBudget | None = None
    """tokens of a batch of prediction, once something was predicted"""

    before_merge: Callable[[], None] | None = None
    """called before adapters are merged, where the base is wanted again"""

    def log_probs(self, sequences: TokenSequences, on_progress: Progress | None = None) -> Floats:
        """Log-probabilities (n, 3) of examples, in their order.

        Raises
        ------
        ArenaError
            A logit is NaN or infinite.
        """
        recipe = self.encoder.recipe
        logits = predict_logits(
            self.head_model,
            self.from_frozen(sequences, on_progress),
            policy=self.policy,
            pad_id=self.encoder.pad_id,
            batch_tokens=self._budget(),
            on_progress=on_progress,
            packed=recipe.train.packing,
        )
        if not np.isfinite(logits).all():
            row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
            raise ArenaError(f"row {row + 1}: the model's logits are NaN or infinite; try precision = 'fp32'")
        log_probs = normalised(logits)
        if self.margin is not None:
            log_probs = self.margin.apply(log_probs)
        if self.shift is not None:
            log_probs = normalised(log_probs - self.shift)
        return log_probs if self.sharpness == 1 else normalised(self.sharpness * log_probs)

    def features(self, sequences: TokenSequences, on_progress: Progress | None = None) -> Vectors:
        """The base's vectors (n, hidden) of examples of one sequence each."""
        return compute_features(
            self.head_model,
            sequences,
            policy=self.policy,
            pad_id=self.encoder.pad_id,
            batch_tokens=self._budget(),
            on_progress=on_progress,
        )

    def _budget(self) -> TokenBudget:
        if self.budget is None:
            recipe = self.encoder.recipe
            tokens = self.policy.micro_batch(recipe.predict.tokens)
            self.budget = TokenBudget(tokens, f"prediction of {recipe.name or 'a member'}")
        return self.budget

    def from_frozen(self, sequences: TokenSequences, on_progress: Progress | None = None) -> TokenSequences:
        """Vectors instead of token ids where the base is frozen; else the examples unchanged."""
        if self.hidden is None:
            return sequences
        return with_features(sequences, self.hidden, lambda wanted: self.features(wanted, on_progress))

    def ready(self, *, rounded: bool = False) -> MemberModel:
        """The same, ready to predict: evaluation mode, adapters merged in float32.

        ``rounded``: in a base of 16 bits too, which rounds their sum with the weights; noted in `running`.
        """
        recipe = self.encoder.recipe
        self.head_model.eval()
        wanted = (rounded or not self.policy.autocast) and not spread.inside()
        if recipe.has_weights and recipe.adapter.kind == "lora" and wanted:
            if self.before_merge is not None:
                self.before_merge()
            adapters.merge_adapters(self.head_model)
            if self.policy.autocast:
                self.running = {**self.running, "adapters": f"merged in {self.running['dtype']}"}
        return self
