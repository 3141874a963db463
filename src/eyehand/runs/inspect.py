"""An inspection: what the layers of a network see, cost and waste, on one page."""

import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from eyehand.available_memory import check_memory
from eyehand.data.pictures import PICTURE_SETS, load_pictures
from eyehand.data.store import open_store
from eyehand.envs.masks import scene_masks
from eyehand.envs.suite import find_suite
from eyehand.functional.picture import scale_image
from eyehand.inspection.activations import measure_activations
from eyehand.inspection.copies import submodule
from eyehand.inspection.costs import measure_costs
from eyehand.inspection.findings import merged
from eyehand.inspection.geometry import Geometry, MapGeometry, measure_geometry
from eyehand.inspection.gradient import effective_receptive_field, effective_size
from eyehand.inspection.pictures import (
    activation_maps,
    as_picture,
    filters,
    grid,
    input_gradient,
    nearest_patches,
    overlay,
)
from eyehand.inspection.tables import Figure, Inspection
from eyehand.runs.inspected_model import InspectedModel, find_inspected
from eyehand.training.profile import matrix_multiply_peak, memory_bandwidth
from eyehand.types import LARGEST_SIDE, InputError, check_ranges

SCENES = ("drawer-open", "push", "faucet-open", "peg-insert-side")
"""Tasks whose scenes are the pictures, unless others are named."""
FIRST_SEED = 10_000
"""A start state for validation."""
MOST_PICTURES, MOST_CHANNELS = 100_000, 65_536
SEARCHED = 256
"""Pictures of a data set that are searched for what excites a unit."""


@dataclass(frozen=True)
class InspectConfig:
    """On what a network is looked at, and where."""

    image: Path | None = None
    """A picture to look at instead of robot scenes, which the simulator draws."""
    data: str | None = None
    """Pictures that are searched for what excites a unit: a data set's folder, fashion-mnist or
    digits."""
    layer: str | None = None
    """Layer whose cells and units are drawn; the last map unless named."""
    channel: int = 0
    """Unit of that layer, a channel, of which ``data`` is searched."""
    batch: int = 8
    """Pictures in a batch."""
    image_size: int | None = None
    """Height and width of the pictures of a network; the published one, or 224."""
    channels: int | None = None
    """Channels of the pictures of a network; 3, of lenet5 1."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers of the matrix products when costs are measured."""

    def __post_init__(self) -> None:
        """Raise an `InputError` if a number is out of its range."""
        check_ranges(
            self,
            batch=(1, MOST_PICTURES),
            image_size=(1, LARGEST_SIDE),
            channels=(1, MOST_CHANNELS),
            channel=(0, MOST_CHANNELS),
        )


def inspect_model(name: str, config: InspectConfig) -> Inspection:
    """Look into a network; `eyehand.runs.inspected_model.find_inspected` takes its name.

    Raises:
        InputError: If there is no such model, picture, data set or layer, or no copy can be made of
            the network.
    """
    subject = find_inspected(
        name,
        pictures=lambda size, count: _pictures(config.image, size, count),
        image_size=config.image_size,
        channels=config.channels,
        batch=config.batch,
    )
    if config.layer is not None:
        try:
            submodule(subject.eye, _inside(subject, config.layer))
        except ValueError as error:
            raise InputError(f"--layer: {error}") from error
    searched = None if config.data is None else _searched(config.data, subject)
    peak = matrix_multiply_peak(config.precision)
    costs = measure_costs(
        subject.module,
        subject.inputs,
        call=subject.call,
        precision=config.precision,
        peak=peak,
        bandwidth=memory_bandwidth(),
    )
    activations = measure_activations(subject.module, subject.inputs, call=subject.call)
    geometry, left_out = _geometry(subject)
    chosen = _choose(subject, geometry.maps, config.layer)
    findings = [*costs.findings, *activations.findings, *geometry.findings]
    figures, reasons = _figures(subject, chosen, config, searched)
    left_out += reasons
    return Inspection(
        name=name,
        facts={
            "command": f"eyehand {' '.join(sys.argv[1:])}",
            "pictures": "robot scenes" if config.image is None else str(config.image),
            "batch": str(config.batch),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
            f"{peak / 1e9:.0f} GFLOP/s {config.precision}",
            "torch": torch.__version__,
            **({"not drawn": " ".join(left_out)} if left_out else {}),
        },
        costs=costs,
        maps=geometry.maps,
        activations=activations,
        findings=tuple(merged(findings)),
        figures=tuple(figures),
    )


def _geometry(subject: InspectedModel) -> tuple[Geometry, list[str]]:
    """Return what the eye's maps see; of one that does not run, nothing and why."""
    try:
        return measure_geometry(subject.eye, subject.image[:1], name=subject.eye_name), []
    except Exception as error:  # whatever somebody's network raises; costs name the layer
        return Geometry(), [f"What each map sees: {type(error).__name__}: {error}."]


def _inside(subject: InspectedModel, layer: str) -> str:
    """Return the name in the eye of a layer that is named as in the whole, or as in the eye."""
    return layer.removeprefix(subject.eye_name).lstrip(".") if subject.eye_name else layer


def _choose(
    subject: InspectedModel, maps: Iterable[MapGeometry], asked: str | None
) -> MapGeometry | None:
    """Return the map of the layer that is asked for, or the last one with channels on axis 1."""
    if asked is not None:
        wanted = _inside(subject, asked)
        return next((found for found in maps if _inside(subject, found.layer) == wanted), None)
    spatial = [found for found in maps if found.spatial and found.dims == (2, 3)]
    named = [found for found in spatial if found.layer != subject.eye_name] or spatial
    return named[-1] if named else None


def _figures(
    subject: InspectedModel,
    chosen: MapGeometry | None,
    config: InspectConfig,
    searched: Float[Tensor, "count channel height width"] | None,
) -> tuple[list[Figure], list[str]]:
    """Draw what can be drawn, and say of the rest why not."""
    eye, image = subject.eye, subject.image[:1]
    picture = as_picture(image[0])
    figures = [Figure("The picture", "What the network is shown first.", picture)]
    left_out: list[str] = []

    def draw(title: str, make: Callable[[], tuple[UInt8[np.ndarray, "h w 3"], str]]) -> None:
        try:
            drawn, caption = make()
        except Exception as error:  # a picture fewer is no reason to lose the rest
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            left_out.append(f"{title}: {reason}")
        else:
            figures.append(Figure(title, caption, drawn))

    draw("Filters", lambda: (filters(eye), "Of the first convolution, each on its own scale."))
    draw(
        "Input gradient",
        lambda: (
            overlay(picture, input_gradient(eye, image)),
            "How much each pixel moves the output (Simonyan et al., 2014).",
        ),
    )
    if chosen is None:
        reason = (
            "No layer returns a map with a height and a width."
            if config.layer is None
            else f"What {config.layer} returned on this picture is not known."
        )
        return figures, [*left_out, reason]
    layer, shown = _inside(subject, chosen.layer), chosen.layer
    draw(
        "Activations",
        lambda: (activation_maps(eye, (image,), layer), f"First channels of {shown}, one scale."),
    )
    draw("What one cell sees", lambda: _cell(subject, chosen, picture))
    if searched is not None:

        def patches() -> tuple[UInt8[np.ndarray, "h w 3"], str]:
            near = nearest_patches(eye, layer, config.channel, searched, geometry=chosen)
            unit = f"channel {config.channel} of {shown}"
            caption = f"What excites {unit} most in {len(searched)} pictures of {config.data}."
            return grid([patch for _, _, patch in near]), caption

        draw("Nearest patches", patches)
    return figures, left_out


def _cell(
    subject: InspectedModel, chosen: MapGeometry, picture: UInt8[np.ndarray, "h w 3"]
) -> tuple[UInt8[np.ndarray, "h w 3"], str]:
    """Draw the theoretical field of the middle cell as a frame, the effective one as heat."""
    if chosen.dims != (2, 3) or chosen.height is None or chosen.width is None:
        raise ValueError(f"{chosen.layer} returns no map (batch, channel, height, width).")
    rows, columns = chosen.height.middle, chosen.width.middle
    layer = _inside(subject, chosen.layer)
    heat = effective_receptive_field(subject.eye, subject.image[:1], layer)
    drawn = overlay(picture, heat.numpy())
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    drawn[[top, bottom], left : right + 1] = (255, 60, 60)
    drawn[top : bottom + 1, [left, right]] = (255, 60, 60)
    caption = (
        f"The middle cell of {chosen.layer}. Frame: the pixels that it can see, {len(rows)} x "
        f"{len(columns)}. Heat: those that move it (Luo et al., 2016), as many as a square "
        f"with sides of {effective_size(heat):.1f} pixels holds."
    )
    return drawn, caption


def _pictures(file: Path | None, size: int, count: int) -> UInt8[Tensor, "count size size 3"]:
    """Return robot scenes, or one picture as often as is asked for."""
    # As they are drawn, as numbers, and once more as the first layer's output.
    check_memory((3 + 2 * 12) * size * size * count, f"--batch {count} of {size} pixels")
    if file is not None:
        try:
            with Image.open(file) as opened:
                one = np.asarray(opened.convert("RGB").resize((size, size), Image.Resampling.BOX))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{file} cannot be read as a picture: {error}.") from error
        return torch.from_numpy(one.copy()).expand(count, -1, -1, -1).contiguous()
    per_task = -(-count // len(SCENES))
    scenes = scene_masks(
        find_suite("metaworld"),
        SCENES,
        seeds=range(FIRST_SEED, FIRST_SEED + per_task),
        image_size=size,
        camera="work_area",
    )
    return torch.from_numpy(np.stack([picture for picture, _ in scenes]))[:count]


def _searched(data: str, subject: InspectedModel) -> Float[Tensor, "count channel height width"]:
    """Return pictures of a data set as the eye takes them."""
    size, channels = subject.image.shape[-1], subject.image.shape[1]
    held = (
        load_pictures(data)[1].image
        if data in PICTURE_SETS
        else next(iter(open_store(Path(data), image_size=size).image.values()))
    )
    places = np.linspace(0, len(held) - 1, min(SEARCHED, len(held))).astype(int).tolist()
    stored = torch.from_numpy(np.stack([held[place] for place in places]))
    image = scale_image(stored)
    if image.shape[-1] != size:
        image = F.interpolate(image, size=(size, size), mode="bilinear")
    if image.shape[1] != channels:
        image = image.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    return image.to(subject.image).contiguous()
