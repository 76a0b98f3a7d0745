"""Where the (member, fold) tasks run: in this process, or in several processes side by side."""

from .events import DONE, FAILED, PLANNED, Event, Finished, with_label
from .local import run_tasks
from .slots import default_jobs, gpu_count

__all__ = [
    "DONE",
    "FAILED",
    "PLANNED",
    "Event",
    "Finished",
    "default_jobs",
    "gpu_count",
    "run_tasks",
    "with_label",
]
