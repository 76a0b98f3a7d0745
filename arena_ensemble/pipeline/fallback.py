"""What to predict with while not all members are there: small pools, fitted in a second and kept in JSON.

The stacker needs every member, and fitting another needs the votes. So for sets of members a geometric pool
is kept beside it: non-negative weights of least out-of-fold log-loss (their sum is the pool's sharpness), few
numbers that have little to overfit. Up to six members every set has one; with more, each member alone, all
but one, and all. Of the pools whose members are all there, the one of least log-loss predicts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ArtifactError
from ..losses import finite
from ..metrics import log_loss
from ..predictions import Floats, Predictions, from_delta_tau
from ..stacking import make_design
from ..stacking.design import has_ties
from ..stacking.pool_weights import geometric_weights

ALL_SETS: Final = 6
"""Members up to which every set of them has its pool: 63 fits."""
_PULL_ROWS: Final = 1.0

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Pool(_Model):
    """A geometric pool of some members: a weight each, and its out-of-fold log-loss where it was fitted."""

    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    log_loss: Finite
    ties: bool = True
    """False where no tie can be voted"""

    def log_probs(self, members: Mapping[str, Predictions]) -> Floats:
        """Natural-log probabilities (n, 3) from predictions of the same rows, of these members and others."""
        design = make_design({name: members[name] for name in self.weights}, None, ties=self.ties)
        weights = np.array([self.weights[name] for name in design.members])
        return from_delta_tau(design.delta @ weights, design.tau @ weights)


class Fallback(_Model):
    """The shares of the outcomes among the votes, and the pools of members."""

    shares: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]
    pools: list[Pool]

    def prior(self, rows: int) -> Floats:
        """(rows, 3) natural-log probabilities: how often each outcome was voted, for every row."""
        with np.errstate(divide="ignore"):  # a class that cannot be voted
            one = np.log(np.array([self.shares]))
        return np.tile(finite(one), (rows, 1))

    def best(self, members: Sequence[str]) -> Pool | None:
        """Of the pools whose members are all among these, the one of least log-loss; None: there is none."""
        there = set(members)
        return min(
            (pool for pool in self.pools if pool.weights.keys() <= there),
            key=lambda pool: (pool.log_loss, -len(pool.weights), list(pool.weights)),
            default=None,
        )

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps(self.model_dump(), sort_keys=True).encode()

    @classmethod
    def restore(cls, content: bytes) -> Self:
        """What :meth:`dump` wrote.

        Raises
        ------
        ArtifactError
            It is something else.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise ArtifactError(
                f"the ensemble's fallback is not as written ({error.error_count()} errors); run stack again"
            ) from None


def outcome_shares(y: npt.NDArray[np.int64], n_classes: int = 3) -> list[float]:
    """Shares (3,) of the outcomes, one row added to each that can be voted."""
    counts = np.bincount(y, minlength=3)[:3].astype(np.float64)
    counts[:n_classes] += 1
    return [float(share) for share in counts / counts.sum()]


def fit_pool(members: Mapping[str, Predictions], y: npt.NDArray[np.int64]) -> Pool:
    """The geometric pool of all these members' out-of-fold predictions, in the order of ``y`` (n,)."""
    ties = has_ties(members, y)
    design = make_design(members, None, n=len(y), ties=ties)
    weights = geometric_weights(design.delta, design.tau, y, penalty=_PULL_ROWS / len(y))
    fitted = from_delta_tau(design.delta @ weights, design.tau @ weights)
    return Pool(
        weights=dict(zip(design.members, map(float, weights), strict=True)),
        log_loss=log_loss(fitted, y),
        ties=ties,
    )


def fit_fallback(
    members: Mapping[str, Predictions], y: npt.NDArray[np.int64], *, n_classes: int = 3
) -> Fallback:
    """The pools of the sets of members that are kept, from out-of-fold predictions in the order of ``y``."""
    return Fallback(
        shares=outcome_shares(y, n_classes),
        pools=[fit_pool({name: members[name] for name in chosen}, y) for chosen in _sets(sorted(members))],
    )


def _sets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    sizes = set(range(1, len(names) + 1)) if len(names) <= ALL_SETS else {1, len(names) - 1, len(names)}
    for size in sorted(sizes):
        yield from itertools.combinations(names, size)
