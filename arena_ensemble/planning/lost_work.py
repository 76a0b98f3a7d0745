"""How long a chunk should be where nodes vanish: closed forms for one worker, to hold a simulation against.

A chunk of ``work`` seconds has ``cost`` seconds around it that do not grow with it (a request, a file).
Longer chunks pay that less often, shorter ones lose less with a node.
"""

from __future__ import annotations

import math


def young(cost: float, between: float) -> float:
    """Seconds of work a chunk that lose least, to first order.

    ``sqrt(2 * cost * between)``: Young 1974, Communications of the ACM 17(9), of checkpoints.

    Parameters
    ----------
    cost
        Seconds around a chunk.
    between
        Mean seconds between two losses of a worker.
    """
    return math.sqrt(2 * cost * between)


def best_chunk(cost: float, between: float) -> float:
    """The same exactly: what makes `worker_seconds` least (Daly 2006, equation 20, by Lambert's W).

    How long a restart takes plays no part: it is paid a loss, and losses come by time.
    """
    from scipy.special import lambertw

    return float(between * (1 + lambertw(-math.exp(-cost / between - 1)).real))


def worker_seconds(chunks: float, work: float, cost: float, start: float, between: float) -> float:
    """Mean paid seconds of one worker until all chunks are done, its first start and all others included.

    Lifetimes are exponential; a start can be lost as well. Daly 2006 (doi:10.1016/j.future.2004.11.016),
    equation 13, and the first start.
    """
    once = math.expm1((work + cost) / between) * math.exp(start / between) * between
    return between * math.expm1(start / between) + chunks * once
