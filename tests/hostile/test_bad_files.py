"""Every bad file of the table ends in one clear line, and leaves its folder as it was."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard
from hostile_cases import CASES, GOOD, LISTED, Case, parquet, rows, text

from arena_ensemble.errors import ArenaError
from arena_ensemble.folds import make_folds
from arena_ensemble.io import (
    load_battles,
    read_battles,
    read_labels,
    read_predictions,
    streams,
    tables,
    write_submission,
)

KILLERS = {
    79760: (
        "UEFSMRUEFVAVQEwVChUAAAAotS/9ICi9AACAAAABAAIAAwAEAAAAAAAAAARUAgADARUAFRYVKCwVVRUQFQYVBhw2ACgIBAAA"
        "AAAAAAAYCAAAAAAAAAAAAAAAKLUv/SALWQAAAgAAAAoBAwOIRgAVBBk1AAYQGRgCaWQVDBYKFtIBFtQBJmImCBw2ACgIBAAA"
        "AAAAAAAYCAAAAAAAAAAAAAAVBBUwFTpMFQYVAAAAKLUv/SAYpQAAYAAAAQACAAAAAAAAAAIAYOABYAEVABUUFSYsFQoVEBUG"
        "FQYcNgAoCAIAAAAAAAAAGAgAAAAAAAAAAAAAACi1L/0gClEAAAIAAAAKAQIDJAEVBBk1AAYQGRgFbGFiZWwVDBYKFrABFswB"
        "JpYDJsICHDYAKAgCAAAAAAAAABgIAAAAAAAAAAAAABkRAhkYCAAAAAAAAAAAGRgIBAAAAAAAAAAVABkWAAAZEQIZGAgAAAAA"
        "AAAAABkYCAIAAAAAAAAAFQAZFgAAGRwWYhV6FgAAABkcFpYDFXgWAAAAFQIZPEgEcm9vdBUEABUEJQIYAmlkABUEJQIYBWxh"
        "YmVsABYKGRwZLCa2AhwVBBk1AAYQGRgCaWQVDBYKFtIBFtQBJmImCBw2ACgIBAAAAAAAAAAYCAAAAAAAAAAAAAAW+gUVFBb+"
        "BBU+ACbiBBwVBBk1AAYQGRgFbGFiZWwVDBYKFrABFswBJpYDJsICHDYAKAgCAAAAAAAAABgIAAAAAAAAAAAAABaOBhUWFrwF"
        "FT4AFoIDFgomCBagAxQAABkcGAxBUlJPVzpzY2hlbWEY8AEvLy8vLzZzQUFBQUVBQUFBOHYvLy94UUFBQUFFQUFFQUFBQUtB"
        "QXNBQ0FBS0FBUUErUC8vL3d3QUFBQUlBQWdBQUFBRUFBSUFBQUE0QUFBQUJBQUFBTHovLy84Z0FBQUFFQUFBQUFnQUFBQUJB"
        "Z0FBQUFBQUFMVC8vLzlBQUFBQUFRQUFBQVVBQUFCc1lXSmxiQUFBQU96Ly8vODRBQUFBSUFBQUFCZ0FBQUFCQWdBQUVBQVNB"
        "QVFBRUFBUkFBZ0FBQUFNQUFBQUFBRDAvLy8vUUFBQUFBRUFBQUFJQUFrQUJBQUlBQUlBQUFCcFpBQT0AGE5Qb2xhcnMgKHB5"
        "dGhvbikgdmVyc2lvbiAyLjEuMCAoYnVpbGQgN2Y5MDJiZDNmZmQyN2ZmODJkMTQyNzhhMDlhMjk1ZmYyZjdhZWQ5MikZLBwA"
        "ABwAAAAbAgAAUEFSMQ=="
    ),
    88779: (
        "UEFSMRUEFVAVQEwVChUAAAAotS/9ICi9AACAAAABAAIAAwAEAAAAAAAAAARUAgADARUAFRYVKCwVChUQFQYVBhw2ACgIBAAA"
        "AAAAAAAYCAAAAAAAAAAAAAAAKLUv/SALWQAAAgAAAAoBAwOIRgAVBBk1AAYQGRgCaWQVDBYKFtIBFtQBJmImCBw2ACgIBAAA"
        "AAAAAAAYCAAAAAAAAAAAAAAVABVcFTosFQoVABUGFQYcNgAoCAAAAAAAAOA/GAgAAAAAAADgPwAAACi1L/0gLqUAAFACAAAA"
        "CgEA4D8AAwArFgAZFzACFQoZJQAGGRgOd2lubmVyX21vZGVsX2EVDBYKFq4BFowBJsICPDYAKAgAAAAAAADgPxgIAAAAAAAA"
        "4D8AABUAFVwVOiwVOxUAFQYVBhw2ACgIAAAAAAAA0D8YCAAAAAAAANA/AAAAKLUv/SAupQAAUAIAAAAKAQDQPwADACsWABkX"
        "MAIVChklAAYZGA53aW5uZXJfbW9kZWxfYhUMFgoWrgEWjAEmyAQ8NgAoCAAAAAAAANA/GAgAAAAAAADQPwAAFQAVXBU6LBUK"
        "FQAVBhUGHDYAKAgAAAAAAADQPxgIAAAAAAAA0D8AAAAotS/9IC6lAABQAgAAAAoBANA/AAMAKxYAGRcwAhUKGSUABhkYCndp"
        "bm5lcl90aWUVDBYKFq4BFowBJs4GPDYAKAgAAAAAAADQPxgIAAAAAAAA0D8AABkRAhkYCAAAAAAAAAAAGRgIBAAAAAAAAAAV"
        "ABkWAAAZEQIZGAgAAAAAAADgPxkYCAAAAAAAAOA/FQAZFgAAGRECGRgIAAAAAAAA0D8ZGAgAAAAAAADQPxUAGRYAABkRAhkY"
        "CAAAAAAAANA/GRgIAAAAAAAA0D8VABkWAAAZHBZiFXoWAAAAGRwWwgIVjAEWAAAAGRwWyAQVjAEWAAAAGRwWzgYVjAEWAAAA"
        "FQIZXEgEcm9vdBUIABUEJQIYAmlkABUKJQIYDndpbm5lcl9tb2RlbF9hABUKJQIYDndpbm5lcl9tb2RlbF9iABUKJQIYCndp"
        "bm5lcl90aWUAFgoZHBlMJrYCHBUEGTUABhAZGAJpZBUMFgoW0gEW1AEmYiYIHDYAKAgEAAAAAAAAABgIAAAAAAAAAAAAABbE"
        "ChUUFswIFT4AJs4DHBUKGSUABhkYDndpbm5lcl9tb2RlbF9hFQwWChauARaMASbCAjw2ACgIAAAAAAAA4D8YCAAAAAAAAOA/"
        "AAAW2AoVGBaKCRU+ACbUBRwVChklAAYZGA53aW5uZXJfbW9kZWxfYhUMFgoWrgEWjAEmyAQ8NgAoCAAAAAAAANA/GAgAAAAA"
        "AADQPwAAFvAKFRgWyAkVPgAm2gccFQoZJQAGGRgKd2lubmVyX3RpZRUMFgoWrgEWjAEmzgY8NgAoCAAAAAAAANA/GAgAAAAA"
        "AADQPwAAFogLFRgWhgoVPgAW3AUWCiYIFvgEFAAAGRwYDEFSUk9XOnNjaGVtYRiMAy8vLy8veDhCQUFBRUFBQUE4di8vL3hR"
        "QUFBQUVBQUVBQUFBS0FBc0FDQUFLQUFRQStQLy8vd3dBQUFBSUFBZ0FBQUFFQUFRQUFBQ3NBQUFBY0FBQUFEZ0FBQUFFQUFB"
        "QVVQLy8veHdBQUFBUUFBQUFDQUFBQUFFREFBQUFBQUFBbHYvLy93SUFBQUFLQUFBQWQybHVibVZ5WDNScFpRQUFnUC8vL3h3"
        "QUFBQVFBQUFBQ0FBQUFBRURBQUFBQUFBQXh2Ly8vd0lBQUFBT0FBQUFkMmx1Ym1WeVgyMXZaR1ZzWDJJQUFMVC8vLzhnQUFB"
        "QUVBQUFBQWdBQUFBQkF3QUFBQUFBQVByLy8vOENBQVlBQmdBRUFBNEFBQUIzYVc1dVpYSmZiVzlrWld4ZllRQUE3UC8vL3pn"
        "QUFBQWdBQUFBR0FBQUFBRUNBQUFRQUJJQUJBQVFBQkVBQ0FBQUFBd0FBQUFBQVBULy8vOUFBQUFBQVFBQUFBZ0FDUUFFQUFn"
        "QUFnQUFBR2xrQUE9PQAYTlBvbGFycyAocHl0aG9uKSB2ZXJzaW9uIDIuMS4wIChidWlsZCA3ZjkwMmJkM2ZmZDI3ZmY4MmQx"
        "NDI3OGEwOWEyOTVmZjJmN2FlZDkyKRlMHAAAHAAAHAAAHAAAAIUDAABQQVIx"
    ),
}
"""Two files that benchmarks/fuzz_readers.py made, by seed: polars 2.1.0 aborts when it reads them."""


def use(case: Case, path: Path, folder: Path) -> None:
    """Give the file to the function that its role says."""
    if case.role == "train":
        make_folds(read_battles(path, need_outcomes=True))
    elif case.role == "test":
        read_battles(path)
    elif case.role == "predictions":
        read_predictions(path)
    elif case.role == "labels":
        read_labels(path)
    else:
        even = np.full((3, 3), np.log(1 / 3))
        write_submission(folder / "submission.csv", pl.Series([1, 2, 3]), even, sample=path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_file_is_one_clear_error(case: Case, tmp_path: Path) -> None:
    path = case.build(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArenaError) as caught:
        use(case, path, tmp_path)
    message = str(caught.value)
    assert re.search(case.message, message), message
    assert "\n" not in message
    assert len(message) < 600
    assert path.name in message or case.role == "train"  # what the folds say has no file
    assert sorted(tmp_path.iterdir()) == before


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 120


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.csv"
    path.write_text(GOOD)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # as root, chmod would stop nobody
    with pytest.raises(ArenaError, match=r"secret\.csv may not be read; check its permissions"):
        load_battles(path)


def test_a_disk_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.csv"
    path.write_text(GOOD)

    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(ArenaError, match=r"x\.csv cannot be read: Input/output error"):
        load_battles(path)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_refused_before_it_fills_the_memory(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_BOMB_BYTES", 1 << 20)
    path = tmp_path / "bomb"
    path.write_bytes(pack(GOOD.encode() + b"\n" * (1 << 24)))
    with pytest.raises(ArenaError, match="swells over 250 times when unpacked"):
        load_battles(path)


def test_a_name_with_pattern_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "train[1]*.parquet"
    path.write_bytes(parquet(LISTED))
    assert len(load_battles(path).battles) == 8


def test_what_a_message_quotes_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text(rows(id="\x1b[2Jevil\nline" * 200, winner_tie=7)))
    with pytest.raises(ArenaError) as caught:
        load_battles(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("seed", [79760, 88779])
def test_a_parquet_file_that_kills_polars_is_an_error(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(base64.b64decode(KILLERS[seed]))
    with pytest.raises(ArenaError, match=r"bad\.parquet is no whole parquet file"):
        tables.open_table(path, isolated=True)


def test_blank_lines_before_the_header_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n\n" + GOOD)
    assert len(load_battles(path).battles) == 8
