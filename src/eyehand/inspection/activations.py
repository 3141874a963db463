"""What the layers of a network do on a batch: dead and saturated units, lost gradients."""

import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from eyehand.inspection.copies import floating, tensors
from eyehand.inspection.findings import Finding, Place, by, judge
from eyehand.inspection.operators import Operator, failure, traced

DEAD_SHARE = 0.1
SATURATED_SHARE = 0.5
WATCHED = ("sigmoid", "tanh", "relu", "hardtanh", "clamp", "clamp_min")
"""Names in ATen; of the last three those that begin at zero, as ReLU6."""
LIMIT = 0.99
"""Share of the limit beyond which a sigmoid or tanh counts as saturated."""
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


@dataclass(frozen=True)
class Activations:
    """What a network did on one batch."""

    rows: tuple[Activation, ...]
    """In the order in which they ran."""
    gradients: Mapping[str, float]
    """Of each layer with weights, in the order in which they first ran, the Euclidean norm of the
    loss's gradient with respect to what it returned; empty without gradients."""
    findings: tuple[Finding, ...]


def measure_activations(
    module: nn.Module,
    inputs: tuple[Any, ...],
    *,
    call: Callable[..., Any] = operator.call,
) -> Activations:
    """Run a batch forward and backward and look for units and gradients that are lost.

    Functional calls are seen as well as modules. A map with four axes or more has its channels on
    axis 1, any other on the last: a one-dimensional convolution's map is misread. What is dead on
    one batch may fire on another: take a large one.

    Gradients start from the entry ``"loss"`` of a mapping, else from the sum of all numbers of the
    outputs and of their squares: squares alone have no gradient where a last layer starts from
    zeros.

    Args:
        module: The network, in the mode in which it is to be looked at.
        inputs: Positional arguments, a whole batch.
        call: Is given a copy of the network and the inputs, as ``Policy.loss``; by default it
            calls the network.

    Returns:
        Figures of every operator, and findings by these rules: at least 10 % of the channels of a
        ReLU dead; at least half of the values of a sigmoid or tanh saturated; first to last
        gradient below 1 to 1000 or above 1000 to 1; a gradient of zero or not finite.

    References:
        Glorot and Bengio, 2010, sec. 4.2 (gradients through depth). Glorot, Bordes and Bengio,
        2011, sec. 3 (units that never fire).

    Example:
        >>> layer = nn.Linear(3, 4)
        >>> with torch.no_grad():
        ...     _ = layer.bias.copy_(torch.tensor([-100.0, 100, 100, 100]))
        >>> found = measure_activations(nn.Sequential(layer, nn.ReLU()), (torch.ones(5, 3),))
        >>> found.rows[0].dead
        0.25
    """
    rows: list[Activation] = []
    runs: Counter[tuple[str, str]] = Counter()
    findings: list[Finding] = []
    over = False

    def watch(ran: Operator, args: tuple[Any, ...], result: Any) -> None:
        dead = saturated = None
        if over or ran.name not in WATCHED or result.ndim < 2 or not result.numel():
            return
        if ran.name in ("sigmoid", "tanh"):
            values = result * 2 - 1 if ran.name == "sigmoid" else result
            saturated = float((values.abs() > LIMIT).float().mean())
        elif ran.name == "relu" or args[1:2] == (0,):
            off = (result.movedim(1, -1) if result.ndim > 3 else result) <= 0
            dead = float(off.flatten(end_dim=-2).all(dim=0).float().mean())
        else:
            return
        run, shape = runs[ran.layer, ran.name], tuple(result.shape)
        runs[ran.layer, ran.name] += 1
        rows.append(Activation(ran.layer, ran.name, run, shape, dead, saturated))

    with traced(module, held=inputs, observe=watch) as trace:
        squares_of = _follow_gradients(trace.network)
        try:
            with torch.enable_grad():
                outputs = call(trace.network, *inputs)
                over = True  # what follows is the loss, not the network
                scalar = _loss(outputs)
            trace.backward = True
            if scalar.requires_grad:
                scalar.backward()
        except Exception as error:
            squares_of = {}
            findings.append(failure(error, trace))
    norms = {name: math.sqrt(math.fsum(squares)) for name, squares in squares_of.items()}
    findings += _unit_findings(rows)
    if norms:
        findings += _gradient_findings(norms)
    return Activations(tuple(rows), norms, tuple(findings))


def _follow_gradients(module: nn.Module) -> dict[str, list[float]]:
    """Hook every layer with a weight of two axes or more.

    Returns:
        Filled while the network runs forward and backward: the squared norms of the gradients at
        the outputs of each layer, by its name, in the order of the first calls.
    """
    squares_of: dict[str, list[float]] = {}

    def after(name: str, _: nn.Module, __: Any, outputs: Any) -> None:
        differentiable = [x for x in tensors(outputs) if x.requires_grad]
        squares = squares_of.setdefault(name, []) if differentiable else []
        for output in differentiable:
            output.register_hook(lambda x: squares.append(float(x.double().square().sum())))

    for name, part in module.named_modules():
        weights = part.parameters(recurse=False)
        scripted = isinstance(part, torch.jit.ScriptModule)  # takes no hooks
        if not scripted and any(weight.ndim > 1 for weight in weights):
            part.register_forward_hook(partial(after, name))
    return squares_of


def _loss(outputs: object) -> Tensor:
    """Return the entry ``"loss"``, or a loss that moves every number of the outputs."""
    if isinstance(outputs, Mapping) and isinstance(outputs.get("loss"), Tensor):
        return outputs["loss"]
    return torch.stack([(x.square() + x).sum() for x in floating(outputs)]).sum()


def _unit_findings(rows: Iterable[Activation]) -> list[Finding]:
    """Judge dead and saturated units."""
    dead, saturated = [], []
    for row in rows:
        where = f"`{row.operator}` {row.call} ({by(row.shape)})"
        channels = row.shape[1] if len(row.shape) > 3 else row.shape[-1]
        if row.dead is not None and row.dead >= DEAD_SHARE:
            count = round(row.dead * channels)
            text = f"{count} of {channels} channels of {where} are zero over the whole batch"
            dead.append(Place(row.layer, text))
        if row.saturated is not None and row.saturated >= SATURATED_SHARE:
            text = f"{row.saturated:.0%} of the values of {where} are beyond 0.99 of the limit"
            saturated.append(Place(row.layer, text))
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
    ]


def _gradient_findings(norms: Mapping[str, float]) -> list[Finding]:
    """Judge the gradients at the outputs of layers with weights."""
    lost, uneven = [], []
    for norm, run in groupby(norms, key=lambda layer: f"{norms[layer]:g}"):
        *before, layer = run
        if norm in ("0", "inf", "nan"):
            text = f"the gradient at its output has norm {norm}"
            if before:
                text += f", as at the {len(before)} layers before it"
            lost.append(Place(layer, text))
    if len(norms) > 1 and not lost:
        first, *_, last = norms
        ratio = norms[first] / norms[last]
        if not 1 / GRADIENT_RATIO <= ratio <= GRADIENT_RATIO:
            text = (
                f"the gradient {'vanishes' if ratio < 1 else 'explodes'}: {norms[first]:.2g} here, "
                f"{norms[last]:.2g} at {last or 'the network'!r}, {len(norms)} layers later"
            )
            uneven.append(Place(first, text))
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
