"""The packages that a notebook without internet installs: exactly the versions that are installed here."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..errors import DependencyError, InputError

log = logging.getLogger(__name__)

OWN: Final = "arena-ensemble"
IMAGE_HAS: Final = ("torch",)
"""What Kaggle's image brings in a build for its cards; its CUDA libraries come along with it."""
PLATFORMS: Final = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (35, 34, 31, 28, 27, 26, 24, 17, 12, 5)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"),
)
_LINUX: Final = {
    "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix",
}  # fmt: skip
_PIP: Final = ("-m", "pip", "--disable-pip-version-check")


def requirements(
    image_has: Sequence[str] = IMAGE_HAS, extras: Sequence[str] = (), python: str | None = None
) -> dict[str, str]:
    """Name → version of every package that this one needs, itself left out, as installed here.

    Packages of ``image_has`` are left out, and what only they need. ``python`` is the one whose needs are
    meant, on Linux; None is this machine's.

    Raises
    ------
    DependencyError
        A package that is needed is not installed here.
    """
    left_out = {canonicalize_name(name) for name in image_has}
    found: dict[str, str] = {}
    waiting = [*needs(OWN, ["", *extras], python)]
    while waiting:
        name = waiting.pop()
        if name in found or name in left_out:
            continue
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise DependencyError(f"{name} is not installed here; pip install {name}") from None
        waiting += needs(name, python=python)
    return dict(sorted(found.items()))


def needs(package: str, extras: Sequence[str] = ("",), python: str | None = None) -> Iterator[str]:
    """Canonical names of what an installed package needs on this machine, or under ``python`` on Linux."""
    there = (
        {} if python is None else {**_LINUX, "python_version": python, "python_full_version": f"{python}.0"}
    )
    for line in importlib.metadata.requires(package) or ():
        need = Requirement(line)
        if need.marker is None or any(need.marker.evaluate({**there, "extra": extra}) for extra in extras):
            yield canonicalize_name(need.name)


def collect(
    folder: Path,
    versions: dict[str, str],
    *,
    pythons: Sequence[str],
    platforms: Sequence[str] = PLATFORMS,
    wheel: Path | None = None,
) -> None:
    """Download the wheels of ``versions`` for some Pythons and a platform, and build this package's own.

    Parameters
    ----------
    pythons
        As ``3.12``; a wheel that suits several of them is kept once.
    wheel
        This package's wheel, where its source is not on this machine.

    Raises
    ------
    InputError
        The registry has no wheel of a package for a Python and that platform, or cannot be reached; or this
        package was not installed from a source folder and ``wheel`` is not given.
    """
    folder.mkdir(parents=True)
    chosen = ["--only-binary=:all:", "--no-deps"]
    for platform in platforms:
        chosen += ["--platform", platform]
    pinned = [f"{name}=={version}" for name, version in versions.items()]
    for python in pythons:
        log.info("wheels of %d packages for Python %s: downloading", len(pinned), python)
        _pip("download", "--quiet", "--dest", str(folder), "--python-version", python, *chosen, *pinned)
    if wheel is not None:
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return
    log.info("this package's own wheel: building")
    with tempfile.TemporaryDirectory() as built:
        _pip("wheel", "--quiet", "--no-deps", "--wheel-dir", built, str(_source()))
        for path in Path(built).glob("*.whl"):
            (folder / path.name).write_bytes(path.read_bytes())


def _source() -> Path:
    """The folder of this package's source: a checkout, or what it was installed from."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout
    text = importlib.metadata.distribution(OWN).read_text("direct_url.json")
    address = urlparse(json.loads(text)["url"]) if text else None
    if address is not None and address.scheme == "file":
        return Path(unquote(address.path))
    raise InputError(f"{OWN} was not installed from a folder here; give its wheel by --wheel FILE")


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *_PIP, *arguments], capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        raise InputError(
            f"pip {arguments[0]}: {pip_reason(done.stderr)}; give another --python, or try again"
        )


def pip_reason(output: str) -> str:
    """The line of pip's output that names what is missing."""
    lines = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    missing = [line for line in lines if re.match(r"No matching distribution found for ", line)]
    return (missing or lines or output.strip().splitlines()[-1:] or ["no output"])[0]
