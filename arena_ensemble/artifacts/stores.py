"""A place that all machines reach and none has as a disk: an fsspec URL, such as ``s3://bucket/run``.

A parcel lies there under the digest of what it was made from, its manifest last: it is there whole, or not
at all, and making it twice gives it once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..errors import ArtifactError, DependencyError, InputError
from .files import digest_bytes
from .parcels import Parcel

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Store:
    """Parcels under an fsspec URL.

    Raises
    ------
    InputError
        The URL cannot be opened.
    DependencyError
        The package for its kind (``s3fs``, ``gcsfs``, …) is not installed.
    """

    url: str

    def __post_init__(self) -> None:
        self._open()

    def put(self, name: str, parcel: Parcel) -> None:
        """Keep a parcel under a name; what is there already stays."""
        if self.get_manifest(name) is not None:
            return
        files, root = self._open()
        for path, content in parcel.items():
            files.makedirs(f"{root}/{name}/{path}".rpartition("/")[0], exist_ok=True)
            files.pipe_file(f"{root}/{name}/{path}", content)
        manifest = {path: digest_bytes(content) for path, content in parcel.items()}
        files.makedirs(f"{root}/{name}", exist_ok=True)
        # under another name first: a reader never sees half of it
        files.pipe_file(f"{root}/{name}/{_MANIFEST}.new", json.dumps(manifest).encode())
        files.mv(f"{root}/{name}/{_MANIFEST}.new", f"{root}/{name}/{_MANIFEST}")

    def get_manifest(self, name: str) -> dict[str, str] | None:
        """Path → SHA-256 of a parcel that is there whole; None where it is not."""
        files, root = self._open()
        try:
            found = json.loads(files.cat_file(f"{root}/{name}/{_MANIFEST}"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise ArtifactError(f"{self.url}/{name}/{_MANIFEST}: no JSON; remove the folder") from None
        return {str(path): str(digest) for path, digest in found.items()}

    def get(self, name: str) -> Parcel | None:
        """A parcel, every file checked; None where it is not there.

        Raises
        ------
        ArtifactError
            A file is missing or its SHA-256 differs from the manifest.
        """
        manifest = self.get_manifest(name)
        if manifest is None:
            return None
        files, root = self._open()
        parcel = {}
        for path, digest in manifest.items():
            place = f"{root}/{name}/{path}"
            try:
                parcel[path] = bytes(files.cat_file(place))
            except FileNotFoundError:
                parcel[path] = b""
            if digest_bytes(parcel[path]) != digest:
                raise ArtifactError(
                    f"{self.url}/{name}/{path}: missing or its SHA-256 differs from {_MANIFEST}; remove "
                    f"{self.url}/{name} and run again"
                )
        return parcel

    def _open(self) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError:
            raise DependencyError("--store needs fsspec; run `pip install 'arena-ensemble[ray]'`") from None
        try:
            files, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise DependencyError(f"--store {self.url}: {error}") from None
        except (ValueError, OSError) as error:
            raise InputError(f"--store {self.url}: {error}; give a URL such as s3://bucket/run") from None
        return files, str(root).rstrip("/")
