from collections import deque

import pytest
import torch
from torch import Tensor, nn

from eyehand.inspection.copies import Probe, tensors, working_copy
from eyehand.types import InputError


class Remembering(nn.Module):
    """Keeps what it saw in a list and in an attribute, and a norm with running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(3), nn.Linear(3, 2)
        self.memory: deque[Tensor] = deque()
        self.last: Tensor | None = None
        self.register_buffer("graph", torch.eye(3).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        self.memory.append(x)
        self.last = self.linear(self.norm(x))
        return self.last


def test_tensors_are_found_in_nested_outputs() -> None:
    a, b = torch.zeros(1), torch.ones(2)
    assert [x.shape for x in tensors([{"x": a}, (b, None, "text"), 3])] == [(1,), (2,)]


def test_whatever_is_done_with_a_copy_the_network_is_as_it_was() -> None:
    network = Remembering()
    network(torch.rand(4, 3)).sum().backward()  # it holds a tensor that was computed
    network.linear.bias.requires_grad_(False)
    gradient, last = network.linear.weight.grad, network.last
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = working_copy(network)
    copy.linear.register_forward_hook(lambda *_: None)
    copy(torch.rand(4, 3)).sum().backward()
    copy.graph.mul_(2)
    copy.eval().requires_grad_(False)
    copy.linear = nn.Linear(3, 5)
    assert network.linear.out_features == 2
    assert network.training
    assert [weight.requires_grad for weight in network.parameters()] == [True, True, True, False]
    assert network.linear.weight.grad is gradient
    assert (network.last is last, len(network.memory)) == (True, 1)
    assert not network.linear._forward_hooks
    for name, value in network.state_dict().items():
        assert torch.equal(value.to_dense(), before[name].to_dense())


def test_a_copy_holds_no_second_set_of_parameters() -> None:
    network = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    network.append(network[0])
    copy = working_copy(network)
    assert copy[0].weight is copy[2].weight
    for ours, theirs in zip(copy.parameters(), network.parameters(), strict=True):
        assert ours is not theirs
        assert ours.data_ptr() == theirs.data_ptr()


def test_what_cannot_be_copied_is_told() -> None:
    network = nn.Linear(1, 1)
    network.source = (x for x in ())
    with pytest.raises(InputError, match="Linear cannot be inspected, since it cannot be copied"):
        working_copy(network)


def test_a_layers_output_is_taken_before_it_is_overwritten() -> None:
    model, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True)), torch.randn(4, 2)
    torch.testing.assert_close(Probe(model, "0")(x), model[0](x).detach())
    assert not model[0]._forward_hooks


def test_layers_that_are_missing_or_idle_are_refused() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.idle = nn.Conv2d(3, 2, 1), nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(x).mean(dim=(2, 3))

    with pytest.raises(ValueError, match=r"no layer 'encodr'\. Did you mean 'encoder'"):
        Probe(Lazy(), "encodr")
    with pytest.raises(ValueError, match="'idle' of Lazy was not called"):
        Probe(Lazy(), "idle")(torch.zeros(1, 3, 4, 4))
