"""NumPy's own files, .npy and .npz: arrays of predictions without ids."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import InputError
from ..predictions import Floats
from .streams import explained, open_zip

_NPY: Final = b"\x93NUMPY"
_MAX_BYTES: Final = 1 << 32
_IDS: Final = ("ids", "id")


def is_array_file(path: Path) -> bool:
    """Whether a file is .npy or .npz, by its first bytes; a zip of other files is none."""
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic[:4] == b"PK\x03\x04":
            with path.open("rb") as file, open_zip(file) as archive:
                names = archive.namelist()
            return bool(names) and all(name.endswith(".npy") for name in names)
    except (OSError, zipfile.BadZipFile):
        return False  # whoever opens it as a table says what is wrong
    return magic == _NPY


def read_arrays(path: Path) -> tuple[dict[str, Floats], Any]:
    """The arrays (n, 3) or (n, 2) of a file by name, and the ids where a .npz holds them too.

    Nothing is unpickled.

    Raises
    ------
    InputError
        Damaged, objects instead of numbers, or of another shape.
    """
    with explained(path):
        try:
            held = _loaded(path)
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # the header is Python's text: NumPy lets its parser's errors through
            reason = str(error).splitlines()[0][:100] if str(error) else "damaged"
            raise InputError(
                f"{path} cannot be read as NumPy arrays ({reason}); save it again with "
                "numpy.save, as plain numbers"
            ) from None
    ids = next((held.pop(name) for name in _IDS if name in held), None)
    found = {name: _checked(path, name, array) for name, array in held.items() if np.ndim(array) != 1}
    if not found:
        raise InputError(
            f"{path} holds no array of shape (n, 3); save the probabilities as one, columns A, B, tie"
        )
    return found, ids


def _loaded(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        if file.read(6) == _NPY:
            # mapped: a header that claims more than the file holds is an error and no memory
            return {path.name.split(".")[0]: np.load(path, mmap_mode="r", allow_pickle=False)}
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
            raise ValueError(f"over {_MAX_BYTES:,} bytes when unpacked")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _checked(path: Path, name: str, array: Any) -> Floats:
    where = f"{path.name} ({name})" if path.name.split(".")[0] != name else path.name
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise InputError(
            f"{where} has the shape {array.shape}, expected (n, 3) with columns A, B, tie; average over "
            "other axes "
            "first, or save one array a member in a .npz"
        )
    if array.dtype.kind not in "fiu":
        raise InputError(f"{where} holds {array.dtype}, expected floats; save it as float64")
    if not len(array):
        raise InputError(f"{where} has no rows; save it again")
    return np.array(array, dtype=np.float64)


def id_list(ids: Any, path: Path) -> list[Any]:
    """The ids of a .npz as Python values.

    Raises
    ------
    InputError
        Not one column of numbers or strings.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or array.dtype.kind not in "iufUS":
        raise InputError(
            f"{path.name}: ids has the shape {array.shape} and type {array.dtype}; save one column of ids"
        )
    if array.dtype.kind == "S":
        return [text.decode("utf-8", "replace") for text in array.tolist()]
    return list(array.tolist())
