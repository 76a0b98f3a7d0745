"""A zstandard file as a stream of bytes that notices when it was cut off."""

from __future__ import annotations

import io
from typing import IO, Any

import zstandard

from ..errors import InputError

_CHUNK = 1 << 12  # small, since 4 KiB of a bomb can already unpack to 128 MiB


class _Frames(io.RawIOBase):
    """All frames of a file, one after the other; the library's own reader takes a cut frame for the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._plain, self._packed = file, io.BytesIO(), b""
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not (size := self._plain.readinto(buffer)):
            packed = self._packed or self._file.read(_CHUNK)
            self._packed = b""
            if not packed:
                if self._frame is not None:
                    raise InputError(f"{self._file.name} is a cut-off zstandard file; fetch it again")
                return 0
            if self._frame is None:
                # 128 MiB: the largest window that zstd itself accepts without being asked
                self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            try:
                self._plain = io.BytesIO(self._frame.decompress(packed))
            except zstandard.ZstdError as error:
                raise InputError(
                    f"{self._file.name} is a broken zstandard file ({error}); fetch it again"
                ) from None
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        return size


def open_zstd(file: IO[bytes]) -> io.RawIOBase:
    """Decompress a stream of one or more zstandard frames.

    Raises
    ------
    InputError
        While reading: the data is damaged, or ends inside a frame.
    """
    return _Frames(file)
