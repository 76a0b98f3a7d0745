"""What somebody may put into a workspace on purpose, with good hashes, and what is answered."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load, save
from workspaces import Arena, table_bytes

Change = Callable[[Arena], None]
ENSEMBLE, FOLD = "oof/ensemble", "models/mine/fold-1"


def in_json(folder: str, name: str, change: Callable[[Any], Any]) -> Change:
    def apply(arena: Arena) -> None:
        value = json.loads((arena.workspace / folder / name).read_bytes())
        made = change(value)
        arena.swap_file(folder, name, json.dumps(value if made is None else made).encode())

    return apply


def in_table(path: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Change:
    def apply(arena: Arena) -> None:
        place = arena.workspace / path
        content = table_bytes(change(pl.read_parquet(place)))
        if place.with_suffix(".json").is_file():
            arena.swap_noted(path, content)
        else:
            arena.swap_file(str(Path(path).parent), place.name, content)

    return apply


def in_weights(change: Callable[[dict[str, Any]], None]) -> Change:
    def apply(arena: Arena) -> None:
        arrays = dict(load((arena.workspace / FOLD / "weights.safetensors").read_bytes()))
        change(arrays)
        arena.swap_file(FOLD, "weights.safetensors", save(arrays))

    return apply


def raw(folder: str, name: str, content: bytes) -> Change:
    return lambda arena: arena.swap_file(folder, name, content)


def listed(name: str) -> Change:
    return lambda arena: arena.edit_card(ENSEMBLE, lambda card: card["files"].update({name: "0" * 64}))  # type: ignore[attr-defined]


def linked(path: str) -> Change:
    """The same content, behind a link to elsewhere."""

    def apply(arena: Arena) -> None:
        place, away = arena.workspace / path, arena.folder / "elsewhere"
        if away.is_dir():
            shutil.rmtree(away)
        away.unlink(missing_ok=True)
        shutil.move(place, away)
        place.symlink_to(away)

    return apply


def header(length: int, text: bytes = b"") -> bytes:
    return struct.pack("<Q", length) + text


def meta(**changes: Any) -> Change:
    def apply(arena: Arena) -> None:
        path = arena.workspace / "oof" / "folds.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return apply


def models_of(value: Any) -> Any:
    return next(iter(value["models"].values()))


STACKER = "stacker.json"


def shortened(value: Any) -> None:
    """The first list of numbers of the first model loses its last."""
    values = models_of(value)["values"]
    values[next(key for key, found in values.items() if isinstance(found, list) and found)].pop()


CASES: dict[str, tuple[Change, str]] = {
    # cards
    "a card that lists a parent's file": (listed("../mine/oof.parquet"), "which lies outside"),
    "a card that lists an absolute file": (listed("/etc/passwd"), "which lies outside"),
    "a card that climbs in the middle": (listed("a/../../b"), "which lies outside"),
    "a card that lists a hidden file": (listed(".ssh"), "which lies outside"),
    "a card that lists a nameless file": (listed(""), "which lies outside"),
    "a card that lists an absent file": (listed("more.bin"), "missing"),
    "a card that lists a name with NUL": (listed("a\0b"), "which lies outside"),
    "a card of 17 MiB": (
        lambda arena: (arena.workspace / ENSEMBLE / "card.json").write_bytes(b" " * (17 << 20)) and None,
        "larger than",
    ),
    "a card nested too deeply": (
        lambda arena: (arena.workspace / ENSEMBLE / "card.json").write_bytes(b"[" * 100_000) and None,
        "not valid JSON",
    ),
    "a card that is a list": (
        lambda arena: (arena.workspace / ENSEMBLE / "card.json").write_bytes(b"[1]") and None,
        "expected a JSON object",
    ),
    "a card with a number of 9,999 digits": (
        lambda arena: (arena.workspace / ENSEMBLE / "card.json").write_bytes(b"9" * 9999) and None,
        "not valid JSON",
    ),
    "a card without its hash": (
        lambda arena: (arena.workspace / ENSEMBLE / "card.json").write_bytes(b'{"files": {}}') and None,
        "SHA-256 differs",
    ),
    # the stacker
    "a stacker of another format": (
        in_json(ENSEMBLE, STACKER, lambda v: v.update(format=99)),
        "another format",
    ),
    "a stacker that is a list": (in_json(ENSEMBLE, STACKER, lambda v: []), "another format"),
    "a stacker of no models": (in_json(ENSEMBLE, STACKER, lambda v: v.update(models={})), "not as written"),
    "a stacker that chose nothing": (
        in_json(ENSEMBLE, STACKER, lambda v: v.update(selection_frequency={})),
        "not as written",
    ),
    "a stacker whose models are a list": (
        in_json(ENSEMBLE, STACKER, lambda v: v.update(models=[1])),
        "not as written",
    ),
    "a stacker without names": (in_json(ENSEMBLE, STACKER, lambda v: v.update(names=[])), "not as written"),
    "a stacker of an unknown kind": (
        in_json(ENSEMBLE, STACKER, lambda v: models_of(v).update(kind="pickle")),
        "not as written",
    ),
    "a stacker that chose what is not there": (
        in_json(ENSEMBLE, STACKER, lambda v: v.update(selection_frequency={"best": 1.0})),
        "not as written",
    ),
    "a stacker with NaN inside": (
        in_json(ENSEMBLE, STACKER, lambda v: models_of(v).update(beta=float("nan"))),
        "no whole JSON",
    ),
    "a stacker infinitely sharp": (
        in_json(ENSEMBLE, STACKER, lambda v: models_of(v).update(beta=float("inf"))),
        "no whole JSON",
    ),
    "a stacker sharp beyond floats": (
        lambda arena: arena.swap_file(
            ENSEMBLE,
            STACKER,
            re.sub(rb'"beta": [^,]+', b'"beta": 1e999', (arena.workspace / ENSEMBLE / STACKER).read_bytes()),
        ),
        "not as written",
    ),
    "a stacker of negative sharpness": (
        in_json(ENSEMBLE, STACKER, lambda v: models_of(v).update(beta=-1.0)),
        "not as written",
    ),
    "a stacker whose sharpness is text": (
        in_json(ENSEMBLE, STACKER, lambda v: models_of(v).update(beta="x")),
        "not as written",
    ),
    "a stacker that names a file elsewhere": (
        in_json(ENSEMBLE, STACKER, lambda v: models_of(v).update(texts=[{"file": "../x", "sha256": "0"}])),
        "lacks ../x",
    ),
    "a stacker of too few numbers": (in_json(ENSEMBLE, STACKER, shortened), "does not fit together"),
    "a stacker that is no JSON": (raw(ENSEMBLE, STACKER, b"\x80\x04K\x01."), "no whole JSON"),
    "a stacker that is empty": (raw(ENSEMBLE, STACKER, b""), "no whole JSON"),
    "a stacker nested too deeply": (raw(ENSEMBLE, STACKER, b"[" * 100_000), "no whole JSON"),
    "a score table of other keys": (
        in_json(ENSEMBLE, "table.json", lambda v: {"rows": [{"x": 1}]}),
        "not a score table",
    ),
    "a score table that is a list": (in_json(ENSEMBLE, "table.json", lambda v: [1]), "not a score table"),
    # tables
    "OOF without a column": (
        in_table("oof/mine/oof.parquet", lambda f: f.drop("logp_tie")),
        "lacks the columns logp_tie",
    ),
    "OOF of text": (
        in_table("oof/mine/oof.parquet", lambda f: f.with_columns(logp_a=pl.lit("x"))),
        "another type",
    ),
    "OOF of NaN": (
        in_table("oof/mine/oof.parquet", lambda f: f.with_columns(logp_a=pl.lit(float("nan")))),
        "not as written",
    ),
    "OOF of infinity": (
        in_table("oof/mine/oof.parquet", lambda f: f.with_columns(logp_a=pl.lit(float("inf")))),
        "not as written",
    ),
    "OOF that sums to 3": (
        in_table("oof/mine/oof.parquet", lambda f: f.with_columns(pl.col("^logp_.*$") * 0.0)),
        "not as written",
    ),
    "OOF of an id twice": (
        in_table("oof/mine/oof.parquet", lambda f: f.with_columns(id=f["id"][0])),
        "not as written",
    ),
    "OOF of other ids": (
        in_table("oof/mine/oof.parquet", lambda f: f.with_columns(pl.col("id") + 10**9)),
        "ids are missing",
    ),
    "OOF of ids as text": (
        in_table("oof/mine/oof.parquet", lambda f: f.with_columns(pl.col("id").cast(pl.String))),
        "ids are String",
    ),
    "OOF of no rows": (in_table("oof/mine/oof.parquet", lambda f: f.head(0)), "ids are missing"),
    "OOF of half the rows": (in_table("oof/mine/oof.parquet", lambda f: f.head(30)), "30 ids are missing"),
    "OOF of fractional folds": (
        in_table("oof/mine/oof.parquet", lambda f: f.with_columns(fold=pl.lit(0.5))),
        "another type",
    ),
    "OOF that is a CSV": (raw("oof/mine", "oof.parquet", b"id,fold\n1,2\n"), "no whole parquet file"),
    "OOF of 2^31 bytes in its footer": (
        raw("oof/mine", "oof.parquet", b"PAR1" + b"\xff" * 40 + b"\xff\xff\xff\x7fPAR1"),
        "no whole parquet file",
    ),
    "a test table without a column": (in_table("oof/mine/test.parquet", lambda f: f.drop("fold")), "fold"),
    "a test table of NaN": (
        in_table("oof/mine/test.parquet", lambda f: f.with_columns(logp_b=pl.lit(float("nan")))),
        "not as written",
    ),
    "a test table of no rows": (in_table("oof/mine/test.parquet", lambda f: f.head(0)), "no rows by fold"),
    "a test table of one fold more": (
        in_table(
            "oof/mine/test.parquet",
            lambda f: pl.concat([f, f.head(1).with_columns(fold=pl.lit(9, pl.Int64))]),
        ),
        "ids are missing",
    ),
    # folds
    "folds beyond their number": (
        in_table("oof/folds.parquet", lambda f: f.with_columns(pl.col("fold") + 5)),
        "folds: expected",
    ),
    "a group in two folds": (
        in_table("oof/folds.parquet", lambda f: f.with_columns(group=pl.lit(0, pl.Int64))),
        "lies in two folds",
    ),
    "rows moved to another fold": (
        in_table("oof/folds.parquet", lambda f: f.with_columns(fold=(pl.col("fold") + 1) % 3)),
        "fold file was edited",
    ),
    "folds of other ids": (
        in_table("oof/folds.parquet", lambda f: f.with_columns(pl.col("id") + 1)),
        "fold file was edited",
    ),
    "folds of text": (
        in_table("oof/folds.parquet", lambda f: f.with_columns(fold=pl.lit("x"))),
        "another type",
    ),
    "folds without groups": (in_table("oof/folds.parquet", lambda f: f.drop("group")), "lacks group"),
    "folds of another seed": (meta(seed=5), "fold file was edited"),
    "folds whose number is text": (meta(n_folds="3"), "another type"),
    "folds of 10^9": (meta(n_folds=10**9), "folds: expected"),
    "folds of -1": (meta(n_folds=-1), "folds: expected"),
    "folds of other battles": (meta(battles_digest="0" * 64), "fold file was edited"),
    # what a fold learned
    "weights that are text": (raw(FOLD, "weights.safetensors", b"hello, world"), "lexical member"),
    "weights that are a pickle": (
        raw(FOLD, "weights.safetensors", b"\x80\x04cos\nsystem\n."),
        "lexical member",
    ),
    "weights with a header of 2^63 bytes": (
        raw(FOLD, "weights.safetensors", header(2**63, b"{}")),
        "lexical member",
    ),
    "weights with a header past the end": (
        raw(FOLD, "weights.safetensors", header(999, b"{}")),
        "lexical member",
    ),
    "weights with offsets past the end": (
        raw(
            FOLD,
            "weights.safetensors",
            header(
                64,
                json.dumps({"x": {"dtype": "F64", "shape": [9], "data_offsets": [0, 72]}}).encode().ljust(64),
            ),
        ),
        "lexical member",
    ),
    "weights of an absurd shape": (
        raw(
            FOLD,
            "weights.safetensors",
            header(
                80,
                json.dumps({"x": {"dtype": "F64", "shape": [2**40, 2**40], "data_offsets": [0, 8]}})
                .encode()
                .ljust(80),
            )
            + b"\0" * 8,
        ),
        "lexical member",
    ),
    "weights without a tensor": (in_weights(lambda a: a.pop("idf")), "does not fit together"),
    "weights of another shape": (in_weights(lambda a: a.update(idf=a["idf"][:-1])), "does not fit together"),
    "weights of NaN": (in_weights(lambda a: a.update(idf=a["idf"] * np.nan)), "diverged|does not fit"),
    "weights of infinity": (
        in_weights(lambda a: a.update({"odd.words": a["odd.words"] + np.inf})),
        "diverged|does not fit",
    ),
    "a vocabulary that is a list": (
        in_json(FOLD, "vocabulary.json", lambda v: [1, 2]),
        "does not fit together",
    ),
    "a vocabulary of other words": (
        in_json(FOLD, "vocabulary.json", lambda v: v.update(words=["a"])),
        "does not fit together",
    ),
    "a vocabulary of numbers": (
        in_json(FOLD, "vocabulary.json", lambda v: v.update(words=[1] * len(v["words"]))),
        "does not fit together",
    ),
    "an intercept that is code": (
        in_json(FOLD, "vocabulary.json", lambda v: v.update(intercept="exit()")),
        "does not fit together",
    ),
    "a vocabulary of another format": (
        in_json(FOLD, "vocabulary.json", lambda v: v.update(format=7)),
        "does not fit together|format",
    ),
    # links
    "an ensemble behind a link": (linked(ENSEMBLE), "is a symbolic link"),
    "a member behind a link": (linked("oof/mine"), "is a symbolic link"),
    "a card behind a link": (linked(ENSEMBLE + "/card.json"), "is a symbolic link"),
    "a stacker behind a link": (linked(ENSEMBLE + "/stacker.json"), "symbolic link"),
    "a fold behind a link": (linked(FOLD), "is a symbolic link"),
    "weights behind a link": (linked(FOLD + "/weights.safetensors"), "file is missing|symbolic link"),
}
