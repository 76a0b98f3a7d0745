"""When memory runs out: what such an error looks like, what is freed, and how far a micro-batch shrinks.

A step's gradient is a mean over its rows and a row's prediction is its own, so both may be cut finer and
done again. The random state is put back before, for the sake of dropout.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import numpy as np
import torch

from ...errors import MemberError
from .batching import Index, split_by_tokens

_log = logging.getLogger(__name__)
_SIGNS: Final = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
"""in messages of RuntimeErrors: of CUDA and its libraries, of PyTorch's allocator on a CPU"""
T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device or the machine has no memory left for tensors."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def attempt(work: Callable[[], T]) -> T | None:
    """What ``work`` returns; None where memory ran out, with what its frames held given back."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # out here the error is gone, and with it the frames whose tensors it kept alive
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


@contextlib.contextmanager
def named(what: str, remedy: str) -> Iterator[None]:
    """Out of memory where nothing can be cut finer (loading, a copy of weights), as an error with what helps.

    Raises
    ------
    MemberError
        Memory ran out inside, of the device or of the machine.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MemberError(
            f"{what}: out of memory{_free()} ({first[:200]}): end what else uses the memory, {remedy}, or "
            "take a smaller base"
        ) from error


@contextlib.contextmanager
def remedied(what: str) -> Iterator[None]:
    """Out of memory where no smaller micro-batch helps, as one error that says what does.

    Raises
    ------
    MemberError
        Memory ran out inside; some of the weights may have moved.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemberError(
            f"{what} ran out of memory{_free()}: end what else uses the memory and run the same command "
            "again (a checkpoint that was written is kept), or set train.optimizer = 'adamw-8bit', a smaller "
            "adapter.r or adapter.kind = 'lora' and train anew"
        ) from error


class TokenBudget:
    """Tokens of one micro-batch. It shrinks when memory runs out, and stays so.

    Parameters
    ----------
    tokens
        At most so many, padding included; a longer row is a batch of its own.
    what
        What is done and for whom, for messages: ``training of mine fold-0``.
    """

    def __init__(self, tokens: int, what: str) -> None:
        self.tokens, self.what = tokens, what
        self._allowed = tokens
        self.shrunk = False
        self._new = False

    def smaller(self, parts: Iterable[Index], lengths: Index, names: Callable[[int], object]) -> list[Index]:
        """The same rows in micro-batches of half the tokens that the fullest of ``parts`` had.

        Raises
        ------
        MemberError
            Every part is one row already; ``names`` gives its id.
        """
        parts = list(parts)
        fullest = max(parts, key=lambda rows: int(lengths[rows].max()) * len(rows))
        if not self._padded(parts, lengths):
            raise MemberError(
                f"{self.what}: out of memory with a single row (id {names(int(fullest[0]))!r}, "
                f"{int(lengths[fullest].max()):,} tokens){_free()}: set prompt.max_tokens lower, "
                "train.gradient_checkpointing = 'auto' or adapter.quantise = '4bit', take a smaller base, or "
                "end what else uses the memory"
            )
        self.tokens = max(1, self.next(parts, lengths))
        self.shrunk = self._new = True
        return self.cut(parts, lengths)

    @staticmethod
    def _padded(parts: Iterable[Index], lengths: Index) -> int:
        """Tokens of the fullest part of several rows; 0 where every part is one row."""
        return max((int(lengths[rows].max()) * len(rows) for rows in parts if len(rows) > 1), default=0)

    def next(self, parts: Iterable[Index], lengths: Index) -> int:
        """What :meth:`smaller` would come to; 0 where nothing is left to cut."""
        return min(self.tokens, self._padded(parts, lengths)) // 2

    def restore(self) -> None:
        """Back to what was allowed at first: something else has made room."""
        self.tokens, self.shrunk, self._new = self._allowed, False, False

    def cut(self, parts: Iterable[Index], lengths: Index) -> list[Index]:
        """The rows of ``parts``, in their order, in micro-batches of the budget."""
        return split_by_tokens(np.concatenate(list(parts)), lengths, self.tokens)

    def settled(self) -> None:
        """Work went well at this size: log it, if it is new."""
        if self._new:
            _log.warning(
                "%s: out of memory; it goes on in micro-batches of %d tokens, which changes results by "
                "rounding alone, and by what dropout leaves out where there is some",
                self.what,
                self.tokens,
            )
        self._new = False


def _free() -> str:
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    return f" and {free / 2**30:.1f} of {total / 2**30:.1f} GiB left by all processes on the card"


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """PyTorch's random state, of the CPU and of the device."""
    state = {"rng": torch.get_rng_state()}
    if device.type == "cuda":
        state["rng_device"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put back what :func:`random_state` gave."""
    torch.set_rng_state(state["rng"])
    if "rng_device" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["rng_device"], device)
