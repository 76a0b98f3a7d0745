"""A published reward model as base: its one score starts our two outputs, or is the member as it is.

Such a checkpoint is a sequence classifier with one output s (Skywork-Reward and others on RewardBench),
trained so that ``P(A over B) = sigmoid(s(A) - s(B))`` (Bradley and Terry 1952). Our first output is that
score, our second, a response's share in a tie, starts at nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from ...battles import Battles
from ...calibration import Symmetric, fit_symmetric
from ...predictions import Floats
from .base_identity import weight_files

_log = logging.getLogger(__name__)
_ROWS: Final = 2048
"""Training rows on which a margin is calibrated: two numbers cost about 2 / (2 n) = .0005 of log-loss."""


def with_own_score(score: torch.Tensor, outputs: torch.Size) -> torch.Tensor | None:
    """The weight or bias of a head of one output as that of the reward head; None where it is no such thing.

    Parameters
    ----------
    score
        (1, hidden), or (1,) for a bias.
    outputs
        Shape of the reward head's parameter of that name.
    """
    if len(score) != 1 or score.shape[1:] != outputs[1:]:
        return None
    return torch.cat([score.float(), *[torch.zeros_like(score, dtype=torch.float32)] * (outputs[0] - 1)])


def take_score(model: nn.Module, base: Path, fresh: Collection[str]) -> bool:
    """Put the checkpoint's own score into the fresh head; whether it has one.

    Parameters
    ----------
    base
        The folder of the base.
    fresh
        Names of parameters that the checkpoint lacks or has in another shape.
    """
    from safetensors import safe_open

    found, wanted = dict[str, torch.Tensor](), dict(model.named_parameters())
    for path in weight_files(base) if fresh else []:
        with safe_open(str(path), framework="pt") as stored:
            for name in set(fresh) & set(stored.keys()) & wanted.keys():
                shape = stored.get_slice(name).get_shape()
                if shape and shape[0] == 1:
                    found[name] = stored.get_tensor(name)
    taken = []
    for name, tensor in found.items():
        own = with_own_score(tensor, wanted[name].shape)
        if own is not None:
            wanted[name].data = own.to(wanted[name].device)
            taken.append(name)
    if taken:
        _log.info("the base's own score (%s) starts the reward head", ", ".join(sorted(taken)))
    return any(name.endswith("weight") for name in taken)


def fit_margin(train: Battles, predict: Callable[[Battles], Floats], *, seed: int) -> Symmetric | None:
    """How sharp the margin s(A) - s(B) is and how common ties are, from at most 2,048 training rows.

    ``delta = a (s(A) - s(B))`` and ``tau = g``: Bradley-Terry with Davidson's ties (1970, JASA 65:317-328). A
    reward model's scale is its own, and it knows no ties. None where no row was voted.
    """
    voted = np.flatnonzero(train.frame["outcome"].is_not_null().to_numpy())
    if not len(voted):
        return None
    some = train.take(np.sort(np.random.default_rng(seed).permutation(voted)[:_ROWS]))
    return fit_symmetric(predict(some.without_outcomes()), some.outcomes())


def put_margin(head_model: nn.Module, margin: Symmetric, score: Collection[str]) -> None:
    """The same in the weights of a reward head whose second output is nothing.

    Parameters
    ----------
    score
        Names of the parameters whose first row is the score.
    """
    parameters = dict(head_model.named_parameters())
    with torch.no_grad():
        for name in score:
            parameters[name][0] *= margin.a
        parameters["tie_bias"].fill_(margin.g)
