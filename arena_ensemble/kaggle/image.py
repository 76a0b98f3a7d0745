"""A clean virtual environment that stands in for Kaggle's image: no index, no network, only what it has."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from ..errors import InputError
from .wheels import needs

_NO_NETWORK: Final = """
import socket

_kept = socket.socket.connect


def _connect(self, address):
    if self.family == socket.AF_UNIX:
        return _kept(self, address)
    raise OSError(f"no network in a rehearsal: {address}")


def _lookup(*arguments, **more):
    raise OSError(f"no network in a rehearsal: {arguments[:2]}")


socket.socket.connect = socket.socket.connect_ex = _connect
socket.getaddrinfo = _lookup
"""


def build(folder: Path, image_has: Sequence[str], without: Sequence[str]) -> Path:
    """Make the environment; returns its Python.

    Parameters
    ----------
    image_has
        Packages that are linked from this environment, with what they need but the wheels do not hold.
    without
        Packages that the wheels hold: not linked, so that they must come from there.

    Raises
    ------
    InputError
        The environment cannot be made, or a package of ``image_has`` is not installed here.
    """
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"no virtual environment can be made here ({done.stderr.strip()}); install venv")
    site = next(folder.glob("lib/python*/site-packages"))
    for path in _files(image_has, set(map(canonicalize_name, without))):
        if not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    _old_torchao(site)
    (site / "_rehearsal_no_network.py").write_text(_NO_NETWORK)
    (site / "_rehearsal_no_network.pth").write_text("import _rehearsal_no_network\n")
    return folder / "bin" / "python"


def _old_torchao(site: Path) -> None:
    """A torchao that is there and too old for PEFT, as in the images of Kaggle and Colab.

    Of 0.10.0 (unslothai/notebooks, pull request 258 of April 2026): PEFT's question whether there is one
    raises an error then.
    """
    if (site / "torchao").exists():
        return
    (site / "torchao").mkdir()
    (site / "torchao" / "__init__.py").write_text('__version__ = "0.10.0"\n')
    facts = site / "torchao-0.10.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torchao\nVersion: 0.10.0\n")


def environment(root: Path) -> Mapping[str, str]:
    """The process environment of a rehearsal: nothing of this machine's Python or pip, a home of its own."""
    kept = {name: os.environ[name] for name in ("LANG", "OMP_NUM_THREADS") if name in os.environ}
    return {
        **kept,
        "PATH": "/usr/bin:/bin",
        "HOME": str(root),
        "KAGGLE_ROOT": str(root / "kaggle"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
    }


def _files(names: Sequence[str], without: set[str]) -> Iterator[Path]:
    """Top-level files and folders of installed packages and of what they need, in site-packages."""
    waiting: list[str] = [canonicalize_name(name) for name in names]
    seen = set(without)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in {canonicalize_name(one) for one in names}:
                raise InputError(f"--image-has {name}: not installed here; pip install {name}") from None
            continue  # an optional need of another platform
        tops = {Path(str(file)).parts[0] for file in distribution.files or () if ".." not in str(file)}
        for top in sorted(tops - {"__pycache__"}):
            yield Path(str(distribution.locate_file(top)))
        waiting += needs(name)
