"""Is this machine ready? Software, devices, memory, disk, recipes and members, each with its remedy."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from rich.table import Table
from rich.text import Text

from ..artifacts import cards
from ..artifacts.members import MemberArtifacts
from ..artifacts.workspace import Workspace
from ..errors import ArenaError
from . import tables
from .plan import all_recipes
from .runner import Result

GIB: Final = 2**30
LEAST_DISK: Final = GIB // 4
LITTLE_DISK: Final = 5 * GIB
LITTLE_MEMORY: Final = 2 * GIB


class CheckResult(NamedTuple):
    """One line of the report. ``remedy`` is set where the state is not ``ok``."""

    name: str
    state: Literal["ok", "note", "warn", "fail"]
    value: str
    remedy: str = ""


def check_machine(workspace: Workspace) -> Result:
    """All checks; exit code 1 where one fails."""
    checks = [
        *_software(),
        *_machine(),
        *_extras(),
        *_room(workspace),
        *_recipes(workspace),
        *_state(workspace),
    ]
    failed = [check for check in checks if check.state == "fail"]
    facts = {"ready": not failed, "checks": [check._asdict() for check in checks]}
    lines = [_checks_table(checks), ""]
    lines += [f"{check.name}: {check.remedy}" for check in checks if check.state in ("warn", "fail")]
    lines.append("not ready: mend what fails above" if failed else "ready")
    return Result(facts, "\n".join(lines), 1 if failed else 0)


def _software() -> Iterator[CheckResult]:
    from packaging.requirements import Requirement  # comes with transformers
    from packaging.specifiers import SpecifierSet

    found = platform.python_version()
    allowed = importlib.metadata.metadata("arena-ensemble")["Requires-Python"]
    if SpecifierSet(allowed).contains(found, prereleases=True):
        yield CheckResult("python", "ok", f"{found} (allowed {allowed})")
    else:
        yield CheckResult("python", "fail", f"{found}, allowed {allowed}", "make setup PYTHON=python3.11")
    for line in importlib.metadata.requires("arena-ensemble") or []:
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            yield CheckResult(need.name, "fail", "not installed", f"pip install '{need}'")
            continue
        if need.specifier.contains(version, prereleases=True):
            yield CheckResult(need.name, "ok", f"{version} (allowed {need.specifier or 'any'})")
        else:
            yield CheckResult(
                need.name, "fail", f"{version}, allowed {need.specifier}", f"pip install '{need}'"
            )


def _machine() -> Iterator[CheckResult]:
    try:
        from ..planning.machine import device_facts

        facts = device_facts()
    except (ArenaError, ImportError, OSError) as error:
        yield CheckResult("device", "fail", "unusable", str(error))
        return
    if facts["device"] == "cpu":
        what = f"CPU, {facts['cores']} cores, {facts['threads']} threads; no GPU"
        yield CheckResult("device", "note", what)
    for device in facts.get("devices", []):
        room = f"{device['free_bytes'] / GIB:.1f} of {device['memory_bytes'] / GIB:.1f} GiB free"
        yield CheckResult("device", "ok", f"{device['name']}, {room}, CUDA {facts['cuda']}")
    for name in ("usual", "gemma-2"):
        policy = facts[f"policy {name}"]
        yield CheckResult(
            f"policy ({name} base)", "ok", f"{policy['dtype']}, attention {policy['attention']}"
        )
    memory = _free_memory()
    if memory is not None:
        short = memory < LITTLE_MEMORY
        remedy = "close other programs, or use --jobs 1" if short else ""
        yield CheckResult("memory", "warn" if short else "ok", f"{memory / GIB:.1f} GiB free", remedy)


def _free_memory() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _extras() -> Iterator[CheckResult]:
    from ..planning.machine import EXTRAS, extras

    for name, there in extras().items():
        yield CheckResult(
            f"extra {name}", "ok" if there else "note", "present" if there else f"absent; {EXTRAS[name]}"
        )


def _room(workspace: Workspace) -> Iterator[CheckResult]:
    folder = workspace.root.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        remedy = "give another --workspace, or make it a folder that you may write"
        yield CheckResult("workspace", "fail", f"{folder}: cannot be written", remedy)
        return
    free = shutil.disk_usage(folder).free
    state: Literal["ok", "warn", "fail"] = "ok"
    if free < LITTLE_DISK:
        state = "fail" if free < LEAST_DISK else "warn"
    remedy = "a 9B base takes 18 GB and a fold of adapters about 1 GB: free some, or move --workspace"
    yield CheckResult(
        "disk", state, f"{free / GIB:.1f} GiB free at {folder}", "" if state == "ok" else remedy
    )


def _recipes(workspace: Workspace) -> Iterator[CheckResult]:
    good, broken = all_recipes(workspace)
    for name, error in broken.items():
        yield CheckResult(f"recipe {name}", "fail", "cannot be read", error)
    yield CheckResult(
        "recipes", "ok" if good else "fail", ", ".join(good) or "none", "" if good else "reinstall"
    )


def _state(workspace: Workspace) -> Iterator[CheckResult]:
    if holder := _holder(workspace.root / ".arena-lock"):
        yield CheckResult("lock", "note", f"in use by {holder}; a second run has to wait")
    members = []
    for name in workspace.member_names():
        folder = workspace.oof / name
        try:
            card = MemberArtifacts(workspace, name).card()
            whole = card is not None and cards.is_whole(folder, card)
            problem = f"a file differs from {cards.CARD}: run oof with --retrain {name}"
        except ArenaError as error:
            whole, problem = False, str(error)
        if whole:
            members.append(name)
        else:
            yield CheckResult(f"member {name}", "fail", "truncated or edited", problem)
    yield CheckResult("members made", "ok" if members else "note", ", ".join(members) or "none yet")


def _holder(lock: Path) -> str:
    """Who holds the workspace; empty where nobody does."""
    try:
        with lock.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return stream.read().strip() or "another run"
    except OSError:
        pass  # never locked, or not ours to open
    return ""


def _checks_table(checks: list[CheckResult]) -> str:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("")
    for check in checks:
        mark = {"ok": "ok", "note": "–", "warn": "WARN", "fail": "FAIL"}[check.state]
        table.add_row(Text(check.name), Text(mark), Text(check.value))
    return tables.rendered(table)
