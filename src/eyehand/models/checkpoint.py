"""The two files of a checkpoint: what the network is, and its weights.

``config.json`` describes the network in one entry, ``policy`` or ``network``, and may hold more.
``model.safetensors`` holds every parameter that is trained, and every buffer; frozen pretrained
parameters come from where they were published. Matrices and filters may be stored in a byte a
number, as `in_bytes` does it for what is released.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from eyehand.checksums import load_tensors, read_json
from eyehand.models.allowance import Allowance
from eyehand.types import InputError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Names of the files."""
SCALE = ".scale"
"""What the name of the scales of a weight's rows ends in, where it is stored in bytes."""
STEPS = 127
"""Whole numbers on either side of zero in a byte."""
ROOM, FACTOR = 64_000_000, 8
"""A network that is built may take so many bytes, and so many times the bytes of its weights: they
may be stored in half precision, and initial values are drawn beside their place."""
Module = TypeVar("Module", bound=nn.Module)


def read_config(folder: Path) -> dict[str, Any]:
    """Return what ``config.json`` holds.

    Raises:
        InputError: If it is missing, truncated or altered, or is no object of JSON.
    """
    if not (folder / CONFIG).exists():
        raise InputError(f"{folder} is no checkpoint: it has no {CONFIG}.")
    return read_json(folder / CONFIG)


def load_described(folder: Path, entry: str, build: Callable[[dict[str, Any]], Module]) -> Module:
    """Return the network of a checkpoint, in evaluation mode.

    A config that asks for far more memory than its weights have is refused before that is taken.

    Args:
        folder: The checkpoint.
        entry: The entry of ``config.json`` that describes the network.
        build: From that entry to a new network; raises ``InputError`` for what it cannot build.

    Raises:
        InputError: If a file is missing, truncated or altered, or does not fit the other one, or a
            weight is not finite.
    """
    path, config = folder / CONFIG, read_config(folder)
    if not isinstance(config.get(entry), dict):
        raise InputError(f"{path} does not describe a {entry}: its entry {entry!r} is missing.")
    if not (folder / WEIGHTS).exists():
        raise InputError(f"{folder} is no checkpoint: it has no {WEIGHTS}.")
    stored = load_tensors(folder / WEIGHTS)
    try:
        weights = from_bytes(stored)
    except InputError as error:
        raise InputError(f"{folder / WEIGHTS}: {error}") from None
    size = sum(tensor.nbytes for tensor in weights.values())
    what = f"the {entry} that it describes, whose weights are {size / 1e6:,.1f} MB in {WEIGHTS},"
    try:
        with Allowance(ROOM + FACTOR * size, what):
            network = build(config[entry])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # whatever a network raises for sizes that nobody foresaw
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise InputError(f"{path} describes a {entry} that cannot be built ({reason}).") from error
    _load_weights(network, weights, folder / WEIGHTS)
    return network.eval()


def in_bytes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with every matrix and filter in a byte a number: a quarter of the room.

    Each row (or filter) is scaled by its own largest number, so a number is off by at most a 254th
    of that. Vectors stay as they are.

    Example:
        >>> packed = in_bytes({"weight": torch.tensor([[1.0, -0.5], [0.0, 0.0]])})
        >>> packed["weight"].tolist(), packed["weight.scale"].dtype
        ([[127, -64], [0, 0]], torch.float32)
    """
    packed: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.ndim < 2 or not value.is_floating_point():
            packed[name] = value
            continue
        scale = value.abs().amax(dim=tuple(range(1, value.ndim)), keepdim=True) / STEPS
        scaled = torch.where(scale > 0, value / scale, 0.0)
        packed[name] = scaled.round().to(torch.int8)
        packed[f"{name}{SCALE}"] = scale.float()
    return packed


def from_bytes(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as numbers again; those that are not in bytes as they are.

    Raises:
        InputError: If bytes have no scales that fit.
    """
    weights = dict(packed)
    for name, value in packed.items():
        if value.dtype != torch.int8:
            continue
        scale = weights.pop(f"{name}{SCALE}", None)
        rows = (len(value), *[1] * (value.ndim - 1)) if value.ndim else None
        if scale is None or scale.shape != rows:
            raise InputError(f"the weight {name!r} is stored in bytes and has no scales that fit.")
        weights[name] = value * scale
    return weights


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


def _load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    _refuse_others(weights, stored_weights(network), path)
    network.load_state_dict(weights, strict=False)
    for name, weight in stored_weights(network).items():
        if not weight.isfinite().all():
            raise InputError(
                f"{path}: weight {name!r} is not finite, and no answer of the network would be: "
                "take another checkpoint."
            )


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
