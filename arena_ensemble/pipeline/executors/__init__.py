"""Where the (member, fold) tasks run: on this machine, or on a Ray cluster."""

from ..run_progress import DONE, FAILED, PLANNED, STACKING
from .events import Event, Finished, with_label
from .interface import Executor
from .local import Local, run_tasks
from .on_ray import OnRay
from .slots import default_jobs, gpu_count

__all__ = [
    "DONE",
    "FAILED",
    "PLANNED",
    "STACKING",
    "Event",
    "Executor",
    "Finished",
    "Local",
    "OnRay",
    "default_jobs",
    "gpu_count",
    "run_tasks",
    "with_label",
]
