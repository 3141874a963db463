"""Run folders of earlier versions: what a resumed run reads there, as this version writes it."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any

from torch import nn

from eyehand.training.config import TrainConfig
from eyehand.training.cycle import Cycle
from eyehand.training.optimizer import decayed_names
from eyehand.types import InputError

DECAY_ONLY = "weight_decay_only"
"""A setting that is gone: part of the names of the only weights that decay."""


def defaults_of(config: Any) -> dict[str, Any]:
    """Return the defaults of a config's fields, and of the configs in it, as JSON values.

    A field that an earlier version did not have counts as its default there.

    Example:
        >>> defaults_of(TrainConfig(steps=4, accumulate=2))["accumulate"]
        1
    """
    found = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            found[field.name] = defaults_of(value)
        elif field.default is not MISSING:
            found[field.name] = json.loads(json.dumps(field.default))
    return found


def check_decay(before: Mapping[str, Any], network: nn.Module) -> None:
    """Refuse a run whose weight decay pulled on other weights than it would now.

    ``before`` is the section ``training`` of its config.json.

    Raises:
        InputError: If it did.
    """
    if DECAY_ONLY not in before or not before.get("weight_decay"):
        return
    part = before[DECAY_ONLY]
    trained = {name for name, p in network.named_parameters() if p.requires_grad and p.ndim >= 2}
    if {name for name in trained if part in name} != decayed_names(network):
        raise InputError(
            f"the run decayed the weights with {part!r} in their names, this version decays those "
            f"that {type(network).__name__} says itself: begin anew, in another folder."
        )


def renewed_counters(counters: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counters of a state.json as this version counts.

    ``training`` is that section of the config.json beside it.
    """
    new = dict(counters)
    if "summed" in new:
        summed = new.pop("summed")
        new["counts"] = dict.fromkeys(new["sums"], summed)
    if "cycle" not in new:
        length = TrainConfig(steps=training.get("steps"), minutes=training.get("minutes"))
        new["cycle"] = asdict(Cycle.of(length))
    return new
