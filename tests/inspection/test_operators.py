"""Every operator is seen once and led back to its layer, forward and backward."""

import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from eyehand.inspection.operators import OperatorTrace, traced


class Block(nn.Module):
    """In-place, residual and functional at once."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.second(self.relu(self.norm(self.first(x)))) + x)


def step(module: nn.Module, *inputs: Tensor) -> OperatorTrace:
    with traced(module, held=inputs) as trace:
        output = trace.network(*inputs)
        trace.backward = True
        output.sum().backward()
    return trace


def layers_of(trace: OperatorTrace) -> Counter[tuple[str, str, bool]]:
    return Counter((row.layer, row.name, row.backward) for row in trace.operators)


def test_functional_residual_and_in_place_operators_lead_to_their_layers() -> None:
    found = layers_of(step(nn.Sequential(nn.Conv2d(3, 4, 1), Block()), torch.randn(2, 3, 6, 6)))
    assert found["0", "convolution", False] == found["0", "convolution_backward", True] == 1
    for name in ("1.first", "1.second"):
        assert found[name, "convolution", False] == 1
        assert found[name, "convolution_backward", True] == 1
    assert found["1.norm", "native_batch_norm_backward", True] == 1
    assert found["1.relu", "relu", False] == found["1.relu", "threshold_backward", True] == 1
    assert found["1", "add", False] == 1
    assert found["1", "gelu", False] == found["1", "gelu_backward", True] == 1


def test_flops_equal_torchs_own_counter() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Block(), nn.Conv2d(4, 6, 3, stride=2), nn.Flatten(), nn.Linear(24, 5))
    x = torch.randn(2, 4, 6, 6)
    counter = FlopCounterMode(display=False)
    with counter:
        model(x).sum().backward()
    ours = step(model, x)
    assert sum(row.flops for row in ours.operators) == counter.get_total_flops()
    per_layer = counter.get_flop_counts()
    for name in ("0.first", "0.second", "1", "3"):
        want = sum(per_layer[f"Sequential.{name}"].values())
        assert sum(row.flops for row in ours.operators if row.layer == name) == want


def test_groups_divide_the_backward_pass_too() -> None:
    """Against torch's counter, which forgets the groups there: three products of one size."""
    trace = step(nn.Conv2d(6, 6, 3, groups=6), torch.randn(2, 6, 5, 5, requires_grad=True))
    once = 2 * 2 * 6 * 9 * 9
    assert [row.flops for row in trace.operators if row.flops] == [once, 2 * once]


def test_attention_on_a_cpu_is_counted() -> None:
    class Attend(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    x = torch.randn(2, 3, 5, 8, requires_grad=True)
    trace = step(Attend(), x)
    kind = [row for row in trace.operators if row.kind == "attention" and row.flops]
    products = 2 * 2 * (2 * 3) * 5 * 5 * 8  # scores, then values; two FLOP each
    assert [row.flops for row in kind if not row.backward] == [products]
    # Scores anew, then the gradients of values, weights, queries and keys.
    assert [row.flops for row in kind if row.backward] == [5 * products // 2]


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_recurrent_layer_is_counted(batch_first: bool) -> None:
    model = nn.LSTM(6, 4, batch_first=batch_first)
    with traced(model) as trace:
        trace.network(torch.randn(5, 3, 6))
    assert sum(row.flops for row in trace.operators) == 2 * 15 * (4 * 4) * (6 + 4)


def test_kinds() -> None:
    class Kinds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = F.hardswish(x * (1 + self.shift))
            x = F.group_norm(F.max_pool2d(x, 2), 2)
            return torch.cat([x, x]).softmax(dim=1).mean()

    trace = step(Kinds(), torch.randn(2, 4, 6, 6))
    kinds = {row.name: row.kind for row in trace.operators if not row.backward}
    assert kinds["mul"] == "broadcasting"
    assert kinds["add"] == kinds["hardswish"] == "elementwise"
    assert kinds["max_pool2d_with_indices"] == "pooling"
    assert kinds["native_group_norm"] == "normalization"
    assert kinds["cat"] == "copies and layout"
    assert kinds["_softmax"] == "softmax"
    assert kinds["mean"] == "reduction"
    # The gradient of a broadcast factor is summed over the map: that is broadcasting's cost too.
    assert {row.kind for row in trace.operators if row.backward and row.name == "sum"} == {
        "broadcasting"
    }


def test_custom_functions_and_checkpoints_lead_to_their_layers() -> None:
    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.round()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient.exp()

    class Quantize(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Straight.apply(x)

    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.GELU())

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)

    model = nn.Sequential(nn.Linear(3, 4), Quantize(), Again())
    found = layers_of(step(model, torch.randn(2, 3)))
    assert found["1", "exp", True] == 1
    assert found["2.inner.0", "addmm", False] == 1
    assert found["2.inner.0", "addmm", True] == 1  # computed again in the backward pass
    assert found["2.inner.0", "mm", True] == 2
    assert found["2.inner.1", "gelu_backward", True] == 1
    assert found["0", "mm", True] == 1


def test_inference_mode_is_seen_operator_by_operator() -> None:
    model = nn.Linear(3, 2)
    with traced(model) as trace, torch.inference_mode():
        trace.network(torch.randn(4, 3))
    assert sum(row.flops for row in trace.operators) == 2 * 4 * 3 * 2


def test_memory_is_what_tensors_hold() -> None:
    """Three maps of 4 kB: the first is freed before the third is made, or kept for the backward."""

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weight).sin().sin()

    model, x = Chain(), torch.randn(1000)
    with traced(model, held=x) as trace, torch.no_grad():
        trace.network(x)
    assert trace.peak_bytes == 8_000
    assert not trace.kept_bytes
    with traced(model, held=x) as trace:
        trace.network(x)
    assert trace.peak_bytes == 12_000
    assert (
        trace.kept_bytes[""] == 8_000
    )  # what both sines read; the product's input is the caller's


def test_bytes_count_a_view_as_nothing_and_an_expanded_tensor_once() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(10, 100).t() + torch.ones(1).expand(100, 10)

    with traced(Views()) as trace:
        trace.network(torch.randn(1000))
    moved = {row.name: row.bytes for row in trace.operators}
    assert moved["view"] == moved["t"] == moved["expand"] == 0
    assert moved["add"] == 4000 + 4 + 4000


def test_a_child_whose_exception_was_caught_is_left() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    class Catches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fails = Fails()

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.fails(x)
            except RuntimeError:
                return x

    model = nn.Sequential(Catches(), nn.ReLU())
    x = torch.ones(1)
    with traced(model) as trace:
        trace.network(x)
        assert trace.running == []
    assert [row.layer for row in trace.operators] == ["1"]


def test_a_scripted_part_is_its_parents_work() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Linear(3, 3))
    found = step(nn.Sequential(nn.Linear(3, 3), scripted), torch.randn(2, 3))
    assert {row.layer for row in found.operators if row.flops} == {"0", ""}
    assert sum(row.flops for row in found.operators) == 2 * 36 * 3 - 36  # no gradient of the input


def test_every_operator_of_a_step_is_seen_and_has_its_layer_and_time() -> None:
    """Against torch's own record of the same step: none is missed, none is told twice."""

    class Names(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            names.append(func.overloadpacket.__name__.removesuffix("_"))
            return func(*args, **(kwargs or {}))

    names: list[str] = []
    model, x = nn.Sequential(Block(), Block()), torch.randn(2, 4, 8, 8)
    with Names():
        model(x).sum().backward()
    rows = step(model, x).operators
    both = {"add", "relu", "threshold_backward", "gelu", "gelu_backward"}
    both |= {"convolution", "convolution_backward", "native_batch_norm_backward"}
    seen = Counter(row.name for row in rows if row.name in both)
    assert seen == Counter(name for name in names if name in both)
    assert set(seen) == both
    layers = {row.layer for row in rows if row.name.startswith("convolution")}
    assert layers == {"0.first", "0.second", "1.first", "1.second"}
    assert all(row.seconds > 0 for row in rows)
