"""Where Kaggle mounts what a notebook names: two layouts, and the sources that the metadata must list.

Until 2025 a dataset was mounted at ``/kaggle/input/NAME`` and a model at
``/kaggle/input/MODEL/FRAMEWORK/VARIATION/N``; in 2026 they lie at ``/kaggle/input/datasets/OWNER/NAME`` and
``/kaggle/input/models/OWNER/MODEL/FRAMEWORK/VARIATION/N``. Which of them a session has is only known there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..errors import InputError

KAGGLE_INPUT: Final = "/kaggle/input/"
_MODELS: Final = "models"
_DATASETS: Final = "datasets"
_SLUG: Final = re.compile(r"[a-z0-9](-?[a-z0-9])*\Z")
_SHORTEST, _LONGEST = 6, 41
"""of a dataset's name: Kaggle takes 50 characters, of which the notebook's title needs nine"""


def parts_of(place: str) -> tuple[str, ...]:
    """The folders below ``/kaggle/input/``."""
    return tuple(part for part in place.removeprefix(KAGGLE_INPUT).split("/") if part)


def check_name(name: str) -> None:
    """Raise InputError where Kaggle would refuse the name of a dataset."""
    if not _SLUG.match(name) or not _SHORTEST <= len(name) <= _LONGEST:
        raise InputError(
            f"--name {name}: Kaggle's names have small letters, digits and single hyphens; give one of "
            f"{_SHORTEST} to {_LONGEST} characters, such as arena-pack"
        )


def sources_of(
    bases: Mapping[str, str], model_sources: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a notebook must mount for these bases: datasets, and models with those that were named.

    Parameters
    ----------
    bases
        Member → a path below ``/kaggle/input/``.
    model_sources
        ``OWNER/MODEL/FRAMEWORK/VARIATION/N`` of models that were named.

    Raises
    ------
    InputError
        A source is written in another way, or nothing that the notebook mounts would lie at a path.
    """
    for source in model_sources:
        if len(source.split("/")) != 5 or not all(source.split("/")):
            raise InputError(
                f"--model-source {source}: expected OWNER/MODEL/FRAMEWORK/VARIATION/N, with N the version"
            )
    datasets: dict[str, None] = {}
    models = dict.fromkeys(model_sources)
    for member, place in bases.items():
        parts = parts_of(place)
        if parts[:1] == (_MODELS,) and len(parts) >= 6:
            models["/".join(parts[1:6])] = None
        elif parts[:1] == (_DATASETS,) and len(parts) >= 3:
            datasets["/".join(parts[1:3])] = None
        elif not any(parts[:4] == tuple(source.split("/")[1:]) for source in model_sources):
            raise InputError(
                f"--base {member}={place}: the notebook mounts nothing there; write {KAGGLE_INPUT}"
                f"models/OWNER/MODEL/FRAMEWORK/VARIATION/N or {KAGGLE_INPUT}datasets/OWNER/NAME, or name the "
                "model with --model-source"
            )
    return tuple(datasets), tuple(models)


def mounted(place: str, inputs: Path) -> Path:
    """The folder of a path below ``/kaggle/input/`` in this session, in whichever layout it is there.

    Where it is in none, the path as it was given, for the one who asks to name it.
    """
    parts = parts_of(place)
    if parts[:1] in ((_MODELS,), (_DATASETS,)) and len(parts) > 2:
        others = [inputs.joinpath(*parts[2:])]
    else:
        rest = "/".join(parts)
        others = [*inputs.glob(f"{_MODELS}/*/{rest}"), *inputs.glob(f"{_DATASETS}/*/{rest}")]
    given = inputs.joinpath(*parts)
    return next((path for path in [given, *others] if path.is_dir()), given)
