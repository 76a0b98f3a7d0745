"""A swap-equivariant linear model over many columns: delta from odd ones, tau from even ones.

``delta = odd @ w`` and ``tau = even @ u + b``, p = softmax([delta/2, -delta/2, tau]); the loss is the
sum over rows plus ``(|w|² + |u|²) / 2``. How strongly a block of columns is held back is set by the
scale it comes in: columns of scale s have a prior standard deviation of s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize

from ...features import Features
from ...predictions import Floats, from_delta_tau

Matrix = Any
"""A scipy CSR matrix or a float64 array, (n, k)."""


@dataclass(frozen=True, eq=False)
class FeatureBlocks:
    """Blocks of columns over the same n rows, sparse or dense, each (n, k)."""

    odd: tuple[Matrix, ...]
    even: tuple[Matrix, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> FeatureBlocks:
        """The given rows."""
        return FeatureBlocks(tuple(m[rows] for m in self.odd), tuple(m[rows] for m in self.even))

    def scaled(self, scale: float) -> FeatureBlocks:
        """Every column times ``scale``: the prior standard deviation of all coefficients."""
        return FeatureBlocks(tuple(m * scale for m in self.odd), tuple(m * scale for m in self.even))

    def scale_in_place(self, scale: float) -> None:
        """As :meth:`scaled`, of these blocks themselves: they are most of the memory of a fit."""
        for block in (*self.odd, *self.even):
            values = block.data if sparse.issparse(block) else block
            values *= scale


def stacked(parts: Iterable[FeatureBlocks]) -> FeatureBlocks:
    """Blocks of some rows as blocks of all, one block after the other, so that one alone is there twice."""
    columns: list[list[Matrix]] = []
    width = 0
    for part in parts:
        width = len(part.odd)
        blocks = (*part.odd, *part.even)
        columns = columns or [[] for _ in blocks]
        for found, block in zip(columns, blocks, strict=True):
            found.append(block)
    whole: list[Matrix] = []
    while columns:
        found = columns.pop(0)
        sparse_ones = sparse.issparse(found[0])
        whole.append(sparse.vstack(found, format="csr") if sparse_ones else np.concatenate(found))
    return FeatureBlocks(tuple(whole[:width]), tuple(whole[width:]))


@dataclass(frozen=True, eq=False)
class Coefficients:
    """One vector for each block, and tau's intercept."""

    odd: tuple[Floats, ...]
    even: tuple[Floats, ...]
    intercept: float

    def times(self, factor: float) -> Coefficients:
        """The same with every coefficient but the intercept multiplied."""
        odd, even = tuple(v * factor for v in self.odd), tuple(v * factor for v in self.even)
        return Coefficients(odd, even, self.intercept)

    def log_probs(self, design: FeatureBlocks) -> Floats:
        """Log-probabilities (n, 3)."""
        delta = _product(design.odd, self.odd)
        return from_delta_tau(delta, _product(design.even, self.even) + self.intercept)


def _product(blocks: tuple[Matrix, ...], vectors: tuple[Floats, ...]) -> Floats:
    total = blocks[0] @ vectors[0]
    for block, vector in zip(blocks[1:], vectors[1:], strict=True):
        total = total + block @ vector
    return np.asarray(total, dtype=np.float64)


def fit(
    design: FeatureBlocks,
    target: Floats,
    *,
    weights: Floats | None = None,
    start: Coefficients | None = None,
    tolerance: float = 1e-7,
    max_steps: int = 300,
) -> Coefficients:
    """Minimise the penalised loss by L-BFGS; the problem is convex.

    Parameters
    ----------
    design
        n rows.
    target
        (n, 3) probabilities, one-hot for votes.
    weights
        (n,) weights of the rows, or None for ones.
    start
        Coefficients to start from.
    tolerance
        Relative decrease of the objective at which to stop.
    """
    sizes = [m.shape[1] for m in (*design.odd, *design.even)]
    cuts = np.cumsum(sizes)
    scale = np.ones(len(target)) if weights is None else np.asarray(weights, dtype=np.float64)
    turned = [m.T.tocsr() if sparse.issparse(m) else m.T for m in (*design.odd, *design.even)]
    n_odd = len(design.odd)

    def unpacked(theta: Floats) -> Coefficients:
        parts = tuple(np.split(theta[:-1], cuts[:-1]))
        return Coefficients(parts[:n_odd], parts[n_odd:], float(theta[-1]))

    def objective(theta: Floats) -> tuple[float, Floats]:
        log_probs = unpacked(theta).log_probs(design)
        loss = -float(np.sum(scale[:, None] * target * log_probs))
        miss = scale[:, None] * (np.exp(log_probs) * target.sum(axis=1, keepdims=True) - target)
        lean, tie = (miss[:, 0] - miss[:, 1]) / 2, miss[:, 2]
        slopes = [m @ (lean if i < n_odd else tie) for i, m in enumerate(turned)]
        ridge = theta.copy()
        ridge[-1] = 0.0
        return loss + 0.5 * float(ridge @ ridge), np.concatenate([*slopes, [tie.sum()]]) + ridge

    first = np.zeros(int(cuts[-1]) + 1)
    if start is not None:
        first = np.concatenate([*start.odd, *start.even, [start.intercept]])
    options = {"maxiter": max_steps, "ftol": tolerance, "gtol": 1e-6, "maxcor": 20}
    return unpacked(minimize(objective, first, jac=True, method="L-BFGS-B", options=options).x)


@dataclass(frozen=True, eq=False)
class Scaler:
    """Columns to unit scale, cut at four units; a column that never varied in training is zero.

    Odd columns are divided by their root mean square and not centred, so that they stay odd.
    """

    odd_scale: Floats
    even_mean: Floats
    even_scale: Floats

    @classmethod
    def fit(cls, features: Features) -> Scaler:
        """Scales of these rows."""
        square = np.sqrt(np.mean(features.odd**2, axis=0))
        spread = features.even.std(axis=0)
        return cls(_inverse(square), features.even.mean(axis=0), _inverse(spread))

    def apply(self, features: Features) -> tuple[Floats, Floats]:
        """Odd (n, k) and even (n, m), scaled."""
        odd = np.clip(features.odd * self.odd_scale, -4, 4)
        return odd, np.clip((features.even - self.even_mean) * self.even_scale, -4, 4)


def _inverse(scale: Floats) -> Floats:
    usable = scale > 1e-9
    return np.asarray(np.where(usable, 1 / np.where(usable, scale, 1.0), 0.0))


@dataclass(frozen=True, eq=False)
class RandomFourierFeatures:
    """Random Fourier features (Rahimi and Recht 2007, NIPS) split into odd and even halves.

    With z = odd @ P and c = even @ Q + phase, cos(z + c) = cos z cos c - sin z sin c: the first
    product is even under a swap, the second odd. Linear models over them are kernel machines that
    know, say, that length counts for less where the prompt asks for a short answer.
    """

    p: Floats
    q: Floats
    phase: Floats

    @classmethod
    def draw(cls, odd: int, even: int, count: int, *, width: float, seed: int) -> RandomFourierFeatures:
        """``count`` waves over unit-scaled columns; ``width`` is the kernel's, in unit distances."""
        rng = np.random.default_rng(seed)
        sigma = 1.0 / (width * np.sqrt(max(odd + even, 1)))
        p, q = rng.normal(size=(odd, count)) * sigma, rng.normal(size=(even, count)) * sigma
        return cls(p, q, rng.uniform(0, 2 * np.pi, count))

    def apply(self, odd: Floats, even: Floats) -> tuple[Floats, Floats]:
        """Odd and even halves, each (n, count)."""
        z, c = odd @ self.p, even @ self.q + self.phase
        unit = np.sqrt(2 / max(len(self.phase), 1))
        return unit * np.sin(z) * np.sin(c), unit * np.cos(z) * np.cos(c)
