"""NumPy files with predictions: never joined by row order unless the caller says which rows they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_files import random_log_probs

from arena_ensemble.errors import InputError
from arena_ensemble.io import load_predictions, read_predictions

PROBS = np.exp(random_log_probs(6))
IDS = [30, 10, 20, 60, 50, 40]


def ids_file(folder: Path, name: str = "id", values: list[Any] = IDS) -> Path:
    path = folder / "test.csv"
    pl.DataFrame({name: values, "prompt": ["q"] * len(values)}).write_csv(path)
    return path


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("kind", ["npy", "npz", "npz, packed"])
def test_arrays_with_a_file_of_ids(kind: str, dtype: Any, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{kind[:3]}"
    if kind == "npy":
        np.save(path, PROBS.astype(dtype))
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(path, oof=PROBS.astype(dtype))
    found = read_predictions(path, ids=ids_file(tmp_path, "ID"))
    assert list(found) == ["mine"]
    assert found["mine"].ids.to_list() == IDS
    np.testing.assert_allclose(found["mine"].probs, PROBS, atol=2e-3)
    with pytest.raises(
        InputError, match=r"does not say which row is which battle; give a file .*\(--ids FILE\)"
    ):
        read_predictions(path)


def test_ids_within_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    for ids in (IDS, [float(k) for k in IDS], [f"x{k}" for k in IDS]):
        np.savez(path, ids=np.array(ids), probs=PROBS)
        found = read_predictions(path)["mine"]
        assert found.ids.to_list() == ([int(k) for k in ids] if isinstance(ids[0], float) else ids)


def test_several_arrays_are_several_members_or_seeds(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, s1=PROBS, s2=PROBS[::-1])
    assert list(read_predictions(path, ids=ids_file(tmp_path))) == ["s1", "s2"]
    mean = read_predictions(path, ids=ids_file(tmp_path), average=True)
    assert list(mean) == ["mine"]
    np.testing.assert_allclose(mean["mine"].probs, mean["mine"].probs[::-1], atol=1e-12)


def test_logits_and_two_outcomes(tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    np.save(path, np.log(PROBS) + 3)
    np.testing.assert_allclose(
        read_predictions(path, ids=ids_file(tmp_path), logits=True)["mine"].probs, PROBS
    )
    np.save(path, PROBS[:, :2] / PROBS[:, :2].sum(axis=1, keepdims=True))
    assert (read_predictions(path, ids=ids_file(tmp_path))["mine"].probs[:, 2] == 0).all()


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        raise AssertionError("unpickled")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.stack([PROBS, PROBS]), r"has the shape \(2, 6, 3\), expected \(n, 3\)"),
        (PROBS[:, :1], r"has the shape \(6, 1\)"),
        (PROBS[:, 0], r"holds no array of shape \(n, 3\)"),
        (PROBS[:5], "has 5 rows, test.csv 6; give the ids of this array"),
        (PROBS[:0], "has no rows"),
        (PROBS * 3, "divide each row by its sum"),
        (np.where(PROBS.max() == PROBS, np.nan, PROBS), r"NaN in 1 of 6 rows"),
        (PROBS.astype(complex), "holds complex128, expected floats"),
        (np.array([[{}] * 3] * 6), "cannot be read as NumPy arrays"),
        (PROBS > 0.5, "holds bool, expected floats"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_other_arrays_are_refused(array: Any, message: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{kind}"
    (np.save if kind == "npy" else np.savez)(path, array, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        load_predictions(path, ids=ids_file(tmp_path))


@pytest.mark.parametrize("cut", [7, 60, 150, -1])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_cut_file_is_refused(cut: int, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{kind}"
    (np.save if kind == "npy" else np.savez)(path, PROBS)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"save it again|fetch it again"):
        load_predictions(path, ids=ids_file(tmp_path))


def test_a_header_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    np.save(path, PROBS)
    path.write_bytes(path.read_bytes().replace(b"(6, 3)", b"(1" + b"0" * 15 + b", 3)")[:180])
    with pytest.raises(InputError, match=r"cannot be read as NumPy arrays|cut off"):
        load_predictions(path, ids=ids_file(tmp_path))


def test_a_table_names_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,p_a,p_b,p_tie\n1,1,0,0\n")
    with pytest.raises(InputError, match="leave out the file of ids"):
        load_predictions(path, ids=ids_file(tmp_path))


def test_a_file_of_ids_without_ids(tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    np.save(path, PROBS)
    with pytest.raises(InputError, match=r"test\.csv lacks the column id"):
        load_predictions(path, ids=ids_file(tmp_path, "row"))
    with pytest.raises(InputError, match="the id repeats"):
        load_predictions(path, ids=ids_file(tmp_path, values=[1, 1, 2, 3, 4, 5]))
