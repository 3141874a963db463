import random
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from eyehand.inspection.untouched import untouched


class Remembering(nn.Module):
    """Keeps what it saw in a list and in an attribute, and a norm with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.linear = nn.Linear(3, 2)
        self.memory: list[torch.Tensor] = []
        self.last: torch.Tensor | None = None
        self.steps, self.recent, self.seen = torch.zeros(()), deque([1]), {"a"}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.memory.append(x)
        self.last = x
        return self.linear(self.norm(x))


def disturb(network: Remembering) -> None:
    """Change all that an inspection may change."""
    network.eval()
    network.norm.train()
    network.linear.register_forward_hook(lambda *_: None)
    network.linear.register_full_backward_hook(lambda *_: None)
    network(torch.rand(4, 3)).sum().backward()
    network.norm.running_mean = torch.full((3,), 7.0)
    network.steps += 1
    network.recent.append(2)
    network.seen.add("b")
    network.requires_grad_(False)
    network.extra = 1
    del network.memory
    network.linear = nn.Linear(3, 5)
    torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002


def fail(network: Remembering) -> None:
    disturb(network)
    raise KeyError("inside")


def draw() -> tuple[float, float, float]:
    return torch.rand(1).item(), float(np.random.rand()), random.random()  # noqa: NPY002


@pytest.mark.parametrize("change", [disturb, fail])
def test_everything_is_as_before(change: Callable[[Remembering], None]) -> None:
    network = Remembering()
    network.linear.eval()
    network.linear.bias.requires_grad_(False)
    network(torch.rand(4, 3)).sum().backward()
    gradient, linear, memory = network.linear.weight.grad, network.linear, network.memory
    gradient_values, buffers = gradient.clone(), {k: v.clone() for k, v in network.named_buffers()}
    mean, version = network.norm.running_mean, network.norm.running_var._version
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    want = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    failing = pytest.raises(KeyError) if change is fail else nullcontext()
    with failing, untouched(network):
        assert network.linear.weight.grad is None
        change(network)
    assert draw() == want
    assert network.linear is linear
    assert (network.training, network.norm.training, network.linear.training) == (True, True, False)
    assert [weight.requires_grad for weight in network.parameters()] == [True, True, True, False]
    assert network.linear.weight.grad is gradient
    assert torch.equal(gradient, gradient_values)
    assert network.norm.running_mean is mean
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, buffers[name])
    assert network.norm.running_var._version > version, "the running variance did change inside"
    assert network.memory is memory
    assert len(memory) == 1
    assert network.last is memory[0]
    assert (float(network.steps), network.recent, network.seen) == (0, deque([1]), {"a"})
    assert not hasattr(network, "extra")
    assert not network.linear._forward_hooks
    assert not network.linear._backward_hooks
    assert network.linear._is_full_backward_hook is None


def test_a_graph_that_somebody_holds_stays_good() -> None:
    network = nn.BatchNorm1d(3).eval()
    held = network(torch.rand(2, 3, requires_grad=True)).sum()
    with untouched(network):
        network(torch.rand(2, 3))
    held.backward()


def test_a_sparse_buffer_is_restored() -> None:
    network = nn.Module()
    network.register_buffer("graph", torch.eye(3).to_sparse())
    with untouched(network):
        network.graph.mul_(2)
    assert torch.equal(network.graph.to_dense(), torch.eye(3))


def test_networks_without_memory_pass() -> None:
    with torch.device("meta"):
        network = nn.BatchNorm1d(3)
    with untouched(network):
        network.eval()
    assert network.training
