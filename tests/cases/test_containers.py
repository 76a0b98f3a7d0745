"""Cases 13, 15 and 16: JSON arrays and pandas' orients, zip archives, semicolons and tabs."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from data_files import KAGGLE, KAGGLE_TURNS, WRITERS, Rows, csv_text, triples

from arena_ensemble.errors import InputError
from arena_ensemble.io import load_battles, read_battles, read_labels, read_predictions, streams

COLUMNS = list(KAGGLE[0])


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return out.getvalue()


def delimited(rows: Rows, delimiter: str) -> bytes:
    import csv

    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(rows[0])
    writer.writerows([json.dumps(v) if isinstance(v, list) else v for v in row.values()] for row in rows)
    return out.getvalue().encode()


CSV = csv_text(KAGGLE).encode()
SHAPES: dict[str, bytes] = {
    "array": json.dumps(KAGGLE).encode(),
    "array over many lines": json.dumps(KAGGLE, indent=2).encode(),
    "array with a mark": b"\xef\xbb\xbf" + json.dumps(KAGGLE).encode(),
    "columns, as to_json writes": json.dumps(
        {name: {str(k): row[name] for k, row in enumerate(KAGGLE)} for name in COLUMNS}
    ).encode(),
    "columns over many lines": json.dumps(
        {name: {str(k): row[name] for k, row in enumerate(KAGGLE)} for name in COLUMNS}, indent=1
    ).encode(),
    "index": json.dumps({str(k): row for k, row in enumerate(KAGGLE)}).encode(),
    "split": json.dumps(
        {"columns": COLUMNS, "index": [0, 1, 2], "data": [list(row.values()) for row in KAGGLE]}
    ).encode(),
    "table": json.dumps({"schema": {"fields": []}, "data": KAGGLE}).encode(),
    "a dictionary of lists": json.dumps({name: [row[name] for row in KAGGLE] for name in COLUMNS}).encode(),
    "objects over many lines": "\n".join(json.dumps(row, indent=2) for row in KAGGLE).encode(),
    "semicolons": delimited(KAGGLE, ";"),
    "tabs": delimited(KAGGLE, "\t"),
    "zip": zipped(("train.csv", CSV)),
    "zip, stored": zipped(("train.csv", CSV), method=zipfile.ZIP_STORED),
    "zip, xz": zipped(("train.csv", CSV), method=zipfile.ZIP_LZMA),
    "zip from a Mac": zipped(
        ("train.csv", CSV), ("__MACOSX/._train.csv", b"\x00\x05"), (".DS_Store", b"\x00")
    ),
    "zip of a folder": zipped(("data/", b""), ("data/train.jsonl", WRITERS["jsonl"](KAGGLE))),
    "zip of a JSON array": zipped(("x.json", json.dumps(KAGGLE).encode())),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_battles_in_every_shape(name: str, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"  # a name that says something else
    path.write_bytes(SHAPES[name])
    assert triples(read_battles(path)) == KAGGLE_TURNS


def test_the_report_says_what_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for name, kind, compression in (("array", "json", ""), ("zip", "csv", "zip"), ("tabs", "csv", "")):
        path.write_bytes(SHAPES[name])
        report = load_battles(path).report
        assert (report.kind, report.compression) == (kind, compression)


@pytest.mark.parametrize("shape", [
    lambda text: zipped(("p.csv", text)),
    lambda text: text.replace(b",", b";"),
    lambda text: text.replace(b",", b"\t"),
])  # fmt: skip
def test_predictions_and_labels_too(shape: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(shape(b"id,p_a,p_b,p_tie\n1,.5,.25,.25\n2,1,0,0\n"))
    assert read_predictions(path)["p"].ids.to_list() == [1, 2]
    path.write_bytes(shape(b"id,label\n1,2\n2,0\n"))
    assert read_labels(path)["outcome"].to_list() == [2, 0]


def test_a_zip_of_several_files_names_them(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(zipped(("train.csv", CSV), ("test.csv", CSV), ("sample_submission.csv", b"id")))
    message = r"zip archive of 3 files: train\.csv, test\.csv, sample_submission\.csv; unpack it, give one"
    with pytest.raises(InputError, match=message):
        read_battles(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(), "a zip archive without a file"),
        (
            zipped(("[Content_Types].xml", b"x"), ("xl/workbook.xml", b"x")),
            "an Excel workbook; save it as CSV",
        ),
        (zipped(("x.csv", CSV))[:-30], "broken or cut-off zip archive"),
        (
            zipped(("x.csv", CSV))[:40] + b"\xff" * 40 + zipped(("x.csv", CSV))[80:],
            "broken or cut-off|cut off",
        ),
        (zipped(("x.parquet", WRITERS["parquet"](KAGGLE))), "a packed parquet file; unpack it"),
        (zipped(("x.zip", zipped(("x.csv", CSV)))), "binary"),
        (zipped(("x.csv", b"")), "is empty"),
    ],
)
def test_archives_that_cannot_be_read(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_battles(path)


def test_a_zip_with_a_password_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(("x.csv", CSV)))
    content[6] |= 1  # the flag of the file
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # and of the directory
    path = tmp_path / "x.zip"
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="a zip archive with a password; unpack it by hand"):
        read_battles(path)


def test_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_BOMB_BYTES", 1 << 20)
    path = tmp_path / "bomb.csv"
    path.write_bytes(zipped(("train.csv", CSV + b"\n" * (1 << 24))))
    with pytest.raises(InputError, match="swells over 250 times when unpacked"):
        read_battles(path)


@pytest.mark.parametrize(
    "text", ["id;p_a;p_b;p_tie\n1;0,5;0,25;0,25\n", "id\tp_a\tp_b\tp_tie\n1\t0,5\t,25\t0,25\n"]
)
def test_decimal_commas_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(
        InputError, match=r"row 1 \(id 1\): p_a is '0,5', expected a number; write decimal points"
    ):
        read_predictions(path)


def test_a_semicolon_within_a_header_of_commas_is_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(CSV.replace(b"model_a,", b"model;a,", 1))
    assert triples(read_battles(path)) == KAGGLE_TURNS


def test_a_row_of_message_objects_is_a_row_and_no_table(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    user, good = {"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}
    path.write_text(json.dumps({"messages": user, "chosen": good, "rejected": {**good, "content": "bad"}}))
    found = read_battles(path).frame
    assert found["prompt"].to_list() == [["q"]]
    assert sorted([found["response_a"][0][0], found["response_b"][0][0]]) == ["bad", "good"]


def test_a_large_array_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arena_ensemble.io import json_rows

    monkeypatch.setattr(json_rows, "_CHUNK_CHARS", 7)
    path = tmp_path / "x.json"
    for content in (json.dumps(KAGGLE), json.dumps(KAGGLE, indent=3)):
        path.write_text(content)
        assert triples(read_battles(path)) == KAGGLE_TURNS
    path.write_text(json.dumps(KAGGLE)[:-300])
    with pytest.raises(InputError, match="row 3: not one whole JSON object"):
        read_battles(path)


def test_a_damaged_directory_of_a_zip_is_a_broken_archive(tmp_path: Path) -> None:
    whole = zipped(("x.csv", CSV))
    directory = whole.rindex(b"PK\x01\x02")
    version, encoding, name = bytearray(whole), bytearray(whole), bytearray(whole)
    version[directory + 6] = 255  # a version of zip that does not exist
    encoding[directory + 9] |= 8  # a name that says it is UTF-8
    encoding[directory + 46] = 0xFF
    name[directory + 46] = 0
    path = tmp_path / "x.zip"
    for content in (version, encoding, name):
        path.write_bytes(bytes(content))
        for read in (read_battles, read_labels, read_predictions):
            with pytest.raises(InputError, match=r"broken or cut-off zip archive .*fetch it again"):
                read(path)
