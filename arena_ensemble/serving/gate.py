"""How much work is taken on: some threads that predict, a bounded queue before them, and a no beyond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class BusyError(Exception):
    """The queue is full."""


class Gate:
    """Runs work in ``threads`` threads; at most ``waiting`` more pieces wait, others are refused at once."""

    def __init__(self, threads: int, waiting: int) -> None:
        self.threads, self.waiting = threads, waiting
        self.inside = 0
        """pieces of work that run or wait"""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work()`` returns, from another thread.

        Raises
        ------
        BusyError
            As many pieces run and wait as there may be.
        """
        if self.inside >= self.threads + self.waiting:
            raise BusyError
        self.inside += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[T]) -> None:
        self.inside -= 1

    def close(self) -> None:
        """End the threads after what they are doing."""
        self._pool.shutdown(wait=True, cancel_futures=True)
