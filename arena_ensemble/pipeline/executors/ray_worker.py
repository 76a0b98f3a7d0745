"""What a Ray worker does with one task: in the workspace where it is shared, else in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ...artifacts.cards import AVERAGED, CARD, REFIT, fold_name
from ...artifacts.files import digest_json
from ...artifacts.parcels import Parcel, pack, unpack
from ...artifacts.stores import Store
from ...deadline import Deadline
from ...errors import ArenaError
from .. import distillation, starts, tasks
from ..job import FoldTask, Job
from ..tasks import Progress
from .events import timed_fold

_EVERY: Final = 0.5
"""seconds between two reports of progress"""


@dataclass(frozen=True)
class Assignment:
    """One task for a worker, but for the job, which all of them share."""

    task: FoldTask
    marker: str
    """a file in the workspace by which a worker knows that it sees the same disk"""
    needed: Parcel | None
    """what the task reads of the workspace; None until a worker asked for it"""
    until: float | None
    """the deadline by the wall clock, which machines agree on"""
    store: str | None


@dataclass(frozen=True)
class Outcome:
    """What a worker returns."""

    seconds: float
    node: str
    shared: bool
    """whether it wrote to the workspace itself"""
    made: Parcel
    """new files of the workspace; empty where it wrote them itself, or to the store"""


class NotShared(Exception):  # a question to the driver, no error
    """The worker does not see the workspace and needs what the task reads of it."""


class Board:
    """An actor that holds how far each running task is, until the driver asks."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[float, float, str]] = {}

    def tell(self, label: str, done: float, total: float, text: str) -> None:
        """Remember the latest of a task."""
        self._latest[label] = (done, total, text)

    def drain(self) -> dict[str, tuple[float, float, str]]:
        """What is new since the last call."""
        latest, self._latest = self._latest, {}
        return latest


def digest(task: FoldTask) -> str:
    """Under which a task's outputs lie in a store: of everything that they depend on."""
    keys = [None if key is None else key.model_dump() for key in (task.fit_key, task.oof_key, task.test_key)]
    return digest_json({"member": task.member, "keys": keys})


def needed(job: Job, task: FoldTask) -> list[Path]:
    """Where lies what a task reads of the workspace: its own fold, teachers, the member it starts from."""
    found = [*outputs(job, task)]
    if task.fold == REFIT and job.folds is not None:
        folder = job.artifacts(task.member).fold_folder
        found += [folder(fold) / CARD for fold in range(job.folds.n_folds)]
    if task.fold == AVERAGED:  # made of the folds' models
        models = job.artifacts(task.member).models
        found += [path for path in sorted(models.glob("fold-*")) if not path.suffix]
    if job.train is not None:
        found += [job.artifacts(name).predictions for name in distillation.needed_members(task.recipe)]
        first = starts.start_member(task.recipe)
        if first is not None:
            found.append(job.artifacts(first).fold_folder(task.fold))
    return found


def outputs(job: Job, task: FoldTask) -> list[Path]:
    """Where a task's outputs lie: its fitted fold, and its tables with their notes."""
    member, fold = job.artifacts(task.member), fold_name(task.fold)
    stems = [member.predictions / f"{kind}-{fold}" for kind in ("fold", "test")]
    return [member.fold_folder(task.fold), *(p.with_suffix(s) for p in stems for s in (".parquet", ".json"))]


def work(board: Any, shared_job: list[Any], assignment: Assignment) -> Outcome:
    """Run one task.

    Parameters
    ----------
    board
        The actor of :class:`Board`, or None.
    shared_job
        Ray's reference to the job, in a list so that it is fetched once per process.

    Raises
    ------
    NotShared
        Nothing of the workspace is here and nothing of it came along.
    """
    task = assignment.task
    if task.recipe.loader == "unsloth":
        from ...backbones.language.unsloth_loader import import_unsloth  # torch: in workers alone

        import_unsloth()  # before anything imports transformers
    job = _job(shared_job[0])
    if assignment.until is not None:
        job = replace(job, deadline=Deadline.after(max(assignment.until - time.time(), 0) / 3600))
    progress = _teller(board, task.label)
    if (job.root / assignment.marker).is_file():
        return Outcome(timed_fold(job, task, progress), socket.gethostname(), True, {})
    store = None if assignment.store is None else Store(assignment.store)
    name = digest(task)
    if store is not None and store.get_manifest(name) is not None:
        return Outcome(0.0, socket.gethostname(), False, {})
    if assignment.needed is None:
        raise NotShared
    job = replace(job, root=_scratch(job.root, task))
    seconds, made = _apart(job, task, assignment.needed, progress)
    if store is not None:
        store.put(name, made)
        made = {}
    return Outcome(seconds, socket.gethostname(), False, made)


def _apart(job: Job, task: FoldTask, given: Parcel, progress: Progress | None) -> tuple[float, Parcel]:
    """Run a task in a workspace of this machine's own; its seconds, and the files that are new.

    A fold that was interrupted here goes on from its checkpoint; nothing else of earlier tries is used.
    """
    mine = outputs(job, task)
    shutil.rmtree(job.workspace.oof, ignore_errors=True)
    shutil.rmtree(mine[0], ignore_errors=True)
    unpack(job.root, given)
    tasks.prepare(job, task.recipe, progress)
    seconds = timed_fold(job, task, progress)
    made = {path: content for path, content in pack(job.root, mine).items() if given.get(path) != content}
    shutil.rmtree(job.root)
    return seconds, made


def _scratch(root: Path, task: FoldTask) -> Path:
    """This user's folder for a task of that workspace, on a machine that does not see it.

    Tasks share its cache: token ids, a tiny base.

    Raises
    ------
    ArenaError
        Somebody else's folder is there.
    """
    home = Path(tempfile.gettempdir()) / f"arena-ensemble-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.getuid():
        raise ArenaError(f"{home} on {socket.gethostname()} belongs to somebody else; set TMPDIR there")
    common, name = home / digest_json(str(root))[:16], f"{task.member}-{fold_name(task.fold)}"
    (common / "cache").mkdir(parents=True, exist_ok=True)
    (common / name).mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (common / name / "cache").symlink_to(common / "cache")
    return common / name


_jobs: dict[str, Job] = {}


def _job(reference: Any) -> Job:
    """The job behind Ray's reference, fetched once in this process."""
    import ray

    key = reference.hex()
    if key not in _jobs:
        _jobs.clear()  # of an earlier run
        _jobs[key] = ray.get(reference)
    return _jobs[key]


def _teller(board: Any, label: str) -> Progress | None:
    """A progress callback that tells the board now and then; the driver may be gone, and nothing waits."""
    if board is None:
        return None
    last = [-_EVERY]

    def tell(done: float, total: float, text: str) -> None:
        now = time.monotonic()
        if now - last[0] >= _EVERY or done >= total:
            last[0] = now
            board.tell.remote(label, done, total, text)

    return tell
