"""How a member is made: a TOML file that states only what differs from the defaults.

``models/<name>/recipe.toml`` becomes one frozen :class:`Recipe`. An unknown key is an error that
names the key as it was typed and the nearest known one; a wrong value is an error that names the
key, the value and what was expected.
"""

from .loading import (
    folder_of,
    load_recipe,
    packaged_models,
    packaged_names,
    packaged_recipe,
    recipe_from,
    with_bases,
)
from .sections import (
    AdapterSettings,
    GenerateSettings,
    HeadSettings,
    LexicalSettings,
    PredictSettings,
    PromptSettings,
    SoftSettings,
    TinySettings,
    TrainSettings,
)
from .settings import Recipe

__all__ = [
    "AdapterSettings",
    "GenerateSettings",
    "HeadSettings",
    "LexicalSettings",
    "PredictSettings",
    "PromptSettings",
    "Recipe",
    "SoftSettings",
    "TinySettings",
    "TrainSettings",
    "folder_of",
    "load_recipe",
    "packaged_models",
    "packaged_names",
    "packaged_recipe",
    "recipe_from",
    "with_bases",
]
