"""What every layer costs: multiply-adds, memory and measured milliseconds, forward and backward."""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import fsum
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from eyehand.inspection.copies import tensors, working_copy
from eyehand.inspection.findings import Finding, Place, judge
from eyehand.inspection.operators import RUNS, Operator, OperatorTrace, Precision, failure, traced

MEMORY_BOUND_SHARE = 0.05
"""Share of the time from which on it is worth telling that a layer waits for memory."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What some operators cost together."""

    flops: int
    """Of both passes: a multiplication and an addition are two."""
    moved_bytes: int
    """Read and written in both passes, if nothing stays in a cache."""
    forward_ms: float
    backward_ms: float | None
    """``None`` where nothing can be differentiated."""

    @property
    def ms(self) -> float:
        """Both passes."""
        return self.forward_ms + (self.backward_ms or 0.0)


@dataclass(frozen=True, kw_only=True)
class Group(Cost):
    """All operators of one kind; the backward pass counts for the forward operator."""

    kind: str
    forward_share: float
    """Share of all operators' time in the forward pass, in [0, 1]."""
    backward_share: float | None


@dataclass(frozen=True, kw_only=True)
class Layer(Cost):
    """What one submodule runs itself: a parent's row is without its children."""

    name: str
    """Name as in ``named_modules``; empty for the network itself."""
    kind: str
    """Class of the module."""
    parent: bool
    """Whether it has submodules, so that the row holds only what its own ``forward`` runs."""
    calls: int
    """How often it was called; 0 where its parameters are used by its parent, or by nobody."""
    output: tuple[int, ...] | None
    """Shape of the first tensor that its last call returned."""
    parameters: int
    """Its own, those of its children aside; a shared one counts where it appears first."""
    multiply_adds: int
    """Of the forward pass, for the whole batch."""
    activation_bytes: int
    """Bytes that it keeps from the forward to the backward pass, parameters and inputs aside; what
    two layers keep counts for the first."""

    @property
    def intensity(self) -> float | None:
        """FLOP per byte moved (Williams et al., 2009); ``None`` where nothing moves."""
        return self.flops / self.moved_bytes if self.moved_bytes else None


@dataclass(frozen=True)
class Costs:
    """What one step of a network costs, in all and layer by layer."""

    layers: tuple[Layer, ...]
    """Every submodule that runs operators or owns parameters, as in ``named_modules``."""
    groups: tuple[Group, ...]
    """Where the time goes, the longest first."""
    batch: int | None
    """First axis of the first tensor of the inputs."""
    precision: Precision
    parameters: int
    multiply_adds: int
    """Of the forward pass, for the whole batch."""
    flops: int
    """Of both passes."""
    activation_bytes: int
    peak_bytes: int
    """The most memory that activations and gradients held at one moment; parameters, inputs and
    the buffers inside kernels come on top."""
    forward_ms: float
    """The whole forward pass, measured without looking inside. The layers' sum lacks the time of
    Python and of autograd between operators, and holds that of the looking."""
    backward_ms: float | None
    utilization: float | None
    """FLOP per second of the whole step as a share of the peak; ``None`` without a peak."""
    findings: tuple[Finding, ...]


def measure_costs(
    module: nn.Module,
    inputs: tuple[Any, ...],
    *,
    call: Callable[..., Any] = operator.call,
    precision: Precision = "fp32",
    peak: float | None = None,
    bandwidth: float | None = None,
    repeats: int = 3,
) -> Costs:
    """Run a step forward and backward and tell what each layer costs.

    Times are measured on the CPU, an operator's as the fastest of several steps. They depend on
    what else runs there: compare shares within one measurement, not milliseconds of two. The
    backward pass starts from ones at every output, or at the entry ``"loss"`` of a mapping. If the
    network raises, the layer is named in the findings and what ran before is told.

    Args:
        module: The network, in the mode in which it is to be measured.
        inputs: Positional arguments, a whole batch.
        call: Is given a copy of the network and the inputs, as ``Policy.loss``; by default it
            calls the network.
        precision: ``"bf16"`` runs the forward pass under autocast.
        peak: The machine's peak in FLOP per second, a matrix product's.
        bandwidth: Bytes per second that the machine reads and writes. Layers that are bound by
            memory are looked for only if this and the peak are given.
        repeats: Measured steps, at least 1.

    Returns:
        The costs; where the network raised, what ran before it.

    References:
        Williams et al., 2009, doi 10.1145/1498765.1498785 (memory-bound: fewer FLOP per byte than
        the machine's peak over its memory bandwidth). Model FLOPs utilization: Chowdhery et al.,
        2022, https://arxiv.org/abs/2204.02311, appendix B.

    Example:
        >>> costs = measure_costs(nn.Linear(3, 2), (torch.zeros(4, 3),), repeats=1)
        >>> costs.parameters, costs.multiply_adds, costs.layers[0].output
        (8, 24, (4, 2))
    """
    traces: list[OperatorTrace] = []
    seconds: list[tuple[float, float | None]] = []
    findings: list[Finding] = []
    differentiate = True
    for _ in range(repeats + 1):  # the first one warms up, and tells whether it runs at all
        with traced(module, held=inputs) as trace:
            traces.append(trace)
            try:
                _step(partial(call, trace.network), inputs, precision, differentiate, trace)
            except Exception as error:
                findings.append(failure(error, trace))
                if not trace.backward:
                    break
                differentiate = False
        try:
            with torch.random.fork_rng():
                run = partial(call, working_copy(module))
                seconds.append(_step(run, inputs, precision, differentiate, None))
        except Exception as error:  # one that ran once may yet fail the next time
            findings.append(failure(error, trace))
            break
    else:
        traces, seconds = traces[1:], seconds[1:]
    if not findings:
        findings.append(Finding(RUNS, "What ran, ran to its end: nothing to do."))
    trace, operators = traces[-1], _fastest(traces)
    forward, backward = min(
        seconds, key=lambda pair: pair[0] + (pair[1] or 0.0), default=(0.0, None)
    )
    layers = tuple(_layers(trace, operators, backward is not None))
    if peak is not None and bandwidth is not None:
        findings.append(memory_bound(layers, peak=peak, bandwidth=bandwidth))
    flops = sum(layer.flops for layer in layers)
    first = next(tensors(inputs), None)
    return Costs(
        layers=layers,
        groups=tuple(_groups(operators, backward is not None)),
        batch=None if first is None or first.ndim == 0 else len(first),
        precision=precision,
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        flops=flops,
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        peak_bytes=trace.peak_bytes,
        forward_ms=1000 * forward,
        backward_ms=None if backward is None else 1000 * backward,
        utilization=flops / (forward + (backward or 0.0)) / peak if peak and seconds else None,
        findings=tuple(findings),
    )


def memory_bound(layers: Iterable[Layer], *, peak: float, bandwidth: float) -> Finding:
    """Find the layers that wait for memory and take a good part of the time.

    A layer is bound by memory if it does fewer FLOP per byte than the machine can do while it moves
    one byte (Williams et al., 2009). Layers under a share of 5 % are passed over: every small
    activation is bound by memory.

    Args:
        layers: Rows of one network.
        peak: FLOP per second.
        bandwidth: Bytes per second.

    Returns:
        A finding with a place for each of them, the slowest first.
    """
    rows = sorted(layers, key=lambda layer: -layer.ms)
    total = sum(layer.ms for layer in rows) or 1.0
    balance = peak / bandwidth
    return judge(
        "Waiting for memory",
        (
            Place(
                layer.name,
                f"{layer.ms / total:.0%} of the time, at {layer.intensity:.1f} FLOP per byte where "
                f"this machine can do {balance:.0f}",
            )
            for layer in rows
            if layer.intensity is not None
            and layer.intensity < balance
            and layer.ms >= MEMORY_BOUND_SHARE * total
        ),
        look="Make what these layers read smaller, or merge several passes over it into one, since "
        "faster arithmetic does not help them.",
        ok="No layer of 5 % of the time or more waits for memory: nothing to do.",
    )


def _step(
    run: Callable[..., Any],
    inputs: tuple[Any, ...],
    precision: Precision,
    differentiate: bool,
    trace: OperatorTrace | None,
) -> tuple[float, float | None]:
    """Run both passes and return their seconds; no backward pass where nothing needs a gradient."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # of inference, hides what attention computes
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    start = perf_counter()
    try:
        with torch.enable_grad(), half:
            outputs = run(*inputs)
        forward = perf_counter() - start
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    if isinstance(outputs, Mapping) and isinstance(outputs.get("loss"), Tensor):
        outputs = outputs["loss"]
    roots = [output for output in tensors(outputs) if output.requires_grad]
    if not roots or not differentiate:
        return forward, None
    if trace is not None:
        trace.backward = True
    ones = [torch.ones_like(root) for root in roots]
    start = perf_counter()
    torch.autograd.backward(roots, ones)
    return forward, perf_counter() - start


def _fastest(traces: Sequence[OperatorTrace]) -> list[Operator]:
    """Return the operators of a step, each with its fastest time, as far as all steps agree."""
    steps = [trace.operators for trace in traces]
    if len({tuple((row.layer, row.name) for row in step) for step in steps}) > 1:
        return min(steps, key=lambda step: sum(row.seconds for row in step))
    return [
        replace(runs[0], seconds=min(run.seconds for run in runs))
        for runs in zip(*steps, strict=True)
    ]


def _cost(rows: Iterable[Operator], backward: bool) -> dict[str, Any]:
    """Return the fields of `Cost` for some operators."""
    rows = list(rows)
    forward_ms, backward_ms = (
        1000 * fsum(row.seconds for row in rows if row.backward == which) for which in (False, True)
    )
    return {
        "flops": sum(row.flops for row in rows),
        "moved_bytes": sum(row.bytes for row in rows),
        "forward_ms": forward_ms,
        "backward_ms": backward_ms if backward else None,
    }


def _layers(trace: OperatorTrace, operators: Iterable[Operator], backward: bool) -> Iterator[Layer]:
    """Yield a row for every submodule that runs operators or owns parameters."""
    rows_of = defaultdict(list)
    for row in operators:
        rows_of[row.layer].append(row)
    counted: set[nn.Parameter] = set()
    for name, part in trace.network.named_modules():
        own = set(part.parameters(recurse=False))
        if not own and name not in rows_of:
            continue
        yield Layer(
            name=name,
            kind=type(part).__name__,
            parent=any(True for _ in part.children()),
            calls=trace.calls[name],
            output=trace.outputs.get(name),
            parameters=sum(weight.numel() for weight in own - counted),
            multiply_adds=sum(row.flops for row in rows_of[name] if not row.backward) // 2,
            activation_bytes=trace.kept_bytes[name],
            **_cost(rows_of[name], backward),
        )
        counted |= own


def _groups(operators: Iterable[Operator], backward: bool) -> list[Group]:
    """Return the operators summed by kind, the slowest first."""
    kinds = defaultdict(list)
    for row in operators:
        kinds[row.kind].append(row)
    costs = {kind: Cost(**_cost(rows, backward)) for kind, rows in kinds.items()}
    forward = sum(cost.forward_ms for cost in costs.values()) or 1.0
    backwards = sum(cost.backward_ms or 0.0 for cost in costs.values()) or 1.0
    groups = [
        Group(
            kind=kind,
            forward_share=cost.forward_ms / forward,
            backward_share=None if cost.backward_ms is None else cost.backward_ms / backwards,
            **vars(cost),
        )
        for kind, cost in costs.items()
    ]
    return sorted(groups, key=lambda group: -group.ms)
