"""What can be inspected: a model of eyehand, a checkpoint, a timm model, or any torch module.

Costs are those of the whole model. Maps and receptive fields are those of the part that takes
pictures, which for a policy is its encoder.
"""

import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eyehand.available_memory import check_memory
from eyehand.functional.names import unknown_name
from eyehand.functional.picture import scale_image
from eyehand.models.registry import NETWORKS, RandomPictures, build_network
from eyehand.models.vision.pretrained import build_timm
from eyehand.policies.contract import PolicyModule
from eyehand.policies.normalization import blank_statistics
from eyehand.policies.registry import POLICIES, RELEASED, build_policy, policy_class
from eyehand.runs.checkpoint import Checkpoint, load_checkpoint
from eyehand.types import Batch, InputError

Scenes = Callable[[int, int], UInt8[Tensor, "count size size 3"]]
"""Returns ``count`` pictures of ``size`` pixels."""
SENTENCE = "pull the drawer towards you"


@dataclass(frozen=True)
class InspectedModel:
    """A network, and the inputs that it is run on."""

    module: nn.Module
    """The whole model."""
    inputs: tuple[Any, ...]
    """The arguments of its call."""
    call: Callable[..., Any]
    """What is run, given the whole and the inputs: the whole itself, or the loss of a policy."""
    eye: nn.Module
    """The part that takes pictures."""
    eye_name: str
    """Name of that part in the model; empty where it is the whole model."""
    image: Float[Tensor, "batch channel height width"]
    """Pictures as that part takes them."""


def find_inspected(
    name: str, *, pictures: Scenes, image_size: int | None, channels: int | None, batch: int
) -> InspectedModel:
    """Return the model of a name; its weights are random unless it is a checkpoint.

    Args:
        name: A policy (bcz), a released one (mt50), a network (resnet18, unet), the folder of a
            checkpoint, ``timm:NAME``, or ``module:factory``, where ``factory()`` returns a module.
        pictures: Returns pictures of a given size and number.
        image_size: Height and width of the pictures; a network of ours has its published one
            where not said, a policy and a checkpoint always their own.
        channels: Channels of the pictures of a network; 3, of lenet5 1, where not said.
        batch: Pictures, or windows, in a batch.

    Raises:
        InputError: If nothing has that name, or it cannot be built.
    """
    released = [path.name for path in RELEASED.iterdir() if path.is_dir()]
    examples = {name: made.example for name, made in NETWORKS.items()}
    sees = {
        name: example for name, example in examples.items() if isinstance(example, RandomPictures)
    }
    known = [*POLICIES, *released, *sees]
    folder = RELEASED / name if name in released else Path(name)
    is_folder = folder.is_dir() and (name in released or name not in known)
    if image_size is not None and (is_folder or name in POLICIES):
        raise InputError(f"{name} reads pictures of its own size: leave out --image-size.")
    if is_folder:
        checkpoint = load_checkpoint(folder)
        return _OF_CHECKPOINT[checkpoint.kind](checkpoint, pictures, batch)
    torch.manual_seed(0)
    if name in POLICIES:
        config = policy_class(name).Config()
        blank = blank_statistics(state_dim=config.state_dim, action_dim=config.action_dim)
        return _of_policy(build_policy(config, statistics=blank), pictures, batch)
    kind, separator, rest = name.partition(":")
    example = sees.get(name, RandomPictures())
    if name in sees:
        changed: dict[str, Any] = {} if channels is None else {"channels": channels}
        module = build_network(name, image_size=image_size, **changed)
    elif kind == "timm" and rest:
        module = build_timm(rest)
    elif separator and rest:
        module = _imported(kind, rest)
    else:
        raise InputError(
            f"{unknown_name('model', name, known)} It may be the folder of a checkpoint, timm:NAME "
            "or module:factory."
        )
    size, channels = image_size or example.size, channels or example.channels
    return _of_network(module, pictures, size, channels, batch)


def _of_classifier(checkpoint: Checkpoint, pictures: Scenes, batch: int) -> InspectedModel:
    network = checkpoint.config["network"]
    size = network["image_size"] or checkpoint.config["pictures"]["image_size"]
    module = checkpoint.network.get_submodule("network")
    return _of_network(module, pictures, size, network["channels"], batch)


def _of_network(
    module: nn.Module,
    pictures: Scenes,
    size: int,
    channels: int,
    batch: int,
) -> InspectedModel:
    image = scale_image(pictures(size, batch))
    if channels != 3:
        check_memory(4 * image[:, :1].numel() * channels, f"--channels {channels}")
        image = image.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    weights = [*module.parameters(), *module.buffers()]
    if any(is_lazy(weight) for weight in weights):
        raise InputError(
            f"{type(module).__name__} has layers that do not know their size yet: run it once on a "
            "picture before it is returned."
        )
    if any(weight.is_inference() for weight in weights):
        raise InputError(
            f"{type(module).__name__} was made in torch.inference_mode() and has no gradients: "
            "make it outside."
        )
    number = next((weight for weight in weights if weight.is_floating_point()), image)
    image = image.to(number).contiguous()  # with the same precision, on the same device
    return InspectedModel(module.eval(), (image,), operator.call, module, "", image)


def _of_policy(policy: PolicyModule, pictures: Scenes, batch: int) -> InspectedModel:
    config: Any = policy.config
    shown, history = pictures(config.image_size, batch), config.history
    windows = shown[:, None].expand(-1, history, -1, -1, -1).contiguous()
    inputs = Batch(
        image=dict.fromkeys(config.cameras, windows),
        state=torch.zeros(batch, history, config.state_dim),
        action=torch.zeros(batch, history, config.horizon, config.action_dim),
        action_mask=torch.ones(batch, history, config.horizon, dtype=torch.bool),
        history_mask=torch.ones(batch, history, dtype=torch.bool),
        instruction=[SENTENCE] * batch,
    )
    return InspectedModel(
        policy.train(),
        (inputs,),
        type(policy).loss,
        policy.get_submodule(policy.eye_name),
        policy.eye_name,
        scale_image(shown).contiguous(),
    )


_OF_CHECKPOINT = {
    "policy": lambda checkpoint, pictures, batch: _of_policy(checkpoint.network, pictures, batch),
    "network": _of_classifier,
}
"""Kind of checkpoint (``eyehand.runs.checkpoint``) to how it is run."""


def _imported(module: str, factory: str) -> nn.Module:
    """Call the factory. From then on modules are also looked for in the working folder."""
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        made = getattr(import_module(module), factory)()
    except (Exception, SystemExit) as error:  # whatever the imported code raises
        raise InputError(
            f"{module}:{factory} cannot be made: {type(error).__name__}: {error}. It must be a "
            "function, or a class, that takes no arguments."
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"{module}:{factory} must return a torch.nn.Module; it returned {type(made).__name__}."
        )
    return made
