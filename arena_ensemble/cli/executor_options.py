"""``--executor``: where the tasks of a verb run, this machine or a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import options as o

if TYPE_CHECKING:
    from ..pipeline.executors import OnRay

_ON_RAY = "On a Ray cluster (--executor ray)"


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """What every verb takes that runs tasks of members."""

    executor: Annotated[
        str, typer.Option(metavar="NAME", help="local (this machine) or ray (a cluster): docs/scale.md")
    ] = "local"
    address: Annotated[
        str,
        typer.Option(help="auto, HOST:PORT of its head, or local", rich_help_panel=_ON_RAY),
    ] = "auto"
    retries: Annotated[
        int,
        typer.Option(help="how often a task is begun again that lost its machine", rich_help_panel=_ON_RAY),
    ] = 3
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="where tasks leave what they make if workers do not see the workspace, such as s3://…",
            show_default="they return it",
            rich_help_panel=_ON_RAY,
        ),
    ] = None

    def chosen(self, jobs: int | None) -> OnRay | None:
        """The executor; None is this machine.

        Raises
        ------
        InputError
            Its name is unknown, an option is of no use with it, or a number is out of range.
        """
        if self.executor == "local":
            if unused := o.given(self):
                raise InputError(f"{', '.join(unused)}: of no use without --executor ray; add it")
            return None
        if self.executor != "ray":
            raise InputError(f"--executor {self.executor}: give local or ray")
        from ..pipeline.executors import OnRay, on_ray

        on_ray.check_retries(self.retries)
        return OnRay(self.address, self.retries, jobs, self.store)
