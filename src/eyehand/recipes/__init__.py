"""Complete configs by name: each file is a function that returns one training run whole."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from eyehand.functional.names import unknown_name
from eyehand.runs.reproduce import Reproduction
from eyehand.runs.train import TrainingRun
from eyehand.types import InputError

RECIPES = {
    "bcz-libero": "eyehand.recipes.bcz_libero:bcz_libero",
    "bcz-metaworld": "eyehand.recipes.bcz_metaworld:bcz_metaworld",
    "bcz-mt50": "eyehand.recipes.bcz_mt50:bcz_mt50",
    "roboflamingo-libero": "eyehand.recipes.roboflamingo_libero:roboflamingo_libero",
    "roboflamingo-metaworld": "eyehand.recipes.roboflamingo_metaworld:roboflamingo_metaworld",
    "roboflamingo-mt50": "eyehand.recipes.roboflamingo_mt50:roboflamingo_mt50",
}
"""Every named training run: name -> ``module:function`` that returns it whole."""


def find_recipe(name: str) -> TrainingRun:
    """Return the training run of this name.

    Raises:
        InputError: If there is no such recipe; the sentence names the nearest one.
    """
    run: TrainingRun = _found("recipe", name, RECIPES)
    return run


REPRODUCTIONS = {
    "libero": "eyehand.recipes.libero:libero",
    "mt50": "eyehand.recipes.mt50:mt50",
    "mt50-corner4": "eyehand.recipes.mt50:mt50_corner4",
    "mt50-roboflamingo": "eyehand.recipes.mt50:mt50_roboflamingo",
}
"""Every result that `eyehand reproduce` makes from nothing: name -> ``module:function``."""


def find_reproduction(name: str) -> Reproduction:
    """Return the result of this name.

    Raises:
        InputError: If there is none; the sentence names the nearest one.
    """
    found: Reproduction = _found("result", name, REPRODUCTIONS)
    return found


def _found(kind: str, name: str, known: Mapping[str, str]) -> Any:
    if name not in known:
        raise InputError(unknown_name(kind, name, known))
    module, function = known[name].split(":")
    return getattr(import_module(module), function)()
