"""Every operator that a network runs, forward and backward, and the layer that each belongs to.

A dispatch mode sees the operators below autograd, so functional calls and operators inside a
parent's ``forward`` are seen as well as modules. Hooks tell which submodule is running. In the
backward pass autograd knows which node it runs, and nodes are numbered in the order of the forward
pass: the number leads back to the layer that made the node. Residual paths, in-place operators and
custom functions need no special case.
"""

import weakref
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    conv_flop_count,
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from eyehand.inspection.copies import tensors, working_copy
from eyehand.inspection.findings import Finding, Place

Precision = Literal["bf16", "fp32"]
RUNS = "Forward and backward pass"
"""Name of the finding that tells whether both ran."""

COPIES = "copies and layout"
KINDS = {
    "convolution": ("conv",),
    "attention": ("attention",),
    "recurrence": ("rnn", "lstm", "gru"),
    "normalization": ("batch_norm", "layer_norm", "group_norm", "rms_norm"),
    "pooling": ("pool",),
    "softmax": ("softmax",),
    COPIES: (
        *("copy", "clone", "stack", "embedding", "index", "gather", "scatter", "pad", "select"),
        *("slice", "strided", "view", "zeros", "ones", "full", "fill", "empty", "roll", "flip"),
    ),
}
"""Kind of an operator by a part of its name; the first that fits."""
MATRIX_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "_scaled_mm"}


@dataclass(frozen=True)
class Operator:
    """One run of one operator."""

    layer: str
    """Name of the submodule in whose ``forward`` it ran, as in ``named_modules``."""
    name: str
    """Its name in ATen, without the underscore of the in-place form."""
    kind: str
    """A key of `KINDS`, ``matrix product``, ``broadcasting``, ``reduction``, ``elementwise`` or
    ``other``; in the backward pass that of the operator whose gradient it computes."""
    backward: bool
    seconds: float
    flops: int
    """Of matrix products, convolutions, attention and recurrence; elsewhere 0."""
    bytes: int
    """Read and written, each tensor once; 0 for a view."""


def storage_of(tensor: Tensor) -> tuple[int, int]:
    """Return address and bytes of a tensor's memory; zeros for a sparse one, which has several."""
    if tensor.layout is not torch.strided:
        return 0, 0
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


AfterOperator = Callable[[Operator, tuple[Any, ...], Any], None]
"""Is told of an operator after it ran: what it was, its arguments, its result."""


class OperatorTrace(TorchDispatchMode):
    """Record of every operator that a copy of a network ran, as `traced` makes it."""

    def __init__(self, module: nn.Module, held: object, observe: AfterOperator | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's gap
        self.network = network = working_copy(module)
        """What is to be run."""
        self.backward = False
        """Whether the forward pass is over; set by who runs the backward pass, before it."""
        self.operators: list[Operator] = []
        self.calls: Counter[str] = Counter()
        """How often each submodule was called."""
        self.outputs: dict[str, tuple[int, ...]] = {}
        """Shape of the first tensor that each submodule returned last, in order of their end."""
        self.peak_bytes = 0
        """The most memory that tensors made inside the block held at one moment. Buffers that
        kernels use inside are not seen."""
        self.kept_bytes: Counter[str] = Counter()
        """Bytes that each layer kept for its backward pass; counted by `keep`."""
        self.running: list[str] = []
        """Names of the submodules that were entered and not left, outermost first. After an
        exception the last one is where it came from."""
        self._entered_during: int | None = None  # the autograd node
        self._observe = observe
        owned = [*network.parameters(), *network.buffers(), *tensors(held)]
        self._not_counted = {0, *(storage_of(x)[0] for x in owned)}
        self._alive: dict[int, int] = {}
        self._kept: set[int] = set()
        self._owner: dict[int, str] = {}
        self._nodes: list[int] = []
        self._made_by: list[tuple[str, str]] = []
        self._layer_of_gradient: str | None = None
        for name, part in network.named_modules():
            for weight in part.parameters(recurse=False):
                self._owner.setdefault(id(weight), name)
            if not isinstance(part, torch.jit.ScriptModule):  # takes no hooks: its parent's work
                part.register_forward_pre_hook(partial(self._enter, name))
                part.register_forward_hook(partial(self._leave, name))

    def _enter(self, name: str, _: nn.Module, __: Any) -> None:
        self.running.append(name)
        self._entered_during = _node_number()

    def _leave(self, name: str, _: nn.Module, __: Any, output: Any) -> None:
        # A child whose exception its parent caught was never left.
        while self.running and self.running.pop() != name:
            pass
        self.calls[name] += 1
        first = next(tensors(output), None)
        if first is not None:
            self.outputs[name] = tuple(first.shape)

    @property
    def current(self) -> str:
        """The layer that runs, or that failed; the network itself is the empty name.

        In the backward pass it is the one that is differentiated.
        """
        if self._in_forward():
            return self.running[-1] if self.running else ""
        return self._layer_of_gradient or ""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator and write down what it was."""
        kwargs = kwargs or {}
        with self:  # in inference mode composite operators arrive whole
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        node = torch._C._autograd._get_sequence_nr() - 1
        start = perf_counter()
        result = func(*args, **kwargs)
        seconds = perf_counter() - start
        read = list(tensors((args, kwargs)))
        written = list(tensors(result))
        self._remember(written)
        name = str(func.overloadpacket.__name__).removesuffix("_")
        kind = kind_of(func, name, read, written)
        if not self._in_forward():
            made_by = self._made_by_forward()
            if made_by is None:
                return result  # the gradient that the pass begins with
            # Gradients of one tensor from two readers are added between two nodes, and the gradient
            # of an expanded tensor is a sum.
            layer = self._layer_of_gradient = made_by[0]
            kind = kind if name == "add" or made_by[1] in ("", COPIES) else made_by[1]
        else:
            layer = self.current
            if not self._nodes or node > self._nodes[-1]:
                self._nodes.append(node)
                self._made_by.append((layer, kind))
        idle = func.is_view or name == "_unsafe_view" or "empty" in name
        moved = 0 if idle else sum(map(_bytes, read + written))
        flops = flops_of(func, args, kwargs, result)
        operator = Operator(layer, name, kind, self.backward, seconds, flops, moved)
        self.operators.append(operator)
        if self._observe is not None:
            self._observe(operator, args, result)
        return result

    def _in_forward(self) -> bool:
        """Return whether a forward pass runs; with checkpoints one does inside the backward."""
        if self.backward and self._entered_during != _node_number():
            self.running.clear()  # the checkpoint left its submodules by an exception
        return bool(self.running) or not self.backward

    def _made_by_forward(self) -> tuple[str, str] | None:
        """Return layer and kind of the forward operator that is being differentiated."""
        node = torch._C._current_autograd_node()
        if node is None:
            return None if self._layer_of_gradient is None else (self._layer_of_gradient, "")
        weight = getattr(node, "variable", None)
        if weight is not None:
            return self._owner.get(id(weight), ""), ""
        index = bisect_right(self._nodes, node._sequence_nr()) - 1
        return self._made_by[index] if index >= 0 else ("", "")

    def _remember(self, written: list[Tensor]) -> None:
        """Count new storages until they are freed."""
        for tensor in written:
            key, size = storage_of(tensor)
            if key not in self._not_counted and key not in self._alive:
                self._alive[key] = size
                weakref.finalize(tensor.untyped_storage(), self._alive.pop, key)
        self.peak_bytes = max(self.peak_bytes, sum(self._alive.values()))

    def keep(self, tensor: Tensor) -> Tensor:
        """Count a storage for the first layer that keeps it, as a hook of saved tensors."""
        key, size = storage_of(tensor)
        if key not in self._not_counted and key not in self._kept:
            self._kept.add(key)
            self.kept_bytes[self.running[-1] if self.running else ""] += size
        return tensor


@contextmanager
def traced(
    module: nn.Module, *, held: object = (), observe: AfterOperator | None = None
) -> Iterator[OperatorTrace]:
    """Record every operator that runs inside the block.

    Run the ``network`` of the trace, a copy; then set its ``backward`` and run the backward pass.
    Only operators on the CPU are timed rightly: on an accelerator they return before they are done.

    Args:
        module: The network.
        held: Whatever exists already and is not counted as memory, such as the inputs.
        observe: Called after every operator, outside its timing.

    Example:
        >>> x = torch.zeros(4, 3)
        >>> with traced(nn.Linear(3, 2)) as trace:
        ...     _ = trace.network(x)
        >>> [(operator.name, operator.flops) for operator in trace.operators]
        [('t', 0), ('addmm', 48)]
    """
    trace = OperatorTrace(module, held, observe)
    saved = torch.autograd.graph.saved_tensors_hooks(trace.keep, lambda kept: kept)
    with torch.random.fork_rng(), trace, saved:
        yield trace
    trace.network.zero_grad()  # gradients are as large as the network


def failure(error: Exception, trace: OperatorTrace) -> Finding:
    """Return what was raised during a trace as a finding for the layer that ran."""
    which = "backward" if trace.backward else "forward"
    text = f"the {which} pass stopped: {type(error).__name__}: {' '.join(str(error).split())}"
    advice = "Mend this layer first: all other findings cover only what ran before it."
    return Finding(RUNS, advice, (Place(trace.current, text),))


def kind_of(func: Any, name: str, read: list[Tensor], written: list[Tensor]) -> str:
    """Return the kind of an operator: by its name, else by its tags and the shapes.

    Broadcasting is elementwise work where one factor is smaller than the result, as FiLM and a
    bias do it; its gradient ends in a sum over the whole map.
    """
    if name in MATRIX_PRODUCTS:
        return "matrix product"
    if name == "cat" or func.is_view:
        return COPIES
    for kind, parts in KINDS.items():
        if any(part in name for part in parts):
            return kind
    if torch.Tag.reduction in func.tags:
        return "reduction"
    size = max((x.numel() for x in written), default=0)
    if torch.Tag.pointwise in func.tags or (read and all(x.numel() == size for x in read)):
        small = any(1 < x.numel() < size for x in read)
        return "broadcasting" if small else "elementwise"
    return "other"


def flops_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: object) -> int:
    """Return the floating-point operations of an operator, by torch's formulas.

    Three are ours: torch 2.13 has none for attention and recurrence as they run on a CPU, and
    counts the backward pass of a grouped convolution as if it had no groups. A causal mask saves
    nothing here.
    """
    match str(func.overloadpacket):
        case "aten.convolution_backward":
            gradient, x, weight = args[:3]
            transposed, (to_input, to_weight, _) = args[7], args[-1]
            once = conv_flop_count(x.shape, weight.shape, gradient.shape, transposed=transposed)
            return int(once) * (to_input + to_weight)
        case "aten._scaled_dot_product_flash_attention_for_cpu":
            return int(sdpa_flop_count(*(x.shape for x in args[:3])))
        case "aten._scaled_dot_product_flash_attention_for_cpu_backward":
            return int(sdpa_backward_flop_count(*(x.shape for x in args[:4])))
        case "aten.mkldnn_rnn_layer" | "aten.mkldnn_rnn_layer_backward":
            steps = prod(args[0].shape[:2])
            products = 2 * steps * (args[1].numel() + args[2].numel())
            return products * (2 if "backward" in str(func.overloadpacket) else 1)
        case "aten.mv" | "aten.addmv":
            return 2 * args[-2].numel()
    count = flop_registry.get(func.overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=result))


def _node_number() -> int | None:
    """Return the number of the node that autograd runs, counted in the order of making."""
    node = torch._C._current_autograd_node()
    return None if node is None else node._sequence_nr()


def _bytes(tensor: Tensor) -> int:
    """Return the bytes that a pass over it moves; an expanded tensor is no larger than it is."""
    return min(tensor.numel() * tensor.element_size(), storage_of(tensor)[1])
