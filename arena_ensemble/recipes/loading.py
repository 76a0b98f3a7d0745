"""From a file or a name to a recipe; errors name the key as it was typed and the nearest known one."""

from __future__ import annotations

import difflib
import logging
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from ..errors import RecipeError
from .sections import Section
from .settings import Recipe
from .template import names_a_file, read_template

log = logging.getLogger(__name__)


def load_recipe(recipe: str | Path) -> Recipe:
    """Read a recipe by its file, its folder, or the name of one that travels with the package.

    ``load_recipe("lexical")`` finds the packaged recipe, unless a folder ``lexical`` with a ``recipe.toml``
    is here. The recipe's name is its folder's: ``models/mine/recipe.toml`` is the member ``mine``.

    Raises
    ------
    RecipeError
        No such file or name, no TOML, an unknown key, a wrong value, or settings that contradict.
    """
    path = Path(recipe)
    if (path / "recipe.toml").is_file() or not _is_bare_name(path):
        path = path / "recipe.toml" if path.is_dir() else path
    else:
        path = packaged_recipe(str(recipe)) or _refuse_name(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"no recipe at {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{path}: not a TOML file: {error}") from None
    return recipe_from(
        values, name=path.resolve().parent.name, source=str(path), folder=path.resolve().parent
    )


def _is_bare_name(path: Path) -> bool:
    return len(path.parts) == 1 and path.suffix != ".toml" and path.name not in ("", "..")


def _refuse_name(path: Path) -> NoReturn:
    names = packaged_names()
    close = difflib.get_close_matches(path.name.lower(), names, n=1, cutoff=0.5)
    nearest = f"the nearest packaged recipe is {close[0]!r}; " if close else ""
    raise RecipeError(
        f"no recipe {path.name!r}: no {path / 'recipe.toml'} here, and no packaged recipe of that name; "
        f"{nearest}there are: {', '.join(names)}"
    )


def packaged_models() -> list[Path]:
    """Folders of recipes that travel with the package (in a checkout, its own ``models/``)."""
    here = Path(__file__).resolve().parents[1]
    return [folder for folder in (here / "_models", here.parent / "models") if folder.is_dir()]


def packaged_recipe(name: str) -> Path | None:
    """The file of the recipe of that name that travels with the package; None where there is none."""
    found = (folder / name / "recipe.toml" for folder in packaged_models())
    return next((path for path in found if path.is_file()), None)


def packaged_names() -> list[str]:
    """Names of the recipes that travel with the package, sorted."""
    return sorted({p.parent.name for folder in packaged_models() for p in folder.glob("*/recipe.toml")})


def recipe_from(
    values: Mapping[str, Any], *, name: str = "", source: str = "recipe", folder: Path | None = None
) -> Recipe:
    """A recipe from nested plain values; ``source`` is named in errors.

    Raises
    ------
    RecipeError
        As :func:`load_recipe`.
    """
    values = _migrated(values, source)
    _refuse_unknown(Recipe, values, source, ())
    try:
        values = _with_own_template(values, folder)
    except RecipeError as error:
        raise RecipeError(f"{source}: {error}") from None
    try:
        return Recipe.model_validate({**values, "name": name, "folder": folder})
    except ValidationError as error:
        raise RecipeError(f"{source}: {_first_problem(error)}") from None


def _with_own_template(values: Mapping[str, Any], folder: Path | None) -> Mapping[str, Any]:
    """The same with the template file's content, where the recipe names one."""
    prompt = values.get("prompt", {})
    typed = prompt.get("template")
    if not isinstance(typed, str) or not names_a_file(typed):
        return values
    return {**values, "prompt": {**prompt, "own": read_template(typed, folder)}}


def folder_of(given: str | Path) -> Path:
    """A folder as a recipe's ``base`` names it, whatever the recipe's own folder."""
    return Path(given).expanduser().absolute()


def with_bases(
    recipes: Mapping[str, Recipe], bases: Mapping[str, str | Path], *, partly: bool = False
) -> dict[str, Recipe]:
    """Recipes whose bases lie elsewhere on this machine.

    Parameters
    ----------
    recipes
        By member's name.
    bases
        Member's name, or a base as recipes write it → the folder of that base here, or its ``.gguf`` file.
    partly
        Whether names of other members are passed over.

    Raises
    ------
    RecipeError
        A name is neither, or a folder is none.
    """
    changed = dict(recipes)
    for name, given in bases.items():
        folder = folder_of(given)
        meant = [member for member, recipe in recipes.items() if name in (member, recipe.base)]
        usable = [member for member in meant if recipes[member].base and not recipes[member].is_tiny]
        if not meant and partly:
            continue
        if not usable:
            known = sorted({r.base for r in recipes.values() if r.base and not r.is_tiny})
            what = "has no base that lies anywhere" if meant else "is neither a member nor a base of this run"
            listed = ", ".join([*recipes, *known]) or "none"
            raise RecipeError(f"--base {name}={given}: {name!r} {what}; use one of: {listed}")
        if not folder.is_dir() and not (folder.suffix == ".gguf" and folder.is_file()):
            raise RecipeError(
                f"--base {name}={given}: no folder there; give one with config.json, or a .gguf file"
            )
        for member in usable:
            changed[member] = changed[member].model_copy(update={"base": str(folder), "revision": ""})
    return changed


def _migrated(values: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """Settings of the release before, accepted for this one."""
    train = values.get("train")
    if isinstance(train, Mapping) and "predict_tokens" in train:
        log.warning(
            "%s: train.predict_tokens is now predict.tokens; the old name goes with the next release", source
        )
        predict = values.get("predict", {})
        if isinstance(predict, Mapping):
            tokens = {"tokens": train["predict_tokens"], **predict}
            rest = {key: value for key, value in train.items() if key != "predict_tokens"}
            values = {**values, "train": rest, "predict": tokens}
    if values.get("read_orders") != "uncertain":
        return values
    share = values.get("uncertain_share", 0.5)
    log.warning(
        "%s: read_orders = 'uncertain' is now read_orders = 2 with second_order_share = %s; "
        "the old spelling goes with the next release",
        source,
        share,
    )
    kept = {key: value for key, value in values.items() if key != "uncertain_share"}
    return {**kept, "read_orders": 2, "second_order_share": share}


def _known(model: type[BaseModel]) -> list[str]:
    return [key for key, field in model.model_fields.items() if not field.exclude]


def _all_keys() -> dict[str, str]:
    """Every key of every section, to its dotted place."""
    places = {key: key for key in _known(Recipe)}
    for section, field in Recipe.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            for key in _known(field.annotation):
                places.setdefault(key, f"{section}.{key}")
    return places


def _refuse_unknown(
    model: type[BaseModel], values: Mapping[str, Any], source: str, at: tuple[str, ...]
) -> None:
    known = _known(model)
    for key, value in values.items():
        typed = ".".join((*at, key))
        if key not in known:
            raise RecipeError(f"{source}: unknown key {typed!r}; {_nearest(key, known, at)}")
        kind = model.model_fields[key].annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            if not isinstance(value, Mapping):
                raise RecipeError(f"{source}: {typed!r} is a section; write [{typed}] and its keys below")
            _refuse_unknown(kind, value, source, (*at, key))


def _nearest(key: str, known: list[str], at: tuple[str, ...]) -> str:
    places = _all_keys()
    if key in places:  # a known key in the wrong place
        return f"it belongs at {places[key]!r}"
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.5)
    if close:
        return f"the nearest known key is {'.'.join((*at, close[0]))!r}"
    anywhere = difflib.get_close_matches(key.lower(), list(places), n=1, cutoff=0.5)
    if anywhere:
        return f"the nearest known key is {places[anywhere[0]]!r}"
    return f"known keys here: {', '.join(known)}"


def _first_problem(error: ValidationError) -> str:
    """The first problem in one line: key, value, what was expected."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if not key:
        return message
    return f"{key}: {message}" if first["type"] == "missing" else f"{key} = {first['input']!r}: {message}"
