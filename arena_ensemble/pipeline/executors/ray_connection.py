"""A connection to a Ray cluster, and what its errors mean."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from ...errors import DependencyError

log = logging.getLogger(__name__)


def connected(address: str) -> Any:
    """The module ``ray``, connected to a cluster.

    Raises
    ------
    DependencyError
        Ray is not installed, or no cluster answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no call to anybody, also by a cluster begun here
    if _has_token():  # a cluster that was begun where there is a token asks for it, and a driver must say so
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise DependencyError("--executor ray needs Ray; run `pip install 'arena-ensemble[ray]'`") from None
    if ray.is_initialized():
        return ray
    if address.startswith("ray://"):
        raise DependencyError(
            f"--address {address}: a Ray Client cannot share a workspace; run on a machine of the cluster "
            "(`ray job submit`) with --address auto, or give HOST:PORT of the head"
        )
    _quiet(ray)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        if "token" in str(error).lower():
            raise DependencyError(
                f"--address {address}: the cluster asks for a token ({reason}); copy its ~/.ray/auth_token "
                "here and set RAY_AUTH_MODE=token, or set RAY_AUTH_MODE=disabled on all machines"
            ) from None
        raise DependencyError(
            f"--address {address}: no Ray cluster answers ({reason}); start one with `ray start --head`, or "
            "give HOST:PORT of its head, or --address local for this machine alone"
        ) from None
    return ray


def _has_token() -> bool:
    """Whether this user has a token for Ray clusters."""
    named = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _quiet(ray: Any) -> None:
    """Ray writes the deaths of workers to standard output, where our results are; they go to our log."""
    internals: Any = getattr(getattr(ray, "_private", None), "worker", None)
    if hasattr(internals, "print_to_stdstream"):

        def to_log(batch: dict[str, Any], *others: Any, **named: Any) -> None:
            log.debug("ray: %s", "\n".join(map(str, batch.get("lines", []))))

        internals.print_to_stdstream = to_log


def reason(exceptions: Any, error: Exception) -> str:
    """What happened to a task, in a few words."""
    if isinstance(error, exceptions.OutOfMemoryError):
        return "its node ran out of memory"
    if isinstance(error, exceptions.NodeDiedError):
        return "its node was lost"
    if isinstance(error, exceptions.WorkerCrashedError):
        return "its process was killed (out of memory?)"
    if isinstance(error, exceptions.RayActorError):  # Ray tells why in words alone
        words = str(error).lower()
        if "low on memory" in words:
            return "its node ran out of memory"
        lost = "its node has died" in words or "node died" in words
        return "its node was lost" if lost else "its process was killed (out of memory?)"
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
