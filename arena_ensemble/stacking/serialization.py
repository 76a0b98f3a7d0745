"""A fitted stacker as named bytes and back: JSON and LightGBM text, each text checked by its SHA-256.

A truncated or edited LightGBM text can kill the process that parses it, so no text is parsed before
its hash matches the one in the JSON, and the width of what comes out is checked afterwards.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from lightgbm.basic import LightGBMError

from ..errors import ArtifactError
from .base import Model, State
from .boosting import Trees
from .logistic import Logistic
from .pooling import Pooled
from .selection import Decision

MAIN: Final = "stacker.json"
FORMAT: Final = 2
_KINDS: Final[dict[str, Callable[[State], Model]]] = {
    "pooled": Pooled.from_state,
    "logistic": Logistic.from_state,
    "trees": Trees.from_state,
}


def to_files(
    models: Mapping[str, Model],
    factored: Mapping[str, bool],
    decision: Decision,
    names: Mapping[str, tuple[str, ...]],
) -> dict[str, bytes]:
    """File name → content of everything that prediction needs."""
    files: dict[str, bytes] = {}
    described: dict[str, Any] = {}
    for place, (name, model) in enumerate(sorted(models.items())):
        state = model.state()
        texts = []
        for number, text in enumerate(state.texts):
            file = f"trees-{place}-{number}.txt"
            files[file] = text.encode()
            texts.append({"file": file, "sha256": hashlib.sha256(files[file]).hexdigest()})
        described[name] = {
            "kind": state.kind,
            "factored": factored[name],
            "setting": list(decision.settings[name]),
            "beta": decision.betas[name],
            "values": state.values,
            "texts": texts,
        }
    content = {
        "format": FORMAT,
        "shares": decision.shares,
        "mixes": {name: decision.mixes[name] for name in decision.shares if name in decision.mixes},
        "names": {key: list(value) for key, value in names.items()},
        "models": described,
    }
    files[MAIN] = json.dumps(content, indent=1).encode()
    return files


def from_files(
    files: Mapping[str, bytes],
) -> tuple[dict[str, Model], dict[str, bool], Decision, dict[str, tuple[str, ...]]]:
    """What `to_files` was given.

    Raises
    ------
    ArtifactError
        The JSON is missing, broken or of another format; a text is missing or its hash differs; a
        model has another width than it was written with.
    """
    try:
        content = json.loads(files[MAIN], parse_constant=_refused)
    except KeyError:
        raise ArtifactError(f"the stacker lacks {MAIN}; run `arena-ensemble stack` again") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{MAIN} is no whole JSON ({error}); run `arena-ensemble stack` again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ArtifactError(f"{MAIN} has another format than {FORMAT}; run `arena-ensemble stack` again")
    try:
        names = {key: tuple(map(str, content["names"][key])) for key in ("members", "odd", "even")}
        models: dict[str, Model] = {}
        factored: dict[str, bool] = {}
        settings, betas = {}, {}
        for name, told in content["models"].items():
            texts = [_checked(files, text["file"], text["sha256"]) for text in told["texts"]]
            models[name] = _KINDS[told["kind"]](State(told["kind"], told["values"], texts))
            if not isinstance(told["factored"], bool):
                raise ValueError("factored is neither true nor false")
            factored[name] = told["factored"]
            settings[name] = (int(told["setting"][0]), int(told["setting"][1]))
            if min(settings[name]) < 0:
                raise ValueError("a setting below zero")
            betas[name] = float(told["beta"])
        shares = {str(name): float(share) for name, share in content["shares"].items()}
        mixes = {
            str(name): {str(part): float(weight) for part, weight in told.items()}
            for name, told in content["mixes"].items()
        }
        decision = Decision(settings, betas, mixes, shares, {})
        if not shares or not all(mixes.values()) or set(decision.parts()) != set(models):
            raise ValueError(f"the shares do not need just its {len(models)} models")
        numbers = [*betas.values(), *shares.values(), *(w for told in mixes.values() for w in told.values())]
        if not all(map(math.isfinite, numbers)) or min(betas.values()) <= 0 or min(shares.values()) < 0:
            raise ValueError("a sharpness, a share or a weight is no number to use")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError("the shares do not sum to one")
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        OverflowError,
        LightGBMError,
    ) as error:
        raise ArtifactError(
            f"{MAIN} is not as written ({type(error).__name__}: {error}); run `arena-ensemble stack` again"
        ) from None
    return models, factored, decision, names


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} among the numbers")


def _checked(files: Mapping[str, bytes], file: str, sha256: str) -> str:
    if file not in files:
        raise ArtifactError(f"the stacker lacks {file}; run `arena-ensemble stack` again")
    if hashlib.sha256(files[file]).hexdigest() != sha256:
        raise ArtifactError(f"{file} was truncated or edited (its SHA-256 differs); it was not loaded")
    return files[file].decode()
