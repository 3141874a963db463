"""Complete configs by name: each file is a function that returns one training run whole."""

from importlib import import_module

from eyehand.functional.names import unknown_name
from eyehand.runs.train import TrainingRun
from eyehand.types import InputError

RECIPES = {
    "bcz-metaworld": "eyehand.recipes.bcz_metaworld:bcz_metaworld",
    "bcz-mt50": "eyehand.recipes.bcz_mt50:bcz_mt50",
    "roboflamingo-metaworld": "eyehand.recipes.roboflamingo_metaworld:roboflamingo_metaworld",
    "roboflamingo-mt50": "eyehand.recipes.roboflamingo_mt50:roboflamingo_mt50",
}
"""Every named training run: name -> ``module:function`` that returns it whole."""


def find_recipe(name: str) -> TrainingRun:
    """Return the training run of this name.

    Raises:
        InputError: If there is no such recipe; the sentence names the nearest one.
    """
    if name not in RECIPES:
        raise InputError(unknown_name("recipe", name, RECIPES))
    module, function = RECIPES[name].split(":")
    run: TrainingRun = getattr(import_module(module), function)()
    return run
