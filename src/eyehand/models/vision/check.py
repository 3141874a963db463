"""Checks that every network must pass, for whoever writes a new one."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10


def check_network(
    build: Callable[..., nn.Module],
    *,
    image: Float[Tensor, "batch channel height width"],
    fixed_size: bool = False,
) -> None:
    """Raise ``AssertionError`` with a sentence at the first promise that a network breaks.

    The promises are those of :class:`eyehand.models.vision.network.VisionNetwork`: shapes over
    several sizes, maps that agree with ``dims`` and ``strides``, gradients in every parameter, the
    same weights from the same seed, the same output twice, rows that do not see each other, inputs
    left alone, every floating type kept, and weights that can be saved and loaded.

    Args:
        build: Makes the network; it is called with ``classes``, a number or None.
        image: Pictures, at least two; small ones are enough.
        fixed_size: Whether logits exist for pictures of this size only.

    Example:
        >>> from eyehand.models.vision.lenet import lenet5
        >>> check_network(lenet5, image=torch.randn(2, 1, 32, 32), fixed_size=True)
    """
    with torch.random.fork_rng(devices=[]):
        network = _check_common(build, image, shape=(len(image), CLASSES))
        _check_maps(network, image, fixed_size=fixed_size)
        _check_sizes(network, image, fixed_size=fixed_size)
        _check_without_classifier(network, build(classes=None), image)
        _check_types(network, image, maps=True)


def check_dense_network(
    build: Callable[..., nn.Module],
    *,
    image: Float[Tensor, "batch channel height width"],
    step: int = 32,
) -> None:
    """Raise ``AssertionError`` with a sentence at the first promise that a dense network breaks.

    As :func:`check_network`, for a network that gives logits for every pixel and has no maps.

    Args:
        build: Makes the network; it is called with ``classes``.
        image: Pictures, at least two, whose height and width are multiples of ``step``.
        step: Pixels that a picture may grow by.

    Example:
        >>> image = torch.randn(2, 3, 8, 8)
        >>> check_dense_network(lambda classes: nn.Conv2d(3, classes, 1), image=image)
    """
    shape = (len(image), CLASSES, *image.shape[2:])
    with torch.random.fork_rng(devices=[]):
        network = _check_common(build, image, shape=shape)
        bigger = F.pad(image[:1], (0, step, 0, 2 * step))
        _check_shape("the output", network(bigger), (1, CLASSES, *bigger.shape[2:]))
        _check_types(network, image, maps=False)


def _check_common(build: Callable[..., nn.Module], image: Tensor, *, shape: tuple[int, ...]) -> Any:
    """Check what holds for every network, and return one in evaluation mode."""
    network, twin = _seeded(build).eval(), _seeded(build).eval()
    for name, value in network.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), f"the same seed gives another {name}"
    # What starts at zero would hide what lies behind it.
    for value in network.parameters():
        if not value.any():
            nn.init.normal_(value, std=0.02)
    before = image.clone()
    with torch.no_grad():
        output = network(image)
        assert torch.equal(image, before), "the network changes its input"
        _check_shape("the output", output, shape)
        assert output.isfinite().all(), "the output is not finite"
        assert torch.equal(network(image), output), "the same picture gives another output"
        _check_rows(network, image, output)
        for value in twin.state_dict().values():
            value.zero_()
        twin.load_state_dict(network.state_dict())
        assert torch.equal(twin(image), output), (
            "a network that was saved and loaded gives another output"
        )
    _check_gradients(twin, image)
    assert torch.equal(image, before), "the network changes its input when it is trained"
    return network


def _seeded(build: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build(classes=CLASSES)


def _check_shape(what: str, got: Tensor, want: tuple[int, ...]) -> None:
    assert got.shape == want, f"{what} has shape {tuple(got.shape)}, not {want}"


def _check_rows(network: nn.Module, image: Tensor, output: Tensor) -> None:
    """The output for a picture does not depend on the others in the batch."""
    scale = output.abs().max().item()
    for row in range(len(image)):
        torch.testing.assert_close(
            network(image[row : row + 1]),
            output[row : row + 1],
            rtol=0,
            atol=1e-4 * scale,
            msg=lambda text: f"the output for a picture depends on the others in the batch: {text}",
        )


def _check_gradients(network: nn.Module, image: Tensor) -> None:
    """In training, gradients reach every parameter."""
    network.train()
    output = network(image)
    # Where auxiliary classifiers exist, training gives a tuple of logits.
    logits = (output,) if isinstance(output, Tensor) else output
    torch.stack([(part * torch.randn_like(part)).sum() for part in logits]).sum().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, f"no gradient reaches {name}"
        assert value.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert value.grad.any(), f"the gradient of {name} is zero"


@torch.no_grad()
def _check_maps(network: Any, image: Tensor, *, fixed_size: bool) -> None:
    """Maps have the channels of ``dims``, and grow by a cell for each of ``strides``'s pixels."""
    dims, strides = network.dims, network.strides
    assert list(strides) == sorted(set(strides)), f"strides {strides} do not go from fine to coarse"
    maps = network.maps(image)
    assert len(maps) == len(dims) == len(strides), (
        f"{len(maps)} maps, but {len(dims)} dims and {len(strides)} strides"
    )
    height, width = image.shape[2:]
    for part, dim, stride in zip(maps, dims, strides, strict=True):
        _check_shape(f"the map of stride {stride}", part[:, :, 0, 0], (len(image), dim))
        for cells, pixels in zip(part.shape[2:], (height, width), strict=True):
            assert cells <= math.ceil(pixels / stride), (
                f"the map of stride {stride} has {cells} cells for {pixels} pixels"
            )
    step = strides[-1]
    bigger = F.pad(image[:1], (0, step, 0, 2 * step))
    grown = _unless_refused(network.maps, bigger)
    if grown is None and fixed_size:
        return
    assert grown is not None, f"maps of pictures of {tuple(bigger.shape[2:])} are refused"
    for small, large, stride in zip(maps, grown, strides, strict=True):
        want = (small.shape[2] + 2 * step // stride, small.shape[3] + step // stride)
        assert large.shape[2:] == want, (
            f"the map of stride {stride} grows from {tuple(small.shape[2:])} to "
            f"{tuple(large.shape[2:])} cells, not to {want}"
        )


@torch.no_grad()
def _check_sizes(network: Any, image: Tensor, *, fixed_size: bool) -> None:
    """Other sizes give logits too, or are refused."""
    bigger = F.pad(image[:1], (0, network.strides[-1], 0, 2 * network.strides[-1]))
    output = _unless_refused(network, bigger)
    assert (output is None) == fixed_size, (
        f"pictures of {tuple(bigger.shape[2:])} are {'refused' if output is None else 'read'}"
    )
    if output is not None:
        _check_shape("the output for another size", output, (1, CLASSES))


@torch.no_grad()
def _check_without_classifier(network: Any, body: Any, image: Tensor) -> None:
    """With ``classes=None`` maps remain the same, logits are refused, and weights are fewer."""
    names = dict(network.named_parameters()).keys() - dict(body.named_parameters()).keys()
    assert names, "a network without classes has all the parameters of one with them"
    body.eval().load_state_dict(network.state_dict(), strict=False)
    for part, whole in zip(body.maps(image), network.maps(image), strict=True):
        assert torch.equal(part, whole), "without a classifier the maps differ"
    assert _unless_refused(body, image) is None, "a network without a classifier gives logits"


def _unless_refused(call: Callable[[Tensor], Any], image: Tensor) -> Any:
    try:
        return call(image)
    except ValueError:
        return None


@torch.no_grad()
def _check_types(network: Any, image: Tensor, *, maps: bool) -> None:
    """What comes out has the floating type of what went in."""
    for dtype in (torch.float64, torch.bfloat16):
        network.to(dtype)
        outputs = [network(image.to(dtype))]
        if maps:
            outputs += network.maps(image.to(dtype))
        for output in outputs:
            assert output.dtype == dtype, f"{dtype} comes out as {output.dtype}"
            assert output.isfinite().all(), f"in {dtype} the output is not finite"
