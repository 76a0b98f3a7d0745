"""The next micro-batch made in the background while the present one is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

from .batching import Index

T = TypeVar("T")


class Ahead(Generic[T]):
    """Makes the item of some rows, and meanwhile that of the rows that are likely to come next.

    Parameters
    ----------
    make
        Pure: what it returns depends on the rows alone, and it draws no random number. So what is made is the
        same whether or not it was expected, and an expected item that is not asked for is dropped.
    """

    def __init__(self, make: Callable[[Index], T]) -> None:
        self._make = make
        self._thread: ThreadPoolExecutor | None = None
        self._expected: tuple[Index, Future[T]] | None = None

    def get(self, rows: Index, then: Index | None = None) -> T:
        """The item of ``rows``; that of ``then`` is begun in the background.

        Raises what making it raised, wherever that was.
        """
        expected, self._expected = self._expected, None
        if expected is not None and np.array_equal(expected[0], rows):
            item = expected[1].result()
        else:
            item = self._make(rows)
        if then is not None:
            if self._thread is None:  # it ends with this object
                self._thread = ThreadPoolExecutor(1, "next-batch")
            self._expected = then, self._thread.submit(self._make, then)
        return item
