"""Every policy by its name, and checkpoints: from a config to a network, and from a folder to one.

A checkpoint is a folder with ``config.json`` (``{"policy": {"name": ..., fields}, ...}``) and
``model.safetensors`` (every parameter that is trained, and every buffer; frozen pretrained
parameters are not stored but loaded from where they came).
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dacite import Config as DaciteConfig
from dacite import DaciteError, from_dict

from eyehand.checksums import save_tensors, write_json
from eyehand.files import replacing
from eyehand.functional.names import unknown_name
from eyehand.models.checkpoint import CONFIG, WEIGHTS, load_described, stored_weights
from eyehand.policies.contract import PolicyConfig, PolicyModule
from eyehand.policies.normalization import blank_statistics
from eyehand.types import InputError, Statistics

POLICIES = {
    "bcz": "eyehand.policies.bcz:BCZ",
    "residual": "eyehand.policies.residual:ResidualPolicy",
    "roboflamingo": "eyehand.policies.roboflamingo:RoboFlamingo",
}
"""Name of a policy to the class that builds it; the class names its config as ``Config``."""


RELEASED = Path(__file__).parents[1] / "released"
"""Folder of the checkpoints that come with the package, each by its name."""


def find_checkpoint(name: Path) -> Path:
    """Return the folder of a checkpoint: the folder itself, or that of a released policy.

    Raises:
        InputError: If it is neither.
    """
    released = {folder.name: folder for folder in sorted(RELEASED.glob("*")) if folder.is_dir()}
    if name.is_dir():
        return name
    if str(name) in released:
        return released[str(name)]
    raise InputError(
        f"{name} is no folder of a checkpoint, and no released policy; those are {list(released)}."
    )


def policy_configs() -> list[type[PolicyConfig]]:
    """Return the kind of config of every policy."""
    return [policy_class(name).Config for name in POLICIES]


def policy_class(name: str) -> Any:
    """Return the class of the policy called ``name``.

    Raises:
        InputError: If there is none.
    """
    if name not in POLICIES:
        raise InputError(unknown_name("policy", name, POLICIES))
    module, attribute = POLICIES[name].split(":")
    return getattr(import_module(module), attribute)


def build_policy(config: PolicyConfig, *, statistics: Mapping[str, Statistics]) -> PolicyModule:
    """Return a new policy."""
    return policy_class(config.name)(config, statistics=statistics)


def describe_policy(config: PolicyConfig) -> dict[str, Any]:
    """Return the config as JSON can hold it, with the policy's name.

    Example:
        >>> from eyehand.policies.bcz import BCZConfig
        >>> describe_policy(BCZConfig())["name"]
        'bcz'
    """
    return {"name": config.name, **config.description()}


def restore_config(description: Mapping[str, Any]) -> PolicyConfig:
    """Return the config that :func:`describe_policy` described.

    Raises:
        InputError: If the policy or a field is unknown, or a value has the wrong type.
    """
    fields = dict(description)
    config_type = policy_class(str(fields.pop("name", ""))).Config
    try:
        return from_dict(
            config_type, config_type.upgrade(fields), DaciteConfig(strict=True, cast=[tuple])
        )
    except DaciteError as error:
        raise InputError(f"policy config: {error}.") from error


def save_policy(policy: PolicyModule, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, {"policy": describe_policy(policy.config)})
    with replacing(folder / WEIGHTS) as beside:
        save_tensors(beside, stored_weights(policy))


def load_policy(folder: Path) -> PolicyModule:
    """Return the policy of a checkpoint, in evaluation mode.

    Raises:
        InputError: If a file is missing, truncated or altered, or does not fit the other one.
    """
    return load_described(folder, "policy", _blank_policy)


def _blank_policy(description: dict[str, Any]) -> PolicyModule:
    """Return a new policy whose statistics are still to be loaded."""
    config = restore_config(description)
    blank = blank_statistics(state_dim=config.state_dim, action_dim=config.action_dim)
    return build_policy(config, statistics=blank)
