"""Any network that classifies pictures as the eye of a policy: its maps, without the classifier."""

from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.models.registry import build_network
from eyehand.models.vision.network import VisionNetwork
from eyehand.types import InputError

FINEST = 4
"""Pixels per cell of the finest map that is read: finer ones cost more than they tell."""


class Eye(nn.Module):
    """Picture to feature maps, from fine to coarse, by a network of the registry.

    Read are all maps whose cells are at least 4 pixels wide. Weights are random, and are trained
    with the policy.

    Args:
        name: A classifier of ``eyehand.models.registry``.
        image_size: Height and width of the pictures.

    Raises:
        InputError: If there is no such network, or it cannot read pictures of this size.

    Example:
        >>> eye = Eye("resnet18", image_size=96)
        >>> [tuple(feature.shape[1:]) for feature in eye(torch.zeros(1, 3, 96, 96))]
        [(64, 24, 24), (128, 12, 12), (256, 6, 6), (512, 3, 3)]
        >>> eye.cells
        (3, 3)
    """

    def __init__(self, name: str, *, image_size: int) -> None:
        super().__init__()
        self.network = build_network(
            name, kind="classifier", classes=None, channels=3, image_size=image_size
        )
        network = cast("VisionNetwork", self.network)
        self._read = [i for i, stride in enumerate(network.strides) if stride >= FINEST]
        self.dims = tuple(network.dims[i] for i in self._read)
        try:
            with torch.no_grad():
                *_, coarse = self.eval()(torch.zeros(1, 3, image_size, image_size))
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{name} cannot be the eye for pictures of {image_size} pixels ({reason})."
            ) from error
        self.cells: tuple[int, int] = tuple(coarse.shape[-2:])
        self.train()

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Encode pictures in [-1, 1]."""
        maps = cast("VisionNetwork", self.network).maps(image)
        return [maps[i] for i in self._read]


class EyeTokens(nn.Module):
    """Picture to tokens: the cells of an eye's coarsest map, row by row.

    Args:
        name: As of :class:`Eye`.
        image_size: Height and width of the pictures.

    Example:
        >>> EyeTokens("vit-tiny", image_size=96)(torch.zeros(1, 3, 96, 96)).shape
        torch.Size([1, 36, 192])
    """

    def __init__(self, name: str, *, image_size: int) -> None:
        super().__init__()
        self.eye = Eye(name, image_size=image_size)
        self.dim = self.eye.dims[-1]
        self.tokens = self.eye.cells[0] * self.eye.cells[1]

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch token dim"]:
        """Encode pictures in [-1, 1]."""
        return rearrange(self.eye(image)[-1], "b c h w -> b (h w) c")
