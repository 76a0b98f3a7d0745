"""Processes that this one starts: they neither run the caller's script, nor see Ctrl-C, nor outlive us."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

_PATIENCE_SECONDS: Final = 10


@contextlib.contextmanager
def script_stays_here() -> Iterator[None]:
    """Processes started inside do not run the caller's script again.

    A spawned process imports the parent's main script, so that one without ``if __name__ == "__main__":``
    would start its own training in every worker. Nothing of a script is needed there. A main module that was
    run by name (``python -m``) is imported as usual.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or path is None:
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = path


@contextlib.contextmanager
def interrupts_are_ours() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, which reaches a whole terminal: we end them ourselves."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def end(processes: set[Any]) -> None:
    """Ask processes to end, which lets a write in hand finish; insist after a while."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_PATIENCE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def die_with_parent() -> None:
    """From now on this process ends when its parent was killed: it no longer holds what we write to."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
