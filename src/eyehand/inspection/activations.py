"""What the layers of a network do on a batch: dead, saturated and doubled units, lost gradients."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.inspection.findings import Finding, Place, judge
from eyehand.inspection.nested import tensors
from eyehand.inspection.operators import Call, failure, traced

DEAD_SHARE = 0.1
SATURATED_SHARE = 0.5
LIMIT = 0.99
"""Share of the limit beyond which a sigmoid or tanh counts as saturated."""
CORRELATION = 0.99
"""Above it two channels are near-copies."""
SAMPLES = 2048
"""Positions over batch and space from which correlations are taken, at most."""
FEWEST_SAMPLES = 32
"""With fewer positions unrelated channels correlate by chance."""
MOST_CHANNELS = 4096
GRADIENT_RATIO = 1000.0


@dataclass(frozen=True)
class Activation:
    """What one operator gave in the forward pass; figures that do not apply to it are ``None``."""

    layer: str
    """Name of the submodule in whose ``forward`` it ran."""
    operator: str
    """``relu``, ``sigmoid``, ``convolution``, ... as ATen names it."""
    call: int
    """Counts the runs of this operator in this layer, from 0."""
    shape: tuple[int, ...]
    dead: float | None
    """Share of the channels of a ReLU that are zero over the whole batch and space."""
    saturated: float | None
    """Share of the values of a sigmoid or tanh beyond 0.99 of its limits."""
    doubled: float | None
    """Share of the channels of a convolution or matrix product that correlate above 0.99 with an
    earlier one over batch and space; constant channels are left out."""


@dataclass(frozen=True)
class Gradient:
    """The gradient that reaches one layer."""

    layer: str
    norm: float
    """Euclidean norm of the loss's gradient with respect to what the layer returned."""


@dataclass(frozen=True)
class Activations:
    """What a network did on one batch."""

    rows: tuple[Activation, ...]
    """In the order in which they ran."""
    gradients: tuple[Gradient, ...]
    """Layers with weights, in the order in which they first ran; empty without gradients."""
    findings: tuple[Finding, ...]


def measure_activations(
    module: nn.Module,
    inputs: tuple[Any, ...],
    *,
    call: Callable[..., Any] | None = None,
    loss: Callable[[Any], Tensor] | None = None,
) -> Activations:
    """Run a batch forward and backward and look for units and gradients that are lost.

    Functional calls are seen as well as modules. A map with four axes or more has its channels on
    axis 1, any other on the last: a one-dimensional convolution's map is misread. What is dead on
    one batch may fire on another: take a large one.

    Args:
        module: The network, in the mode in which it is to be looked at.
        inputs: Positional arguments, a whole batch.
        call: Run in place of the network itself, such as the ``loss`` of a policy.
        loss: Scalar of what ``call`` returned, from which gradients start. By default its entry
            ``"loss"`` if it is a mapping with one, else the sum of all its numbers and of their
            squares: squares alone have no gradient where a last layer starts from zeros.

    Returns:
        Figures of every operator, and findings by these rules: at least 10 % of the channels of a
        ReLU dead; at least half of the values of a sigmoid or tanh saturated; any channel that is
        nearly a copy; first to last gradient below 1 to 1000 or above 1000 to 1; a gradient of
        zero or not finite.

    References:
        Glorot and Bengio, 2010, sec. 4.2 (gradients through depth). Glorot, Bordes and Bengio,
        2011, sec. 3 (units that never fire).

    Example:
        >>> layer = nn.Linear(3, 4)
        >>> with torch.no_grad():
        ...     _ = layer.bias.copy_(torch.tensor([-100.0, 100, 100, 100]))
        >>> found = measure_activations(nn.Sequential(layer, nn.ReLU()), (torch.ones(5, 3),))
        >>> found.rows[1].dead
        0.25
    """
    run = module if call is None else call
    findings: list[Finding] = []
    watch = _Watch()
    with traced(module, held=inputs, observe=watch) as trace:
        squares_of = _follow_gradients(module)
        try:
            with torch.enable_grad():
                outputs = run(*inputs)
                watch.over = True  # what follows is the loss, not the network
                scalar = _default_loss(outputs) if loss is None else loss(outputs)
            trace.backward = True
            if scalar.requires_grad:
                scalar.backward()
        except Exception as error:
            squares_of = {}
            findings.append(failure(error, trace))
    norms = tuple(Gradient(name, math.sqrt(math.fsum(x))) for name, x in squares_of.items())
    findings += _unit_findings(watch.rows)
    if norms:
        findings += _gradient_findings(norms)
    return Activations(tuple(watch.rows), norms, tuple(findings))


class _Watch:
    """Takes the figures of each operator of `operators.traced` at once."""

    def __init__(self) -> None:
        self.rows: list[Activation] = []
        self.over = False
        self._runs: Counter[tuple[str, str]] = Counter()

    def __call__(self, call: Call) -> None:
        operator, result = call.operator, call.result
        if self.over or not isinstance(result, Tensor) or result.ndim < 2 or not result.numel():
            return
        name, dead, saturated, doubled = operator.name, None, None, None
        if _rectifies(name, call.args):
            dead = float((channels_last(result) <= 0).all(dim=0).float().mean())
        elif name in ("sigmoid", "tanh"):
            values = result * 2 - 1 if name == "sigmoid" else result
            saturated = float((values.abs() > LIMIT).float().mean())
        elif operator.kind == "convolution" or name in ("addmm", "mm"):
            doubled = doubled_share(channels_last(result))
        else:
            return
        run, shape = self._runs[operator.layer, name], tuple(result.shape)
        self._runs[operator.layer, name] += 1
        self.rows.append(Activation(operator.layer, name, run, shape, dead, saturated, doubled))


def _follow_gradients(module: nn.Module) -> dict[str, list[float]]:
    """Hook every layer with a weight of two axes or more.

    Returns:
        Filled while the network runs forward and backward: the squared norms of the gradients at
        the outputs of each layer, by its name, in the order of the first calls.
    """
    squares_of: dict[str, list[float]] = {}

    def after(name: str, _: nn.Module, __: Any, outputs: Any) -> None:
        # A leaf is a parameter of the network, and would keep the hook for good.
        differentiable = [x for x in tensors(outputs) if x.requires_grad and not x.is_leaf]
        squares = squares_of.setdefault(name, []) if differentiable else []
        for output in differentiable:
            output.register_hook(lambda x: squares.append(float(x.double().square().sum())))

    for name, part in module.named_modules():
        weights = part.parameters(recurse=False)
        scripted = isinstance(part, torch.jit.ScriptModule)  # takes no hooks
        if not scripted and any(weight.ndim > 1 for weight in weights):
            part.register_forward_hook(partial(after, name))
    return squares_of


def channels_last(x: Tensor) -> Float[Tensor, "position channel"]:
    """Return a map as one row per position: channels are axis 1 of a picture, else the last."""
    x = x.detach()
    return (x.movedim(1, -1) if x.ndim > 3 else x).flatten(end_dim=-2).float()


def doubled_share(x: Float[Tensor, "position channel"]) -> float | None:
    """Return the share of channels that correlate above 0.99 with an earlier one.

    From evenly spaced positions, at most 2,048. Constant channels are copies of nothing.

    Returns:
        ``None`` for a single channel, more than 4,096, or fewer than 32 positions.
    """
    positions, channels = x.shape
    if positions < FEWEST_SAMPLES or not 1 < channels <= MOST_CHANNELS:
        return None
    x = x[:: math.ceil(positions / SAMPLES)]
    x = x - x.mean(dim=0)
    norm = x.norm(dim=0)
    # What rounding leaves of a constant channel correlates with anything.
    x = torch.where(norm > 1e-5 * norm.max(), x / norm.clamp(min=1e-30), torch.zeros_like(x))
    doubled = ((x.T @ x).triu(diagonal=1) > CORRELATION).any(dim=0)
    return float(doubled.float().mean())


def _rectifies(name: str, args: tuple[Any, ...]) -> bool:
    """Return whether an operator is a ReLU, or one with a ceiling as ReLU6."""
    return name == "relu" or (name in ("hardtanh", "clamp", "clamp_min") and args[1:2] == (0,))


def _default_loss(outputs: object) -> Tensor:
    """Return the entry ``"loss"``, or a loss that moves every number of the outputs."""
    if isinstance(outputs, Mapping) and isinstance(outputs.get("loss"), Tensor):
        return outputs["loss"]
    sums = [(x.square() + x).sum() for x in tensors(outputs) if x.is_floating_point()]
    if not sums:
        raise ValueError("The network returned no tensor of floating point.")
    return torch.stack(sums).sum()


def _unit_findings(rows: Iterable[Activation]) -> list[Finding]:
    """Judge dead, saturated and doubled units."""
    dead, saturated, doubled = [], [], []
    for row in rows:
        where = f"`{row.operator}` {row.call} ({'x'.join(map(str, row.shape))})"
        channels = row.shape[1] if len(row.shape) > 3 else row.shape[-1]
        if row.dead is not None and row.dead >= DEAD_SHARE:
            count = round(row.dead * channels)
            text = f"{count} of {channels} channels of {where} are zero over the whole batch"
            dead.append(Place(row.layer, text))
        if row.saturated is not None and row.saturated >= SATURATED_SHARE:
            text = f"{row.saturated:.0%} of the values of {where} are beyond 0.99 of the limit"
            saturated.append(Place(row.layer, text))
        if row.doubled:
            count = round(row.doubled * channels)
            text = f"{count} of {channels} channels of {where} are nearly copies of others"
            doubled.append(Place(row.layer, text))
    return [
        judge(
            "Dead units",
            dead,
            look="Look again on a larger batch and after training; if they stay dead, lower the "
            "learning rate or use a leaky ReLU.",
            ok="No ReLU has 10 % of its units at zero over the whole batch: nothing to do.",
        ),
        judge(
            "Saturated units",
            saturated,
            look="Make what enters these layers smaller, by normalization or smaller weights: at "
            "its limit a sigmoid or tanh passes on no gradient.",
            ok="No sigmoid or tanh has half of its values at the limit: nothing to do.",
        ),
        judge(
            "Doubled channels",
            doubled,
            look="Use fewer channels, or check how the weights begin: a copy costs time and adds "
            "nothing.",
            ok="No channel is nearly a copy of another: nothing to do.",
        ),
    ]


def _gradient_findings(norms: tuple[Gradient, ...]) -> list[Finding]:
    """Judge the gradients at the outputs of layers with weights."""
    lost, uneven = [], []
    for norm, run in groupby(norms, key=lambda row: f"{row.norm:g}"):
        rows = list(run)
        if rows[0].norm == 0 or not math.isfinite(rows[0].norm):
            text = f"the gradient at its output has norm {norm}"
            if len(rows) > 1:
                text += f", as at the {len(rows) - 1} layers before it"
            lost.append(Place(rows[-1].layer, text))
    if len(norms) > 1 and not lost:
        first, last = norms[0], norms[-1]
        ratio = first.norm / last.norm
        if not 1 / GRADIENT_RATIO <= ratio <= GRADIENT_RATIO:
            text = (
                f"the gradient {'vanishes' if ratio < 1 else 'explodes'}: {first.norm:.2g} here, "
                f"{last.norm:.2g} at {last.layer or 'the network'!r}, {len(norms)} layers later"
            )
            uneven.append(Place(first.layer, text))
    return [
        judge(
            "Gradient at every layer",
            lost,
            look="Check that these layers are meant to learn: behind a layer that starts from "
            "zeros the gradient comes after a step, behind a cut it never does.",
            ok="A finite gradient, other than zero, reaches every layer: nothing to do.",
        ),
        judge(
            "Gradient through depth",
            uneven,
            look="Add shortcuts or normalization, or correct the scale of the first weights: the "
            "first layers learn at another speed than the last.",
            ok="First and last gradient differ by less than 1,000 times: nothing to do.",
        ),
    ]
