"""Cards: what made an artifact, as frozen models, and the SHA-256 of each of its files.

An artifact is a folder with its content and, written last, ``card.json``. Whoever reads an artifact
checks the hashes first, so a truncated or edited file is an error and never a wrong number. The
stacker's own state has its models beside the code that reads them, in ``stacking``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import ArtifactError, StaleError, VersionError
from . import atomic
from .files import digest_bytes, digest_file, digest_json, read_content, read_json

CARD: Final = atomic.CARD
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
EXTERNAL: Final = "external"
"""The ``backbone`` of a member whose predictions another tool made."""
REFIT: Final = -1
"""The ``fold`` of a model that was trained on all rows, beside those of the folds."""
AVERAGED: Final = -2
"""The ``fold`` of the model whose weights are the folds' average."""
_FORMAT: Final = 2
_OWN_HASH: Final = "card_sha256"


def _plain_names(files: Mapping[str, str]) -> Mapping[str, str]:
    for name in files:
        if not all(NAME.match(part) for part in name.split("/")):
            raise ValueError(f"lists the file {name[:80]!r}, which lies outside its folder")
    return files


Files = Annotated[dict[str, str], AfterValidator(_plain_names)]
"""File name, relative to the card's folder → SHA-256 of its content."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    def differences(self, other: _Model | None) -> list[str]:
        """Names of the fields whose values differ: what changed since an artifact was made."""
        mine = self.model_dump()
        theirs = {} if other is None else other.model_dump()
        return [name for name, value in mine.items() if theirs.get(name) != value]


def fold_name(fold: int | None) -> str:
    """A fold's number, or ``refit`` or ``averaged``."""
    return {REFIT: "refit", AVERAGED: "averaged"}.get(-9 if fold is None else fold, str(fold))


class FoldKey(_Model):
    """What a fold's model depends on, as digests; models of equal keys are interchangeable."""

    recipe: str
    data: str
    folds: str
    extra: str | None = None
    teacher: str | None = None
    start: str | None = None
    folds_averaged: str | None = None
    """the folds whose weights the model is the mean of, such as ``0,1,2``; None of any other model"""
    fold: int | None
    """None where all folds are meant"""

    def is_noted(self, values: Mapping[str, Any]) -> bool:
        """Whether ``values`` are this key's; what an earlier version did not note is at its default."""
        fields = type(self).model_fields.items()
        return {n: f.default for n, f in fields if not f.is_required()} | dict(values) == self.model_dump()

    def of_all_folds(self) -> Self:
        """The key of the table that all folds' predictions with this kind of key are merged into."""
        return self.model_copy(update={"fold": None})


class PredictionKey(FoldKey):
    """What a fold's predictions depend on: its model, the orders that are predicted, and the rows."""

    orders: str
    n_classes: int
    test: str | None = None
    """digest of the test battles; None for out-of-fold rows"""
    use_folds: str | None = None
    """whose models predicted: folds such as ``0,2``, ``refit``, ``averaged``; None for all that are there"""
    predict: str | None = None
    """settings of ``[predict]`` that change numbers, such as ``precision bf16``; None where none is set"""


class EquivalenceCheck(_Model):
    """How far a model's predictions moved where it runs otherwise than it was trained."""

    rows: int
    mean_kl: float
    """mean Kullback-Leibler divergence from the training machine's predictions, nats"""
    max_difference: float
    """largest difference of a log-probability"""
    mean_difference: float
    trained: dict[str, str]
    running: dict[str, str]


class ShardCard(_Model):
    """Beside a table of predictions that is no artifact of its own: what it was made with, and its hash."""

    format: Literal[2] = _FORMAT
    key: PredictionKey | None
    """None where another tool made them"""
    learned_unverified: bool = False
    checks: dict[str, EquivalenceCheck] = {}
    """fold → what was measured before it predicted; empty where it ran as it was trained"""
    source: str | None = None
    sha256: str


class Card(_Model):
    """What every card holds."""

    format: Literal[2] = _FORMAT
    files: Files = {}
    card_sha256: str = ""


class FoldCard(Card):
    """A fold's fitted model, ``models/<name>/fold-<k>/card.json``."""

    key: FoldKey
    member: str
    backbone: str
    seed: int
    seconds: float
    rows: int
    learned_from: dict[str, Any]
    """teacher and extra battles, with what is known of their folds"""
    versions: dict[str, str]
    facts: dict[str, Any]
    """whatever the backbone reports: device, dtype, tokens, alarms, …"""


class MemberCard(Card):
    """A member's out-of-fold predictions, ``oof/<name>/card.json``."""

    key: PredictionKey | None
    """None for an external member"""
    member: str
    backbone: str
    folds_verified: bool
    """whether each row was predicted by a model that never saw its group, as the fold file shows"""
    learned_unverified: bool = False
    """learned from labels that nothing shows to be out of fold, so it may pass them on"""
    rows: int
    one_order: bool = False
    """of an external member: whether it is said to have seen the response in A first, in every row"""
    log_loss: float | None = None
    standard_error: float | None = None
    prior_log_loss: float | None = None
    accuracy: float | None = None
    predicted_shares: dict[str, float] | None = None
    mean_entropy: float | None = None
    seconds: float = 0.0
    alarms: list[str] = []
    notes: list[str] = []
    """what is worth knowing and no alarm"""
    data_notes: list[str] = []
    """what the reader reported of the training file"""
    learned_from: list[dict[str, Any]] = []
    fold_facts: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    source: str | None = None
    source_sha256: str | None = None

    @property
    def is_external(self) -> bool:
        """Whether another tool made the predictions."""
        return self.backbone == EXTERNAL


class EnsembleKey(_Model):
    """What an ensemble depends on."""

    data: str
    folds: str
    members: dict[str, str]
    """member name, in the stacker's order → SHA-256 of its OOF table"""
    seed: int
    truth: bool
    n_classes: int
    versions: dict[str, str]
    stacker_format: int
    one_order: list[str] = []
    """external members that are said to have seen one order"""


class EnsembleCard(Card):
    """A fitted stacker, ``oof/ensemble/card.json`` or the folder that ``stack --labels --out`` wrote."""

    key: EnsembleKey | None
    """None where all members are external: there are no folds of ours"""
    members: list[str]
    folds_verified: bool
    rows: int
    n_classes: int
    seed: int
    choice: str
    selection_frequency: dict[str, float]
    temperature: float
    log_loss: float
    seconds: float
    contributions: dict[str, Any]
    suspicions: list[dict[str, Any]]
    alarms: dict[str, list[str]] = {}
    """member → what looks wrong with its predictions, beside what its own card says"""
    notes: dict[str, list[str]] = {}
    reliability: dict[str, Any]
    judges: list[dict[str, Any]] = []
    """what each judge of a panel is worth alone; empty where the members are models"""


class GammaNote(_Model):
    """Beside an ensemble: how much test predictions were sharpened."""

    test: str
    rows: int
    folds: dict[str, int] = {}
    """member → how many fold models predicted"""
    gammas: dict[str, Annotated[float, Field(allow_inf_nan=False)]]


C = TypeVar("C", bound=Card)
M = TypeVar("M", bound=_Model)


def write_card(folder: Path, card: C, contents: Sequence[str]) -> C:
    """Write ``card.json`` with the hashes of ``contents``, as the last step of an artifact.

    The card carries its own hash too: people read the log-loss in it, so a flipped digit must be an
    error like any other.
    """
    files = {name: digest_file(folder / name) for name in sorted(contents)}
    values = card.model_copy(update={"files": files}).model_dump(mode="json", exclude={_OWN_HASH})
    values = json.loads(json.dumps(values))
    values[_OWN_HASH] = digest_json(values)
    atomic.write_json(folder / CARD, values)
    return type(card).model_validate(values)


def read_card(folder: Path, kind: type[C], *, remedy: str = "") -> C | None:
    """The card in a folder, or None where there is none.

    Parameters
    ----------
    remedy
        How to make the artifact anew; by default its folder is to be removed.

    Raises
    ------
    ArtifactError
        The card is truncated, edited, of an older version or absurdly large, lists a file outside its
        folder, or the folder is a symbolic link.
    """
    path = folder / CARD
    if folder.is_symlink() or path.is_symlink():
        link = folder if folder.is_symlink() else path
        raise ArtifactError(
            f"{link} is a symbolic link; artifacts are plain files: put the folder itself here"
        )
    if not path.is_file():
        return None
    values = read_json(path)
    if values.get(_OWN_HASH) != digest_json({k: v for k, v in values.items() if k != _OWN_HASH}):
        raise ArtifactError(
            f"{path}: edited or damaged (its own SHA-256 differs); remove {folder} and run again"
        )
    return _validated(kind, values, path, remedy or f"remove {folder} and run again")


def read_model(path: Path, kind: type[M]) -> M:
    """A small JSON file of ours that is no card.

    Raises
    ------
    ArtifactError
        It is truncated, edited into something else, or of an older version.
    """
    return _validated(kind, read_json(path), path, f"remove {path} and run again")


def _validated(kind: type[M], values: dict[str, Any], path: Path, remedy: str) -> M:
    if "format" in kind.model_fields and values.get("format") != _FORMAT:
        raise VersionError(
            f"{path}: was written by another version of arena-ensemble (format {values.get('format', 1)}, "
            f"this version reads {_FORMAT}); {remedy}, or use the version that wrote it"
        )
    lacking = {name for name, field in kind.model_fields.items() if field.is_required()} - set(values)
    if issubclass(kind, Card) and len(lacking) > 2:
        raise ArtifactError(
            f"{path}: is the card of something else (it lacks {', '.join(sorted(lacking)[:4])}); give the "
            "folder of the right one"
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:3])
        reason = f"{where}: {first['msg'].removeprefix('Value error, ')}"[:200]
        raise ArtifactError(f"{path}: not as written ({reason}); {remedy}") from None


def verified(folder: Path, name: str, card: Card) -> bytes:
    """The content of one file of an artifact, after its hash matched the card.

    Raises
    ------
    ArtifactError
        The file is missing, a link, truncated or edited, or the card does not list it.
    """
    expected = card.files.get(name)
    path = folder / name
    if expected is None or path.is_symlink() or not path.is_file():
        raise ArtifactError(
            f"{path}: missing, a symbolic link, or not listed in {CARD}; remove {folder} and run again"
        )
    content = read_content(path)
    if digest_bytes(content) != expected:
        raise ArtifactError(
            f"{path}: SHA-256 differs from {CARD} (truncated or edited); remove {folder} and run again"
        )
    return content


def is_whole(folder: Path, card: Card) -> bool:
    """Whether every file that the card lists is there, unchanged, and no link."""
    paths = [(folder / name, expected) for name, expected in card.files.items()]
    return all(
        path.is_file() and not path.is_symlink() and digest_file(path) == expected for path, expected in paths
    )


def stale(folder: Path, differences: Sequence[str], remedy: str) -> StaleError:
    """The error for an artifact made from something else than what is given now."""
    return StaleError(f"{folder} was made with another {', another '.join(differences)}; {remedy}")
