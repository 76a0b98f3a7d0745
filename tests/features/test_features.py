"""Laws of the features: what a swap does, finite numbers, rows apart; and counts against plain Python."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble.battles import Battles
from arena_ensemble.features import Features, extract, extraction, patterns
from arena_ensemble.features.extraction import side_counts
from arena_ensemble.features.patterns import MARKS, PHRASES, SCRIPTS, WORD
from arena_ensemble.io import read_battles
from arena_ensemble.sample import make_arena

NASTY = (
    *("", " ", "\n\n\n", "\t \r\n", "null", "💥" * 5, "あいう。漢字", "Привет, мир!", "مرحبا", "नमस्ते"),
    *(
        "```py\nx = 1\n```",
        "**bold** and `code`",
        "# Title\n\n- one\n  - two\n1. three",
        "| a | b |\n|---|---|",
    ),
    *("I'm sorry, but as an AI language model I cannot help.", "same\nsame\nsame\nsame", "a" * 5000),
    *(
        '{"key": "value"}',
        "$x^2$ \\frac{1}{2}",
        "WHY?! …",
        "\x00\x01",
        "e\u0301\u200d\ufeff",
        "Sure! Let me know",
    ),
)
texts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
turns = st.lists(st.one_of(st.none(), texts), max_size=3)
battle = st.tuples(turns, turns, turns)


def battles_of(rows: list[tuple[list[str | None], list[str | None], list[str | None]]]) -> Battles:
    return Battles.from_rows(
        [{"id": i, "prompt": p, "response_a": a, "response_b": b} for i, (p, a, b) in enumerate(rows)]
    )


def same(left: Features, right: Features) -> bool:
    names = (left.odd_names, left.even_names) == (right.odd_names, right.even_names)
    return names and left.odd.tobytes() == right.odd.tobytes() and left.even.tobytes() == right.even.tobytes()


@settings(max_examples=12)
@given(st.lists(battle, max_size=6))
def test_swap_negates_odd_and_keeps_even_to_the_bit(
    rows: list[tuple[list[str | None], list[str | None], list[str | None]]],
) -> None:
    battles = battles_of(rows)
    features = extract(battles)
    assert len(features) == len(rows)
    assert np.isfinite(features.odd).all()
    assert np.isfinite(features.even).all()
    assert same(extract(battles.swapped()), features.swapped())
    assert same(features.swapped().swapped(), features)


@settings(max_examples=12)
@given(st.lists(battle, min_size=2, max_size=6), st.integers(0, 99))
def test_rows_do_not_influence_one_another(
    rows: list[tuple[list[str | None], list[str | None], list[str | None]]], seed: int
) -> None:
    battles = battles_of(rows)
    order = np.random.default_rng(seed).permutation(len(rows))
    features = extract(battles)
    assert same(extract(battles.take(order)), features.take(order))
    assert same(extract(battles.take([0])), features.take(np.array([0])))


def test_reads_no_outcome_model_or_language() -> None:
    row = {"id": 1, "prompt": ["p"], "response_a": ["a b"], "response_b": ["c"], "outcome": 0}
    told = {**row, "outcome": 1, "model_a": "x", "model_b": "y", "language": "German"}
    assert same(extract(Battles.from_rows([row])), extract(Battles.from_rows([told])))


def test_identical_answers_have_no_odd_part() -> None:
    features = extract(battles_of([(["Hi?"], [text], [text]) for text in NASTY]))
    assert not features.odd.any()
    at = features.even_names.index("pair_identical")
    assert features.even[:, at].tolist() == [1.0] * len(NASTY)


def test_null_blank_and_missing_turns() -> None:
    rows = [(["p"], [None], [""]), (["p"], [], [" \n"]), ([None], [None, None], ["x", None])]
    counts = side_counts(battles_of(rows))
    assert counts["a:blank_turns"].to_list() == [1, 0, 2]
    assert counts["b:blank_turns"].to_list() == [1, 1, 1]
    assert counts["b:empty"].to_list() == [1, 1, 0]
    assert counts["a:chars"].to_list() == [0, 0, 0]  # null turns leave no text
    assert counts["b:chars"].to_list() == [0, 2, 1]


def test_counts_agree_with_python() -> None:
    """The same patterns by Python's re: an engine of its own, one answer at a time."""
    rows = [(["Where is the code?"], [a], [b]) for a in NASTY for b in NASTY[:3]]
    counts = side_counts(battles_of(rows))
    ours = {name: counts[f"a:{name}"].to_numpy() for name in (*MARKS, *PHRASES)}
    for row, (_, answer, _) in enumerate(rows):
        text = answer[0] or ""
        for name, pattern in MARKS.items():
            assert ours[name][row] == len(_python(pattern).findall(text)), (name, text)
        for name, pattern in PHRASES.items():
            assert ours[name][row] == len(_python(pattern).findall(text.lower())), (name, text)
        assert counts["a:chars"][row] == len(text)
        assert counts["a:words"][row] == len(_python(WORD).findall(text.lower()))


PIECES = (
    *(
        ". ",
        ".\n",
        ".",
        "!",
        '?"',
        "。",
        "！",
        "\n",
        "\n\n",
        "\r\n",
        " ",
        "  - ",
        "* ",
        "12. ",
        "1) ",
        "\t",
        "-",
        "•",
    ),
    *("ABC", "A", "Ab", "I", "é", "Ж", "漢", "あ", "한", "م", "א", "ह", "ไ", "😀", "☀", "İ", "ß", "K", "ſ"),
    *(
        "\u3000",
        "\xa0",
        "\u2028",
        "\x0b",
        "\x0c",
        "\x1c",
        "\x85",
        "\u200d",
        "\x00",
        "#",
        "`",
        "$",
        "|",
        "**",
        "_",
    ),
)


@settings(max_examples=25)
@given(st.lists(st.lists(st.one_of(st.sampled_from(PIECES), texts), max_size=12).map("".join), max_size=8))
def test_counts_are_those_of_the_pattern_in_the_whole_answer(answers: list[str]) -> None:
    """However a count is come by, it is what one pattern finds in one text."""
    table = side_counts(battles_of([(["p"], [answer], ["x"]) for answer in answers]))
    text = pl.Series(answers, dtype=pl.String)
    chars = np.maximum(text.str.len_chars().to_numpy(), 1)
    for name, pattern in MARKS.items():
        assert table[f"a:{name}"].to_list() == text.str.count_matches(pattern).to_list(), name
    for name, pattern in SCRIPTS.items():
        assert np.array_equal(table[f"a:{name}"], text.str.count_matches(pattern).to_numpy() / chars), name
    symbols = text.str.count_matches(patterns.SYMBOL).to_numpy() / chars * 10
    assert np.array_equal(table["a:symbol_share"], symbols)
    foreign = text.str.count_matches(patterns.FOREIGN).to_numpy() / chars
    assert np.array_equal(table["a:latin"], 1 - foreign)


def _python(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\x\{([0-9a-fA-F]+)\}", lambda m: f"\\U{int(m[1], 16):08x}", pattern))


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        ("refusals", "I cannot do that."),
        ("ai_mentions", "As an AI, I have none."),
        ("apologies", "Sorry about that."),
        ("closings", "Let me know if it works."),
        ("table_rows", "| a | b |"),
        ("headings", "## Plan"),
        ("numbered", "1. one"),
        ("bullets", "- one"),
        ("nested", "- one\n  - two"),
        ("code_fences", "```"),
        ("inline_code", "use `x`"),
        ("bold", "**so**"),
        ("latex", r"\frac{1}{2}"),
        ("json_keys", '{"a": 1}'),
        ("links", "see https://a.b"),
        ("emoji", "👍"),
        ("opens_politely", "Sure, here it is"),
        ("starts_lower", "well"),
        ("ends_cleanly", "Done."),
    ],
)
def test_each_measure_sees_its_mark(measure: str, text: str) -> None:
    counts = side_counts(battles_of([(["p"], [text], ["Word"])]))
    assert counts[f"a:{measure}"][0] >= 1
    assert counts[f"b:{measure}"][0] == 0


def test_scripts_and_overlaps() -> None:
    counts = side_counts(
        battles_of([(["red green"], ["red green blue"], ["Привет"]), (["x"], ["漢字"], ["é"])])
    )
    assert counts["a:prompt_covered"][0] == 1
    assert counts["a:prompt_echoed"][0] == pytest.approx(2 / 3)
    assert counts["b:cyrillic"][0] == counts["a:cjk"][1] == counts["b:accented"][1] == 1
    assert counts["b:latin"][0] == 0
    assert counts["b:script_mismatch"][0] == 1
    assert set(SCRIPTS) <= {name[2:] for name in counts.columns}


@pytest.mark.slow
def test_real_votes_are_measured_quickly(shared_data: Path) -> None:
    battles = read_battles(shared_data / "votes" / "mtbench.csv")
    start = time.perf_counter()
    features = extract(battles)
    assert time.perf_counter() - start < 10  # 0.3 s on an idle machine
    assert same(extract(battles.swapped()), features.swapped())
    # Longer answers win more often: Kaggle 61 %, here 62 % of the decided.
    lead = features.odd[:, features.odd_names.index("words.log")]
    won = battles.outcomes()
    assert np.mean((lead > 0)[won != 2] == (won[won != 2] == 0)) > 0.55


def test_features_of_several_chunks_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    battles = make_arena(37, seed=4).battles
    whole = extraction._extracted(battles)
    monkeypatch.setattr(extraction, "CHUNK_ROWS", 8)
    parts = extraction._extracted(battles)
    np.testing.assert_array_equal(parts.odd, whole.odd)
    np.testing.assert_array_equal(parts.even, whole.even)
    assert (parts.odd_names, parts.even_names) == (whole.odd_names, whole.even_names)
