"""A template file of one's own: identity by content, refusals that name the remedy, the laws of layouts."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import backbones, sample
from arena_ensemble.battles import Battles
from arena_ensemble.errors import RecipeError
from arena_ensemble.io import read_battles
from arena_ensemble.prompts import TokenizedTemplate, assemble, template_digest, template_of, turns_of
from arena_ensemble.recipes import PromptSettings, Recipe, load_recipe, recipe_from
from arena_ensemble.recipes.template import Template

RECIPE = """backbone = "classify"
base = "tiny:encoder"
[prompt]
template = "./template.toml"
max_tokens = 96
[tiny]
hidden = 16
layers = 1
vocabulary = 300
"""
OWN = """opening = "Judge.\\nUser: "
before_a = "\\nA: "
before_b = "\\nB: "
cue = "\\nBest:"
rounds = true
"""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
WORDS = st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=30)
LITERAL = st.text("abcdefghij :\n[]", min_size=1, max_size=12)


def write(folder: Path, template: str = OWN, recipe: str = RECIPE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "template.toml").write_text(template, encoding="utf-8")
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    return folder


def test_the_file_is_part_of_the_recipe_by_content(tmp_path: Path) -> None:
    one = load_recipe(write(tmp_path / "one"))
    assert template_of(one.prompt).opening == "Judge.\nUser: "
    assert template_of(one.prompt).rounds
    elsewhere = write(tmp_path / "two", recipe=RECIPE.replace("./template.toml", "parts/words.toml"))
    (elsewhere / "parts").mkdir()
    (elsewhere / "template.toml").rename(elsewhere / "parts" / "words.toml")
    for digest in (Recipe.digest, Recipe.fit_digest, template_digest):
        assert digest(one) == digest(load_recipe(elsewhere)), "where it lies is not what it is"
        assert digest(one) == digest(pickle.loads(pickle.dumps(one)))
        for edited in (OWN.replace("Best:", "Best :"), OWN.replace("true", "false"), OWN + 'gap = ""\n'):
            assert digest(one) != digest(load_recipe(write(tmp_path / "three", edited)))
    assert one.settings()["prompt"]["template"]["cue"] == "\nBest:"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (OWN + 'before = "x"\n', r"unknown key 'before'; the nearest known key is 'before_"),
        (OWN + 'name = "mine"\n', "unknown key 'name'"),
        (OWN.replace('cue = "\\nBest:"', ""), "cue: field required"),
        (OWN.replace("Judge.", "{prompt}"), r"opening contains '\{prompt\}'.*leave it out"),
        (OWN.replace("Judge.", "{{ response_a }}"), "leave it out"),
        (OWN.replace("Judge.", "The vote was {winner}"), "leave it out"),
        (OWN.replace('"\\nB: "', '"\\nA: "'), "before_a and before_b are equal"),
        (OWN.replace("\\nBest:", " "), "cue is blank"),
        (OWN.replace("Judge.", "<<slot:a>>"), "marks a text's place"),
        (OWN.replace("rounds = true", "rounds = 1"), "rounds = 1: "),
        (OWN.replace('"\\nA: "', '""'), "before_a = ''"),
        ("opening = ", "not a TOML file"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(write(tmp_path / "mine", template))
    assert "template.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("./absent.toml", r"no file .*absent\.toml.*put it beside recipe\.toml"),
        ("../template.toml", "leaves the recipe's folder"),
        ("/etc/template.toml", "leaves the recipe's folder"),
        ("~/template.toml", "leaves the recipe's folder"),
    ],
)
def test_files_that_would_not_travel_are_refused(tmp_path: Path, typed: str, message: str) -> None:
    write(tmp_path)
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path / "mine", recipe=RECIPE.replace("./template.toml", typed)))


def test_a_recipe_without_a_folder_has_no_file() -> None:
    values = {"backbone": "classify", "base": "tiny:encoder", "prompt": {"template": "./template.toml"}}
    with pytest.raises(RecipeError, match="lies nowhere; write it to a folder"):
        recipe_from(values)
    with pytest.raises(RecipeError, match=r"unknown key 'prompt\.own'"):
        recipe_from({**values, "prompt": {"own": {}}})


def codes(text: str) -> npt.NDArray[np.int32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.int32)


def rendered(battles: Battles, template: Template, settings: PromptSettings) -> list[str]:
    """Rows with a token per character."""
    names = ("opening", "before_a", "before_b", "before_response", "cue", "turn", "marker")
    pieces = TokenizedTemplate(
        **{name: codes(getattr(template, name)) for name in names}, rounds=template.rounds
    )
    prompt, a, b = ([[codes(t) for t in turns] for turns in column] for column in turns_of(battles, template))
    found = assemble((prompt, a, b), pieces, settings)
    assert (found.lengths <= settings.max_tokens).all()
    return [
        found.tokens[start:end].tobytes().decode("utf-32-le")
        for start, end in zip(found.offsets, found.offsets[1:], strict=False)
    ]


@given(
    st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4),
    st.lists(LITERAL, min_size=5, max_size=5),
    st.booleans(),
    st.integers(96, 300),
    st.integers(0, 2),
)
def test_a_swap_exchanges_the_answers_places_and_an_outcome_changes_nothing(
    rounds: list[tuple[str, str, str]], words: list[str], by_rounds: bool, room: int, outcome: int
) -> None:
    # a first character that no text has, so that the test can find the literals again
    opening, before_a, before_b, turn, cue = (chr(0xE000 + k) + word for k, word in enumerate(words))
    template = Template(
        opening=opening, before_a=before_a, before_b=before_b, turn=turn, cue=cue, rounds=by_rounds
    )

    def parts(row: dict[str, Any]) -> list[list[str]]:
        settings = PromptSettings(max_tokens=room)
        [text] = rendered(Battles.from_rows([row]), template, settings)
        assert text.startswith(opening)
        assert text.endswith(cue)
        inner = text.removeprefix(opening).removesuffix(cue)
        found = []
        for one in inner.split(turn) if by_rounds else [inner]:
            prompt, rest = one.split(before_a)
            found.append([prompt, *rest.split(before_b)])
        return found

    prompt, a, b = (list(column) for column in zip(*rounds, strict=True))
    row: dict[str, Any] = {"id": 1, "prompt": prompt, "response_a": a, "response_b": b, "outcome": outcome}
    shown = parts(row)
    swapped = parts({**row, "response_a": b, "response_b": a, "outcome": (1, 0, 2)[outcome]})
    assert swapped == [[p, second, first] for p, first, second in shown]
    assert parts({**row, "outcome": (outcome + 1) % 3}) == shown


def test_a_member_learns_with_it_and_an_edited_file_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "mine"))
    (tmp_path / "train.csv").write_text(sample.files(24, 2, seed=1)["train.csv"])
    battles = read_battles(tmp_path / "train.csv")
    backbone = backbones.get("classify")
    backbone.prepare(battles, recipe=recipe, cache=tmp_path / "cache")
    fold = tmp_path / "fold-0"
    fold.mkdir()
    fitted = backbone.fit(battles, recipe=recipe, folder=fold, cache=tmp_path / "cache")
    expected = backbone.predict(fitted, battles)
    again = backbone.load(fold, recipe=recipe, cache=tmp_path / "cache")
    np.testing.assert_array_equal(backbone.predict(again, battles), expected)
    edited = load_recipe(write(tmp_path / "mine", OWN.replace("Judge.", "Decide.")))
    with pytest.raises(Exception, match="template"):
        backbone.load(fold, recipe=edited, cache=tmp_path / "cache")


@pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not part of this copy")
def test_the_page_s_example_is_a_template(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8").split("## A template of your own")[1]
    recipe, template = re.findall(r"^```toml\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)[:2]
    shown = template_of(load_recipe(write(tmp_path / "mine", template, recipe)).prompt)
    battles = Battles.from_rows(
        [{"id": 1, "prompt": ["p1", "p2"], "response_a": ["x1", "x2"], "response_b": ["y1", "y2"]}]
    )
    [text] = rendered(battles, shown, PromptSettings(max_tokens=4096))
    assert f"```text\n{text}\n```" in page
