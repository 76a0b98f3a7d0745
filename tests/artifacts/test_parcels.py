"""Parcels of a workspace: what is packed is unpacked as it was, whole or not at all, here or in a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble.artifacts.parcels import pack, unpack
from arena_ensemble.artifacts.stores import Store
from arena_ensemble.errors import ArtifactError, InputError

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)


@settings(max_examples=10)  # each writes to the disk and waits for it
@given(st.dictionaries(st.tuples(NAMES, NAMES), st.binary(max_size=50), max_size=6))
def test_unpacked_is_as_packed(
    tmp_path_factory: pytest.TempPathFactory, content: dict[tuple[str, str], bytes]
) -> None:
    root, there = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    for (folder, name), data in content.items():
        (root / f"d{folder}").mkdir(exist_ok=True)
        (root / f"d{folder}" / f"f{name}").write_bytes(data)
    parcel = pack(root, [root / f"d{folder}" for folder, _ in content] + [root / "absent"])
    assert parcel == {f"d{folder}/f{name}": data for (folder, name), data in content.items()}
    unpack(there, parcel)
    assert pack(there, sorted(there.iterdir())) == parcel
    Store(f"file://{there}/s").put("x", parcel)
    assert Store(f"file://{there}/s").get("x") == parcel


def test_a_folder_with_a_card_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "fold-0").mkdir()
    (tmp_path / "fold-0" / "old").write_text("old")
    unpack(tmp_path, {"fold-0/card.json": b"{}", "fold-0/base/weights": b"new", "beside.json": b"1"})
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "beside.json", "fold-0/base/weights", "fold-0/card.json",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a//../x", ".hidden"])
def test_a_name_outside_the_workspace_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="outside the workspace"):
        unpack(tmp_path / "w", {"fine": b"", name: b"x"})
    assert not list(tmp_path.rglob("*"))


def test_a_store_gives_whole_parcels_alone(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    assert store.get("none") is None
    store.put("one", {"a/b": b"text", "c": b""})
    store.put("one", {"a/b": b"later"})
    assert store.get("one") == {"a/b": b"text", "c": b""}, "what is there stays"
    for damage in (b"other", None):
        path = tmp_path / "one" / "a" / "b"
        path.unlink() if damage is None else path.write_bytes(damage)
        with pytest.raises(ArtifactError, match="a/b: missing or its SHA-256 differs"):
            store.get("one")
    (tmp_path / "one" / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="no JSON"):
        store.get("one")
    (tmp_path / "one" / "manifest.json").unlink()
    assert store.get("one") is None, "without its manifest it is not there"
    assert json.loads((tmp_path / "one" / "c").read_bytes() or b"0") == 0


def test_a_store_of_an_unknown_kind_is_named() -> None:
    with pytest.raises(InputError, match=r"--store nonsense://x/y: .*give a URL such as s3://bucket/run"):
        Store("nonsense://x/y")
