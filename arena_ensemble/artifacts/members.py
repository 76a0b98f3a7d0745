"""One object owns a member's artifacts: fitted folds, the predictions of each, and the merged tables.

Under ``models/<name>/fold-<k>/`` lies what a fold's model learned; under ``oof/<name>/`` the shards
``fold-<k>.parquet`` (its held-out rows) and ``test-<k>.parquet`` (test rows) while the member is being
made, and ``oof.parquet`` and ``test.parquet`` when every fold is there. Each is keyed by digests.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from ..battles import align_rows
from ..errors import ArtifactError, InputError
from ..predictions import Predictions
from . import atomic, cards, shards
from .cards import (
    EXTERNAL,
    REFIT,
    EquivalenceCheck,
    FoldCard,
    FoldKey,
    MemberCard,
    PredictionKey,
    ShardCard,
    fold_name,
)
from .files import digest_bytes, digest_file, parquet_bytes, read_content, read_json, read_table
from .tables import predictions_frame, to_predictions
from .workspace import Workspace, check_name

log = logging.getLogger(__name__)

OOF: Final = "oof.parquet"
TEST: Final = "test.parquet"
_RESUME: Final = "resume.json"


@dataclass(frozen=True)
class MemberArtifacts:
    """A member's artifacts in a workspace.

    Raises
    ------
    InputError
        The name is no plain member name.
    """

    workspace: Workspace
    name: str

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def models(self) -> Path:
        """The folder of the fitted folds."""
        return self.workspace.models / self.name

    @property
    def predictions(self) -> Path:
        """The folder of the predictions."""
        return self.workspace.oof / self.name

    @property
    def _anew(self) -> str:
        return f"make the member anew with --retrain {self.name}, or import it again"

    def fold_folder(self, fold: int) -> Path:
        """Where a fold's fitted model lies."""
        return self.models / (fold_name(fold) if fold < 0 else f"fold-{fold}")

    # --- fitted folds

    def fold_card(self, fold: int) -> FoldCard | None:
        """The card of a fitted fold, or None where it is not fitted."""
        return cards.read_card(self.fold_folder(fold), FoldCard, remedy=self._anew)

    def fitted_keys(self) -> list[FoldKey]:
        """The keys of the fold models that are there, by fold.

        Raises
        ------
        InputError
            None is.
        """
        names = (path.name.removeprefix("fold-") for path in self.models.glob("fold-*"))
        cards_here = (
            self.fold_card(fold) for fold in sorted(int(name) for name in names if name.isdecimal())
        )
        keys = [card.key for card in cards_here if card is not None]
        if not keys:
            alone = " (or give --use-folds refit)" if self.fold_card(REFIT) is not None else ""
            raise InputError(
                f"member {self.name!r} has no fitted models of folds in {self.models}; train it first{alone}"
            )
        return keys

    def check_current(self, key: FoldKey) -> bool:
        """Whether the fold of this key is fitted.

        Raises
        ------
        StaleError
            It is fitted, but on something else: naming which of recipe, data, folds differs.
        """
        card = self.fold_card(_fold_of(key))
        if card is None:
            return False
        if differences := key.differences(card.key):
            remedy = "restore it, use another --workspace, or make the member anew with --retrain "
            raise cards.stale(self.fold_folder(_fold_of(key)), differences, remedy + self.name)
        return True

    def fitted_folder(self, key: FoldKey) -> Path | None:
        """The folder of the model fitted with this key, all its files checked; None where there is none.

        Raises
        ------
        StaleError
            It was fitted on something else.
        ArtifactError
            A file is missing, truncated or edited.
        """
        if not self.check_current(key):
            return None
        folder = self.fold_folder(_fold_of(key))
        card = self.fold_card(_fold_of(key))
        if card is None or not cards.is_whole(folder, card):
            raise ArtifactError(
                f"{folder}: a file is missing or its SHA-256 differs from {cards.CARD}; "
                f"copy it anew from where it was trained, or remove {folder} and train it again"
            )
        return folder

    def may_resume(self, key: FoldKey) -> bool:
        """Whether an interrupted training of this key lies there; nothing is changed."""
        try:
            return key.is_noted(read_json(self._partial(key) / _RESUME))
        except (ArtifactError, OSError):
            return False

    def start_fold(self, key: FoldKey) -> tuple[Path, bool]:
        """A folder to train in, and whether an interrupted training of the same key may go on there."""
        note = (partial := self._partial(key)) / _RESUME
        if note.is_file():
            try:
                noted = read_json(note)
                if key.is_noted(noted):
                    return partial, True
                what = ", ".join(name for name, now in key.model_dump().items() if noted.get(name) != now)
                if any(partial.glob("checkpoint-*")):
                    log.warning("%s was begun with another %s: its checkpoint is dropped", partial, what)
            except ArtifactError:
                log.warning("%s is damaged; this fold starts from its beginning", note)
        if partial.exists():
            shutil.rmtree(partial)
        atomic.write_json(note, key.model_dump())
        return partial, False

    def commit_fold(self, partial: Path, card: FoldCard) -> Path:
        """Give a trained fold its card and its final name; returns its folder."""
        (partial / _RESUME).unlink(missing_ok=True)
        contents = [str(p.relative_to(partial)) for p in partial.rglob("*") if p.is_file()]
        cards.write_card(partial, card, contents)
        final = self.fold_folder(_fold_of(card.key))
        atomic.commit_folder(partial, final)
        return final

    # --- predictions

    def has_predictions(self, key: PredictionKey) -> bool:
        """Whether the predictions of this fold are there, merged or not, unchanged, made with this key."""
        if key.test is None:
            return self.is_merged(key) or shards.has(self._shard(key), key)
        return shards.has(self.predictions / TEST, key.of_all_folds()) or shards.has(self._shard(key), key)

    def is_merged(self, key: PredictionKey) -> bool:
        """Whether the member's out-of-fold table is there, unchanged, and made with this key."""
        card = self.card()
        return (
            card is not None
            and card.key == key.of_all_folds()
            and shards.intact(self.predictions / OOF, card.files.get(OOF, ""))
        )

    def write_predictions(
        self, key: PredictionKey, predictions: Predictions, check: EquivalenceCheck | None = None
    ) -> None:
        """Keep the predictions of one fold until all folds are merged."""
        checks = {} if check is None else {fold_name(key.fold): check}
        card = ShardCard(key=key, checks=checks, sha256="")
        shards.write(self._shard(key), predictions_frame(predictions), card)

    def merge_test(self, keys: Sequence[PredictionKey], *, learned_unverified: bool = False) -> None:
        """Merge the folds' test predictions into ``test.parquet``, a row per (id, fold). Idempotent.

        Raises
        ------
        ArtifactError
            A fold's predictions are missing, damaged or of another key.
        """
        merged = keys[0].of_all_folds()
        if not shards.has(self.predictions / TEST, merged):
            frame = pl.concat([shards.load(self._shard(key), key) for key in keys])
            checks = {fold: c for key in keys for fold, c in shards.note_of(self._shard(key)).checks.items()}
            card = ShardCard(key=merged, learned_unverified=learned_unverified, checks=checks, sha256="")
            shards.write(self.predictions / TEST, frame, card)

    def merged_oof(self, keys: Sequence[PredictionKey], ids: pl.Series) -> Predictions:
        """The held-out predictions of all folds, in the order of ``ids``.

        Raises
        ------
        ArtifactError
            A fold's predictions are missing, damaged or of another key.
        """
        rows = pl.concat([shards.load(self._shard(key), key) for key in keys])
        return to_predictions(rows[align_rows(rows["id"], ids, name=f"the folds of {self.name!r}")])

    def commit_oof(self, predictions: Predictions, card: MemberCard) -> MemberCard:
        """Write ``oof.parquet`` and then the member's card."""
        atomic.write_bytes(self.predictions / OOF, parquet_bytes(predictions_frame(predictions)))
        return cards.write_card(self.predictions, card, [OOF])

    def remove_shards(self, folds: Sequence[int]) -> None:
        """Remove the folds' own tables: merged and hashed, they have served."""
        for fold in folds:
            for stem in (f"fold-{fold_name(fold)}", f"test-{fold_name(fold)}"):
                for suffix in (".json", ".parquet"):
                    (self.predictions / (stem + suffix)).unlink(missing_ok=True)

    def card(self) -> MemberCard | None:
        """The member's card, or None while its predictions are not finished."""
        return cards.read_card(self.predictions, MemberCard, remedy=self._anew)

    def load(self) -> tuple[Predictions, MemberCard]:
        """The out-of-fold predictions and the card.

        Raises
        ------
        InputError
            The member is not finished.
        ArtifactError
            A file is truncated or edited.
        """
        card = self.card()
        if card is None:
            raise InputError(
                f"member {self.name!r} has no finished predictions in {self.predictions}; "
                "run `arena-ensemble oof`"
            )
        content = cards.verified(self.predictions, OOF, card)
        return to_predictions(read_table(self.predictions / OOF, content)), card

    def load_test(self) -> list[Predictions]:
        """The test predictions of each fold's model.

        Raises
        ------
        InputError
            There are none.
        ArtifactError
            The file is truncated or edited.
        """
        path = self.predictions / TEST
        note = path.with_suffix(".json")
        if not note.is_file():
            raise InputError(
                f"member {self.name!r} has no test predictions in {path}; "
                "run `arena-ensemble oof` with --test"
            )
        content = read_content(path)
        if digest_bytes(content) != shards.note_of(path).sha256:
            raise ArtifactError(f"{path}: SHA-256 differs from {note.name}; remove both and run again")
        frame = read_table(path, content)
        if "fold" not in frame.columns or frame.is_empty():
            raise ArtifactError(f"{path}: no rows by fold; remove it and run again")
        return [to_predictions(part) for part in frame.partition_by("fold", maintain_order=True)]

    def begun_test(self, keys: Sequence[PredictionKey]) -> list[Predictions]:
        """The test predictions of those folds that are there, merged or not."""
        if shards.has(self.predictions / TEST, keys[0].of_all_folds()):
            return self.load_test()
        return [to_predictions(shards.load(self._shard(k), k)) for k in keys if shards.has(self._shard(k), k)]

    def import_predictions(
        self,
        oof: Predictions,
        source: Path,
        test: Predictions | None = None,
        test_source: Path | None = None,
        *,
        one_order: bool = False,
    ) -> MemberCard:
        """Keep predictions that another tool made as this member, folds unverified.

        Raises
        ------
        InputError
            A member of that name was trained here.
        """
        if (old := self.card()) is not None and not old.is_external:
            raise InputError(
                f"{self.predictions} holds a member that was trained here; import under another name"
            )
        for name in (TEST, Path(TEST).with_suffix(".json").name):  # of an earlier import: not of this model
            (self.predictions / name).unlink(missing_ok=True)
        committed = self.commit_oof(
            oof,
            MemberCard(
                key=None,
                member=self.name,
                backbone=EXTERNAL,
                folds_verified=False,
                notes=["folds unverified: only the other tool knows whether a model saw a row's group"],
                source=str(source),
                source_sha256=digest_file(source),
                rows=len(oof),
                one_order=one_order,
            ),
        )
        if test is not None:
            card = ShardCard(key=None, source=str(test_source), sha256="")
            shards.write(self.predictions / TEST, predictions_frame(test), card)
        return committed

    def forget(self) -> None:
        """Remove what the member learned and predicted; its recipe stays."""
        for kind in ("fold-*", "refit*", "averaged*"):
            for path in sorted(self.models.glob(kind)):
                shutil.rmtree(path)
        shutil.rmtree(self.predictions, ignore_errors=True)

    def _partial(self, key: FoldKey) -> Path:
        return self.models / f"{self.fold_folder(_fold_of(key)).name}.partial"

    def _shard(self, key: PredictionKey) -> Path:
        return self.predictions / f"{'fold' if key.test is None else 'test'}-{fold_name(key.fold)}.parquet"


def _fold_of(key: FoldKey) -> int:
    assert key.fold is not None, "a fitted model is of one fold"
    return key.fold
