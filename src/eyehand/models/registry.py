"""Every network by its published name: what makes it, of which kind it is, and what it reads.

A new network is one more line of :data:`NETWORKS`. Its file is imported when it is asked for.

The factory of a network is a function of keywords whose defaults are the published network. Those
of networks that see take ``channels``; those whose weights fit one size of picture also take
``image_size``; classifiers and dense networks take ``classes``::

    def resnet18(*, classes: int | None = 1000, channels: int = 3) -> ResNet
    def alexnet(*, classes: int | None = 1000, channels: int = 3, image_size: int = 227) -> AlexNet
    def unet(*, classes: int = 2, channels: int = 3) -> UNet

A classifier made with ``classes=None`` has no last layers: ``maps`` works, and calling the network
raises ``ValueError``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from eyehand.functional.names import unknown_name
from eyehand.types import InputError

Kind = Literal["classifier", "dense network", "encoder", "language model"]
"""What comes out: classes of a picture, classes of every pixel, features of a picture or text."""


@dataclass(frozen=True)
class RandomPictures:
    """Makes random square pictures, as a network that sees was published for."""

    size: int = 224
    """Height and width, pixels."""
    channels: int = 3
    """Channels; 1 is grey."""

    def __call__(
        self, generator: torch.Generator, *, batch: int = 1
    ) -> tuple[Float[Tensor, "batch channels size size"]]:
        """Return the arguments that the network is called with: pictures of mean 0, variance 1."""
        shape = (batch, self.channels, self.size, self.size)
        return (torch.randn(shape, generator=generator),)


@dataclass(frozen=True)
class RandomTokens:
    """Makes random text."""

    vocabulary: int
    """How many tokens there are."""
    length: int = 16
    """Tokens in a text."""

    def __call__(
        self, generator: torch.Generator, *, batch: int = 1
    ) -> tuple[Int64[Tensor, "batch length"]]:
        """Return the arguments that the network is called with: token ids."""
        return (torch.randint(self.vocabulary, (batch, self.length), generator=generator),)


@dataclass(frozen=True)
class Network:
    """One line of :data:`NETWORKS`."""

    factory: str
    """The function that makes it, as ``module:function``."""
    kind: Kind
    """What comes out of it."""
    example: Callable[..., tuple[Any, ...]] = RandomPictures()
    """Called with a generator and ``batch``, returns the arguments of the network's call."""
    fixed_size: bool = False
    """Whether it reads pictures of one size only, which ``image_size`` tells the factory."""


_VISION = "eyehand.models.vision"
_PRETRAINED = "eyehand.models.language.pretrained"
NETWORKS = {
    "lenet5": Network(
        f"{_VISION}.lenet:lenet5", "classifier", RandomPictures(32, 1), fixed_size=True
    ),
    "alexnet": Network(
        f"{_VISION}.alexnet:alexnet", "classifier", RandomPictures(227), fixed_size=True
    ),
    "vgg11": Network(f"{_VISION}.vgg:vgg11", "classifier"),
    "vgg13": Network(f"{_VISION}.vgg:vgg13", "classifier"),
    "vgg16": Network(f"{_VISION}.vgg:vgg16", "classifier"),
    "vgg19": Network(f"{_VISION}.vgg:vgg19", "classifier"),
    "googlenet": Network(f"{_VISION}.googlenet:googlenet", "classifier"),
    "googlenet-auxiliary": Network(f"{_VISION}.googlenet:googlenet_auxiliary", "classifier"),
    "googlenet-batch-norm": Network(f"{_VISION}.googlenet:googlenet_batch_norm", "classifier"),
    "spp-net": Network(f"{_VISION}.spp_net:spp_net", "classifier"),
    "resnet18": Network(f"{_VISION}.resnet:resnet18", "classifier"),
    "resnet34": Network(f"{_VISION}.resnet:resnet34", "classifier"),
    "resnet50": Network(f"{_VISION}.resnet:resnet50", "classifier"),
    "resnet101": Network(f"{_VISION}.resnet:resnet101", "classifier"),
    "resnet152": Network(f"{_VISION}.resnet:resnet152", "classifier"),
    "mobilenet": Network(f"{_VISION}.mobilenet:mobilenet", "classifier"),
    "efficientnet-lite0": Network(f"{_VISION}.efficientnet_lite:efficientnet_lite0", "classifier"),
    "vit-b-16": Network(f"{_VISION}.vit:vit_b_16", "classifier", fixed_size=True),
    "vit-tiny": Network(f"{_VISION}.vit:vit_tiny", "classifier", fixed_size=True),
    "fcn32s": Network(f"{_VISION}.fcn:fcn32s", "dense network"),
    "fcn16s": Network(f"{_VISION}.fcn:fcn16s", "dense network"),
    "fcn8s": Network(f"{_VISION}.fcn:fcn8s", "dense network"),
    "unet": Network(f"{_VISION}.unet:unet", "dense network"),
    "small": Network(f"{_VISION}.patch_encoder:small", "encoder", RandomPictures(96)),
    "minilm": Network(f"{_PRETRAINED}:minilm", "language model", RandomTokens(30_522)),
    "smollm2": Network(f"{_PRETRAINED}:smollm2", "language model", RandomTokens(49_152)),
}
"""Published name to network."""


def names_of(kind: Kind) -> list[str]:
    """Return the names of the networks of one kind.

    Example:
        >>> names_of("dense network")
        ['fcn32s', 'fcn16s', 'fcn8s', 'unet']
    """
    return [name for name, network in NETWORKS.items() if network.kind == kind]


def find_network(name: str, *, kind: Kind | None = None) -> Network:
    """Return the line of :data:`NETWORKS`, where given only among networks of one kind.

    Raises:
        InputError: If there is no such network.
    """
    known = list(NETWORKS) if kind is None else names_of(kind)
    if name not in known:
        raise InputError(unknown_name(kind or "network", name, known))
    return NETWORKS[name]


def build_network(
    name: str, *, kind: Kind | None = None, image_size: int | None = None, **settings: Any
) -> nn.Module:
    """Return a new network.

    Args:
        name: A key of :data:`NETWORKS`.
        kind: Refuse networks of other kinds.
        image_size: Height and width of the pictures, in pixels; None means as published. Networks
            that read any size do not need it, and ignore it.
        **settings: Keywords of the factory; what is left out is as published.

    Raises:
        InputError: If there is no such network, or it cannot read pictures of this size.

    Example:
        >>> network = build_network("lenet5", classes=10)
        >>> network(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 10])
    """
    network = find_network(name, kind=kind)
    if network.fixed_size and image_size is not None:
        settings["image_size"] = image_size
    module, function = network.factory.split(":")
    try:
        return getattr(import_module(module), function)(**settings)
    except ValueError as error:
        raise InputError(f"{network.kind} {name!r}: {error}") from error
