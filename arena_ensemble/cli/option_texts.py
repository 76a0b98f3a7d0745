"""Texts of options that are lists or pairs, as plain values."""

from __future__ import annotations

from typing import Literal

from ..errors import InputError


def fold_numbers(text: str | None) -> list[int] | Literal["refit", "averaged"] | None:
    """``0,2`` as numbers, ``refit`` and ``averaged`` as such; None where nothing was given.

    Raises
    ------
    InputError
        A part is no fold number.
    """
    if text is None:
        return None
    if (word := text.strip()) in ("refit", "averaged"):
        return "refit" if word == "refit" else "averaged"
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(
            f"--use-folds {text}: expected fold numbers with commas, such as 0,2, or refit, or averaged"
        )
    return [int(part) for part in parts]


def bases(given: list[str] | None) -> dict[str, str]:
    """``--base NAME=DIR`` as a dictionary.

    Raises
    ------
    InputError
        One has no ``=``, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise InputError(f"--base {text}: expected NAME=DIR, with NAME a member or a hub id")
        if name in found:
            raise InputError(f"--base {name}: given twice; give one folder")
        found[name] = folder
    return found
