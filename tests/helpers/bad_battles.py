"""Bad files of battles: how to build each and what the one-line error must say."""

from __future__ import annotations

import gzip
import json

import polars as pl
import zstandard
from bad_file_builders import (
    ARENA,
    FLIPPED,
    GOOD,
    HEADER,
    LISTED,
    PACKED,
    WSDM,
    Case,
    a_folder,
    cell,
    dangling_link,
    file,
    lines,
    named_pipe,
    parquet,
    rows,
    text,
    unlabelled,
    without,
)

FILES = [
    Case("missing file", lambda folder: folder / "none.csv", "none.csv does not exist"),
    Case("a folder", a_folder, "is a folder; give the file in it"),
    Case("a pipe", named_pipe, "is not a regular file"),
    Case("a dangling link", dangling_link, "does not exist"),
    Case("empty file", file(b""), "is empty"),
    Case("white space only", file("\n \n\n"), "is empty"),
    Case("byte order mark only", file(b"\xef\xbb\xbf"), "is empty"),
    Case("header alone", file(",".join(HEADER) + "\n"), "has a header but no rows"),
    Case("header alone, no newline", file(",".join(HEADER)), "has a header but no rows"),
    Case("binary garbage", file(bytes(range(256)) * 20), "is binary"),
    Case("binary without NUL", file(bytes(range(1, 32)) * 50), "is binary"),
    Case("a picture", file(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64)), "is binary"),
    Case("UTF-16 with mark", file(GOOD.encode("utf-16")), "looks like UTF-16 text; save it as UTF-8"),
    Case("UTF-16 without mark", file(GOOD.encode("utf-16-le")), "looks like UTF-16 text"),
    Case("UTF-32", file(GOOD.encode("utf-32-be")), "looks like UTF-32 text"),
    Case(
        "Latin-1",
        file(text(rows(model_a="café")).encode("latin-1")),
        r"bad\.csv row 3 \(line 4\): byte 0xe9 is not UTF-8",
    ),
    Case("Latin-1 header", file(("é," + GOOD).encode("latin-1")), "header .*byte 0xe9 is not UTF-8"),
    Case(
        "a JSON array, cut",
        file(json.dumps(rows())[:-9], "x.json"),
        r"x\.json row 8: not one whole JSON object",
    ),
    Case(
        "a JSON array, a bracket missing",
        file(json.dumps(rows())[:-1], "x.json"),
        "row 9: not one whole JSON",
    ),
    Case(
        "a JSON array, no comma",
        file(json.dumps(rows()).replace("}, {", "} {", 1), "x.json"),
        "row 2: not one",
    ),
    Case(
        "a JSON array and more",
        file(json.dumps(rows()) + "[]", "x.json"),
        "text after the end of the JSON array",
    ),
    Case("a JSON array of lists", file("[[1, 2]]", "x.json"), "no column names"),
    Case("a JSON array of nothing", file("[]", "x.json"), "no column names"),
    Case("bars", file(GOOD.splitlines()[0].replace(",", "|")), "separate the columns by commas"),
    Case("unknown columns", file("a,b,c\n1,2,3\n"), "has columns that fit no known format: a, b, c"),
    Case("a column twice", file("id,id,prompt\n1,2,3\n"), "the column 'id' occurs twice"),
    Case("unnamed columns", file(",,\n1,2,3\n"), "no column names"),
    Case("a web page", file("<html>\n<body>404</body>\n</html>\n"), "fit no known format: <html>"),
    *(
        Case(
            f"lacks {name}", file(without(name)), rf"bad\.csv lacks the column {name} \(Kaggle LMSYS format\)"
        )
        for name in ("id", "prompt", "response_a", "response_b", "winner_model_a", "winner_tie")
    ),
    Case(
        "two columns that differ in case only",
        file(GOOD.replace("model_a,model_b,prompt", "PROMPT,model_b,Prompt", 1)),
        "the columns PROMPT and Prompt, which differ in case only; rename one",
    ),
]

SHAPE = [
    Case(
        "a row too short",
        file(GOOD.replace(",m1,m2,", ",m1,", 3)),
        r"row 1 \(id 1\): 8 cells, the header has 9",
    ),
    Case(
        "a row too long", file(GOOD + '9,m1,m2,"[""q""]","[""a""]","[""b""]",1,0,0,0\n'), "row 9 .*10 cells"
    ),
    Case("an unquoted comma", file(text(rows()).replace('"[""a 3""]"', "[a, 3]")), r"row 3 .*10 cells"),
    Case("a quote not closed", file(GOOD[: GOOD.rindex('"')]), "row 8 .*ends inside a quoted cell"),
    Case("a quote not doubled", file(GOOD.replace('""a 3""', '"a 3"')), "row 3 .*must be doubled"),
    Case(
        "cut in the middle of a row", file(GOOD[: GOOD.index('"[""b 8')]), r"row 8 .*cells, the header has 9"
    ),
    Case("a giant cell", file(GOOD + '9,"' + "x" * ((1 << 24) + 9)), "a quote is probably not closed"),
    Case("NUL in a cell", file(PACKED + "401,m\0", "x.csv"), "binary|NUL|cells"),
]

CELLS = [
    cell("prompt", '["cut', r"prompt is not whole JSON .*cut off", "truncated JSON"),
    cell("response_b", '["a"', "response_b is not whole JSON", "JSON without its bracket"),
    cell("prompt", "", "prompt is empty, expected a JSON list", "an empty prompt cell"),
    cell("response_a", "  ", "response_a is empty", "a blank cell"),
    cell("prompt", "plain words", "prompt is not whole JSON", "plain text"),
    cell("prompt", "['a' 'b']", "looks like a printed NumPy array.*write it as JSON", "a NumPy array"),
    cell("prompt", "['a'\n 'b' None]", "looks like a printed NumPy array", "a NumPy array on two lines"),
    cell("prompt", '{"a": 1}', r"prompt is JSON but no list of turns \(a JSON object\)", "a JSON object"),
    cell("prompt", '"text"', r"no list of turns \(a string\)", "a JSON string"),
    cell("prompt", "12", r"no list of turns \(a number\)", "a JSON number"),
    cell(
        "response_a", '["a", 1]', r"no list of strings and nulls \(turn 2 is a number\)", "a number as turn"
    ),
    cell("response_a", '[["a"]]', r"\(turn 1 is a list\)", "a list as turn"),
    cell("response_a", '[{"a": 1}]', r"\(turn 1 is a JSON object\)", "an object as turn"),
    cell("response_a", "[true]", r"\(turn 1 is a boolean\)", "a boolean as turn"),
    cell("response_a", "[NaN]", r"\(turn 1 is a number\)", "NaN as turn"),
    cell("response_a", '["a"] tail', "not whole JSON", "text after the list"),
    cell("response_a", '["a",]', "not whole JSON", "a comma too many"),
    cell("response_a", '["\\x"]', "not whole JSON", "an unknown escape"),
    cell("response_a", '["a\nb"]', "not whole JSON", "a raw newline within JSON"),
    cell("response_a", "[" * 100_000, "JSON nested too deeply|not whole JSON", "a JSON bomb of brackets"),
    cell("response_a", f"[{'9' * 5000}]", "too many digits", "a number of 5,000 digits"),
    cell("response_a", '["a", "b"]', "prompt has 1 turns, response_a has 2", "more answers than questions"),
    cell("prompt", '["a", "b"]', "prompt has 2 turns, response_a has 1", "more questions than answers"),
    cell("winner_tie", 1, "winner columns sum to 2, expected 1", "winners sum to 2"),
    cell("winner_model_a", 0, "winner columns sum to 0, expected 1", "winners sum to 0"),
    cell("winner_tie", "NaN", "winner_tie is NaN|winner_tie is nan", "a NaN winner"),
    cell("winner_tie", "", "winner_tie is empty, expected 0 or 1", "an empty winner"),
    cell("winner_tie", -1, "winner_tie is -1, expected 0 or 1", "a negative winner"),
    cell("winner_tie", 0.5, "winner_tie is 0.5, expected 0 or 1", "a soft winner"),
    cell("winner_tie", "yes", "winner_tie is 'yes', expected 0 or 1", "a word as winner"),
    cell("winner_tie", "inf", "winner_tie is inf, expected 0 or 1", "an infinite winner"),
    cell("winner_tie", "1e999", "expected 0 or 1", "a winner beyond floats"),
    Case(
        "an id twice",
        file(text(rows(id=2))),
        r"bad\.csv row 3 \(id 2\): the id repeats row 2; ids must be unique",
    ),
    Case("an empty id", file(text(rows(id=""))), r"row 3 \(id \): the id is empty"),
    Case(
        "float ids",
        file(text([{**row, "id": f"{row['id']}.5"} for row in rows()])),
        r"row 1 \(id 1\.5\): the id is a float",
    ),
    Case("a rounded id", file(text(rows(id="4.2e+09"))), r"row 3 \(id 4\.2e\+09\): the id is a float"),
    Case(
        "many bad rows",
        file(text([{**row, "winner_tie": 7} for row in rows(50)])),
        "50 of 50 rows cannot be used: row 1 .*and 47 more",
    ),
]

OUTCOMES = [
    Case(
        "one outcome only",
        file(text([{**r, "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0} for r in rows()])),
        r"one outcome only \(A wins in all 8 rows\)",
    ),
    Case(
        "no outcomes in a training file",
        file(text([{k: v for k, v in r.items() if not k.startswith("winner")} for r in rows()])),
        "holds no outcomes; training needs the winner columns",
    ),
    Case(
        "fewer groups than folds",
        file(text(rows(4))),
        "4 groups of battles .* for 5 folds; use at most 4 folds",
    ),
    Case(
        "one prompt in all rows",
        file(text([{**row, "prompt": '["same"]'} for row in rows()])),
        "1 groups of battles .* with one prompt nothing can be held out",
    ),
]

PACKING = [
    Case("truncated gzip", file(gzip.compress(PACKED.encode())[:-200], "x.csv.gz"), "broken or cut-off gzip"),
    Case("gzip with a flipped byte", file(FLIPPED, "x.gz"),
        "broken or cut-off gzip|is not UTF-8|binary|cells|row|fit no"),
    Case("gzip header alone", file(b"\x1f\x8b\x08\x00"), "broken or cut-off gzip"),
    Case("gzip of nothing", file(gzip.compress(b"")), "is empty"),
    Case("tail after gzip", file(gzip.compress(GOOD.encode()) + b"tail"), "broken or cut-off gzip"),
    Case("gzip bomb", file(gzip.compress(GOOD.encode() + b"x" * (1 << 25))),
         "header has 9|quote is probably|over"),
    Case("truncated zstandard", file(zstandard.compress(PACKED.encode())[:-50], "x.zst"),
         "cut-off zstandard"),
    Case("zstandard header alone", file(b"\x28\xb5\x2f\xfd"), "cut-off zstandard"),
    Case("zstandard garbage", file(b"\x28\xb5\x2f\xfd" + b"\xff" * 99), "broken zstandard|cut-off zstandard"),
    Case("tail after zstandard", file(zstandard.compress(GOOD.encode()) + b"tail"), "zstandard"),
    Case("gzip within gzip", file(gzip.compress(gzip.compress(GOOD.encode()))), "binary|not UTF-8"),
    Case("truncated parquet", file(parquet(LISTED)[:-100], "x.parquet"), "is no whole parquet file"),
    Case("parquet magic alone", file(b"PAR1PAR1"), "is no whole parquet file"),
    Case("parquet with a huge footer", file(b"PAR1" + b"\xff" * 40 + b"\xff\xff\xff\x7fPAR1"),
         "parquet file"),
    Case("parquet, unknown columns", file(parquet(pl.DataFrame({"x": [1]}))), "fit no known format: x"),
    Case("parquet, no rows", file(parquet(LISTED.head(0))), "has a header but no rows"),
    Case(
        "parquet, float ids",
        file(parquet(LISTED.with_columns(pl.col("id").cast(pl.Float64) + 0.5))),
        r"row 1 \(id 1\.5\): the id is a float, expected an integer or a string",
    ),
    Case(
        "parquet, float32 ids",
        file(parquet(LISTED.with_columns((pl.col("id") + 2**24).cast(pl.Float32)))),
        r"the id is a float beyond 16,777,216",
    ),
    Case("parquet, boolean ids", file(parquet(LISTED.head(1).with_columns(id=True))), "the id is a bool"),
    Case("parquet, a null id", file(parquet(LISTED.with_columns(id=None))), "the id is empty"),
    Case(
        "parquet, numbers as turns",
        file(parquet(LISTED.with_columns(prompt=[1, 2]))),
        r"prompt is no list of strings and nulls \(turn 1 is a number\)",
    ),
    Case("parquet, bytes as prompt", file(parquet(LISTED.with_columns(prompt=b"x"))), r"prompt is .*bytes"),
    Case("parquet, ids past 64 bits",
         file(parquet(LISTED.head(1).with_columns(id=pl.lit(2**64 - 1, pl.UInt64)))), "too large an integer"),
]  # fmt: skip

JSON_LINES = [
    Case(
        "JSON lines, cut", file(lines(ARENA)[:-20], "x.jsonl"), r"x\.jsonl row 1: not one whole JSON object"
    ),
    Case("JSON lines, a list in row 2", file(lines(ARENA, "[1]")), r"row 2: a JSON list, expected an object"),
    Case("JSON lines, a number in row 2", file(lines(ARENA, "1")), "row 2: a JSON int, expected an object"),
    Case(
        "JSON lines, two objects in a line",
        file(lines(ARENA).strip() * 2),
        "row 1: not one whole JSON object",
    ),
    Case(
        "JSON lines, ids of two types",
        file(lines({**ARENA, "question_id": 1}, ARENA)),
        "an integer among strings",
    ),
    Case("JSON lines, deep", file('{"a": ' + "[" * 100_000), "not one whole JSON object"),
    Case("JSON lines, no fields", file("{}\n"), "no column names"),
    Case(
        "JSON lines, id missing",
        file(lines(ARENA, {**ARENA, "question_id": None})),
        r"row 2 \(id None\): the id is",
    ),
]

TALKS = [
    Case(name, file(lines({**ARENA, **change})), rf"bad\.csv row 1 \(id q\): .*{message}")
    for name, change, message in [
        (
            "unknown verdict",
            {"winner": "nobody"},
            "winner is 'nobody', expected model_a, model_b or a kind of tie",
        ),
        ("a number as verdict", {"winner": 1}, "winner is '1', expected"),
        ("a conversation that is text", {"conversation_a": "hello"}, "conversation_a is not whole JSON"),
        (
            "a conversation that is an object",
            {"conversation_a": {"role": "user"}},
            "conversation_a is a JSON object",
        ),
        (
            "a null conversation",
            {"conversation_a": None},
            "conversation_a is a null, expected a list of messages",
        ),
        (
            "a message without role",
            {"conversation_a": [{"content": "x"}]},
            "message 1 is no object with role",
        ),
        ("a message that is text", {"conversation_a": ["x"]}, "message 1 is no object with role"),
        ("an unknown role", {"conversation_a": [{"role": "judge", "content": "x"}]}, "has the role 'judge'"),
        (
            "an answer first",
            {"conversation_a": [{"role": "assistant", "content": "x"}]},
            "begins with an answer",
        ),
        (
            "a number as content",
            {"conversation_a": [{"role": "user", "content": 5}]},
            "has as content a number",
        ),
        (
            "a number as part",
            {"conversation_a": [{"role": "user", "content": [5]}]},
            "a part of the kind number",
        ),
        (
            "other questions",
            {"conversation_a": [{"role": "user", "content": "x"}]},
            "hold different questions",
        ),
    ]
]

OTHERS = [
    Case("WSDM, unknown verdict", file(text([{**WSDM, "winner": "modelA"}])),
         r"\(id w\): winner is 'modelA'"),
    Case("WSDM, empty verdicts", file(text([{**WSDM, "winner": ""}])), "holds no outcomes; training needs"),
    Case("WSDM, an empty verdict", file(text([WSDM, {**WSDM, "id": "x", "winner": ""}])),
         r"1 of 2 rows without a vote, the first in row 2 \(id x\); fill them in, or .* --skip-unvoted"),
    Case("WSDM, a number as prompt", file(lines({**WSDM, "prompt": 42})),
         "prompt is a number, expected text"),
    Case("pairs, different questions", file(lines({
        "chosen": ARENA["conversation_a"], "rejected": [{"role": "user", "content": "z"}]})),
        r"row 1 \(id 1\): chosen and rejected answer different questions"),
    Case("pairs, a number", file(lines({"prompt": "q", "chosen": 1, "rejected": "b"})), "chosen is a number"),
    Case("pairs, messages cut", file(text([{"chosen": '[{"role": "us', "rejected": "b"}])),
         "chosen is not whole JSON"),
    Case("pairs, only chosen", file("chosen,prompt\na,b\n"), "lacks the column rejected"),
]  # fmt: skip

TESTS = [
    Case("test ids that repeat", file(text(unlabelled(rows(id=1)))),
         r"bad\.csv row 3 \(id 1\): the id repeats row 1", "test"),
    Case("test file, truncated JSON", file(text(unlabelled(rows(prompt='["x')))),
         "prompt is not whole JSON", "test"),
    Case("test file without responses", file("id,prompt\n1,x\n"), "lacks the column response_a, response_b",
         "test"),
]  # fmt: skip

BATTLES = [*FILES, *SHAPE, *CELLS, *OUTCOMES, *PACKING, *JSON_LINES, *TALKS, *OTHERS, *TESTS]
