"""The verb serve: the ensemble over HTTP."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DependencyError, InputError
from . import options as o
from .runner import Result, WorkspaceOption

log = logging.getLogger(__name__)


def serve(
    host: Annotated[str, typer.Option(help="address to listen on; a public one needs --token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port; 0 for any that is free")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="ARENA_ENSEMBLE_TOKEN",
            help="what clients must send: Authorization: Bearer TOKEN (better in the environment)",
            show_envvar=True,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="training battles, to name the nearest ones")
    ] = None,
    format: o.FormatOption = None,
    threads: Annotated[int, typer.Option(help="requests that are predicted at once")] = 1,
    queue: Annotated[int, typer.Option(help="requests that may wait; more are refused (429)")] = 64,
    max_bytes: Annotated[int, typer.Option(help="largest body of a request")] = 4 * 2**20,
    max_battles: Annotated[int, typer.Option(help="most battles of a request")] = 256,
    body_seconds: Annotated[float, typer.Option(help="time for a body to arrive")] = 10.0,
    drain_seconds: Annotated[float, typer.Option(help="time for running requests after SIGTERM")] = 30.0,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Host name of a proxy before this server (repeat)"),
    ] = None,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Serve the ensemble: a page, POST /v1/preferences, health and metrics."""
    try:
        from ..serving.server import Address, checked_limits
        from ..serving.server import serve as serve_until_signal
        from ..serving.service import Service
    except ImportError as error:
        raise DependencyError(f"{error.name} is missing; pip install 'arena-ensemble[serve]'") from None
    from ..io import read_battles
    from ..pipeline.ensemble import Ensemble
    from ..pipeline.neighbours import TrainingPrompts

    for name, value, least, most in (
        ("--port", port, 0, 65535),
        ("--threads", threads, 1, 64),
        ("--queue", queue, 0, 10_000),
        ("--max-bytes", max_bytes, 1024, 2**30),
        ("--max-battles", max_battles, 1, 100_000),
        ("--body-seconds", body_seconds, 0.1, 3600),
        ("--drain-seconds", drain_seconds, 0, 3600),
    ):
        if not least <= value <= most:
            raise InputError(f"{name} {value:g}: expected a number from {least:g} to {most:g}")
    if format is not None and data is None:
        raise InputError("--format is that of --data FILE; give both, or leave it out")
    limits = checked_limits(
        host,
        token,
        allow_host or (),
        max_bytes=max_bytes,
        max_battles=max_battles,
        body_seconds=body_seconds,
    )
    ensemble = Ensemble.load(workspace).in_memory()
    prompts = None if data is None else TrainingPrompts(read_battles(data, format=format))
    if ensemble.note is None and any(len(held.models) > 1 for held in (ensemble.held or {}).values()):
        log.info("no gamma is known yet: predict a test file of 20 rows or more first, for sharper averages")
    serve_until_signal(
        Service(ensemble, prompts),
        limits,
        Address(host, port, threads, queue, drain_seconds),
        lambda url: log.info("serving %s on %s (Ctrl-C ends)", ", ".join(ensemble.members), url),
    )
    return Result({"served": list(ensemble.members)}, "drained and stopped")
