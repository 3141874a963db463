"""The two files of a checkpoint: what the network is, and its weights.

``config.json`` describes the network in one entry, ``policy`` or ``network``, and may hold more.
``model.safetensors`` holds every parameter that is trained, and every buffer; frozen pretrained
parameters come from where they were published.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from eyehand.types import InputError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Names of the files."""
Module = TypeVar("Module", bound=nn.Module)


def read_config(folder: Path) -> dict[str, Any]:
    """Return what ``config.json`` holds.

    Raises:
        InputError: If it is missing, cannot be read, or is no object of JSON.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no checkpoint: it has no {CONFIG}.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} must hold names and values in braces; it holds {config!r:.40}.")
    return config


def load_described(folder: Path, entry: str, build: Callable[[dict[str, Any]], Module]) -> Module:
    """Return the network of a checkpoint, in evaluation mode.

    Args:
        folder: The checkpoint.
        entry: The entry of ``config.json`` that describes the network.
        build: From that entry to a new network; raises ``InputError`` for what it cannot build.

    Raises:
        InputError: If a file is missing, truncated or altered, or does not fit the other one.
    """
    path, config = folder / CONFIG, read_config(folder)
    if not isinstance(config.get(entry), dict):
        raise InputError(f"{path} does not describe a {entry}: its entry {entry!r} is missing.")
    try:
        network = build(config[entry])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _load_weights(network, folder / WEIGHTS)
    return network.eval()


def stored_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return what a checkpoint stores: everything but frozen parameters.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> _ = layer.bias.requires_grad_(False)
        >>> list(stored_weights(layer))
        ['weight']
    """
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in frozen}


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        weights = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path.parent} is no checkpoint: it has no {path.name}.") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is truncated or altered: {error}.") from error
    _refuse_others(weights, stored_weights(network), path)
    network.load_state_dict(weights, strict=False)


def _refuse_others(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    for name in wanted.keys() | found.keys():
        if name not in found or name not in wanted:
            which = "lacks" if name not in found else "has"
            raise InputError(
                f"{path} {which} the weight {name!r}: it does not belong to the config beside it."
            )
        if wanted[name].shape != found[name].shape:
            raise InputError(
                f"{path}: weight {name!r} has shape {tuple(found[name].shape)}, "
                f"the config beside it asks for {tuple(wanted[name].shape)}."
            )
