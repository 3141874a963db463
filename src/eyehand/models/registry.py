"""Every network that sees, by its published name.

A network is made by a function of keywords. All take ``classes`` and ``channels``; those in
:data:`FIXED_SIZE` also take ``image_size``, for their weights fit one size of picture::

    def resnet18(*, classes: int | None = 1000, channels: int = 3) -> ResNet
    def alexnet(*, classes: int | None = 1000, channels: int = 3, image_size: int = 227) -> AlexNet

The defaults are the published network. ``classes=None`` leaves the classifier out: ``maps`` works,
and calling the network raises ``ValueError``.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from eyehand.functional.names import unknown_name
from eyehand.types import InputError

NETWORKS = {
    "lenet5": "eyehand.models.vision.lenet:lenet5",
    "alexnet": "eyehand.models.vision.alexnet:alexnet",
    "vgg11": "eyehand.models.vision.vgg:vgg11",
    "vgg13": "eyehand.models.vision.vgg:vgg13",
    "vgg16": "eyehand.models.vision.vgg:vgg16",
    "vgg19": "eyehand.models.vision.vgg:vgg19",
    "googlenet": "eyehand.models.vision.googlenet:googlenet",
    "googlenet-auxiliary": "eyehand.models.vision.googlenet:googlenet_auxiliary",
    "googlenet-batch-norm": "eyehand.models.vision.googlenet:googlenet_batch_norm",
    "spp-net": "eyehand.models.vision.spp_net:spp_net",
    "resnet18": "eyehand.models.vision.resnet:resnet18",
    "resnet34": "eyehand.models.vision.resnet:resnet34",
    "resnet50": "eyehand.models.vision.resnet:resnet50",
    "resnet101": "eyehand.models.vision.resnet:resnet101",
    "resnet152": "eyehand.models.vision.resnet:resnet152",
    "mobilenet": "eyehand.models.vision.mobilenet:mobilenet",
    "efficientnet-lite0": "eyehand.models.vision.efficientnet_lite:efficientnet_lite0",
    "vit-b-16": "eyehand.models.vision.vit:vit_b_16",
    "vit-tiny": "eyehand.models.vision.vit:vit_tiny",
}
"""Name of a classification network to the function that makes it."""

DENSE_NETWORKS = {
    "fcn32s": "eyehand.models.vision.fcn:fcn32s",
    "fcn16s": "eyehand.models.vision.fcn:fcn16s",
    "fcn8s": "eyehand.models.vision.fcn:fcn8s",
    "unet": "eyehand.models.vision.unet:unet",
}
"""Name of a network that classifies every pixel to the function that makes it."""

FIXED_SIZE = frozenset({"lenet5", "alexnet", "vit-b-16", "vit-tiny"})
"""Networks that read pictures of one size only."""


class VisionNetwork(Protocol):
    """What every module of :data:`NETWORKS` offers."""

    dims: tuple[int, ...]
    """Channels of the maps."""
    strides: tuple[int, ...]
    """Pixels per cell of the maps."""

    def maps(
        self, image: Float[Tensor, "batch channel height width"]
    ) -> list[Float[Tensor, "batch dim map_height map_width"]]:
        """Return the last feature map of each resolution, from fine to coarse."""
        ...

    def __call__(
        self, image: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits of every class."""
        ...


def build_network(
    name: str, *, classes: int | None, channels: int = 3, image_size: int | None = None
) -> nn.Module:
    """Return a new classification network; it satisfies :class:`VisionNetwork`.

    Args:
        name: A key of :data:`NETWORKS`.
        classes: Number of classes; None leaves the classifier out.
        channels: Channels of the pictures.
        image_size: Height and width of the pictures, in pixels; None means as published. Networks
            that read any size do not need it.

    Raises:
        InputError: If there is no such network, or it cannot read pictures of this size.

    Example:
        >>> import torch
        >>> network = build_network("lenet5", classes=10, channels=1)
        >>> network(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 10])
    """
    settings: dict[str, Any] = {"classes": classes, "channels": channels}
    if image_size is not None and name in FIXED_SIZE:
        settings["image_size"] = image_size
    return _build("network", name, NETWORKS, settings)


def build_dense_network(name: str, *, classes: int, channels: int = 3) -> nn.Module:
    """Return a new network that gives every pixel its logits.

    Args:
        name: A key of :data:`DENSE_NETWORKS`.
        classes: Number of classes.
        channels: Channels of the pictures.

    Raises:
        InputError: If there is no such network.
    """
    settings = {"classes": classes, "channels": channels}
    return _build("dense network", name, DENSE_NETWORKS, settings)


def _build(
    kind: str, name: str, networks: Mapping[str, str], settings: Mapping[str, Any]
) -> nn.Module:
    if name not in networks:
        raise InputError(unknown_name(kind, name, networks))
    module, function = networks[name].split(":")
    try:
        return getattr(import_module(module), function)(**settings)
    except ValueError as error:
        raise InputError(f"{kind} {name!r}: {error}") from error
