"""Costs equal formulas by hand, and looking changes nothing."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.inspection.costs import Layer, measure_costs, memory_bound
from eyehand.inspection.operators import RUNS
from eyehand.models.vision.patch_encoder import PatchEncoder
from eyehand.nn.film import FiLM


class Modulated(nn.Module):
    """A small convolution, then FiLM over the large map that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.film = FiLM(8, context_dim=2)

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        return F.relu(self.film(self.stem(image), context))


def rows(module: nn.Module, *inputs: Tensor) -> dict[str, Layer]:
    return {row.name: row for row in measure_costs(module, inputs, repeats=1).layers}


def test_equals_the_formulas_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.Flatten())
    model.append(nn.Linear(6 * 4 * 5, 7, bias=False))
    found = measure_costs(model, (torch.randn(3, 4, 8, 10),), repeats=1)
    convolution, flatten, linear = found.layers
    assert convolution.output == (3, 6, 4, 5)
    assert convolution.parameters == 6 * 2 * 9 + 6
    assert convolution.multiply_adds == 3 * 6 * 4 * 5 * 2 * 9
    assert (flatten.kind, flatten.parameters, flatten.multiply_adds) == ("Flatten", 0, 0)
    assert linear.parameters == 120 * 7
    assert linear.multiply_adds == 3 * 120 * 7
    # The picture needs no gradient: the convolution's backward pass is one product, not two.
    assert convolution.flops == 2 * 2 * convolution.multiply_adds
    assert linear.flops == 3 * 2 * linear.multiply_adds
    assert linear.activation_bytes == 3 * 120 * 4 or convolution.activation_bytes == 3 * 120 * 4
    assert found.activation_bytes == 3 * 120 * 4
    assert found.batch == 3
    assert found.parameters == sum(weight.numel() for weight in model.parameters())


def test_a_parents_own_operators_have_a_row() -> None:
    found = rows(PatchEncoder((4, 8, 16)), torch.randn(1, 3, 32, 32))
    assert list(found) == ["", "stem", "to_middle", "to_coarse"]
    assert found[""].parent
    assert not found["stem"].parent
    assert found[""].parameters == found[""].flops == 0
    assert found[""].moved_bytes > 0  # the three ReLU


def test_shared_parameters_count_once_and_uncalled_ones_are_told() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "c": nn.Linear(3, 2)})
    model["b"].weight = model["a"].weight
    found = measure_costs(
        model,
        (torch.randn(2, 3),),
        call=lambda copy, x: copy["b"](copy["a"](copy["a"](x))),
        repeats=1,
    )
    assert found.parameters == 9 + 3 + 3 + 8 == sum(w.numel() for w in model.parameters())
    assert [(row.name, row.calls) for row in found.layers] == [("a", 2), ("b", 1), ("c", 0)]


def test_layers_and_groups_are_two_sums_of_the_same() -> None:
    found = measure_costs(Modulated(), (torch.randn(2, 3, 16, 16), torch.randn(2, 2)), repeats=2)
    for name in ("flops", "moved_bytes", "forward_ms", "backward_ms"):
        by_layer = sum(getattr(row, name) for row in found.layers)
        by_kind = sum(getattr(row, name) for row in found.groups)
        assert by_layer == pytest.approx(by_kind)
    assert sum(group.forward_share for group in found.groups) == pytest.approx(1)
    assert sum(group.backward_share for group in found.groups) == pytest.approx(1)
    assert found.backward_ms is not None


def test_film_over_a_large_map_moves_more_than_the_convolution() -> None:
    """FACTS.md 5, told by bytes, which do not depend on the machine."""
    found = measure_costs(Modulated(), (torch.randn(4, 3, 64, 64), torch.randn(4, 2)), repeats=1)
    layers = {row.name: row for row in found.layers}
    assert layers["film"].flops == 0
    assert layers["film"].moved_bytes > 2 * layers["stem"].moved_bytes
    moved = {group.kind: group.moved_bytes for group in found.groups}
    assert moved["broadcasting"] > 2 * moved["convolution"]
    # A quarter of the side, a sixteenth of the bytes: modulate small maps.
    small = rows(Modulated(), torch.randn(4, 3, 16, 16), torch.randn(4, 2))["film"]
    assert small.moved_bytes == pytest.approx(layers["film"].moved_bytes / 16, rel=0.02)


def test_normalization_moves_more_than_a_pointwise_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.GroupNorm(4, 16))
    found = rows(model, torch.randn(2, 3, 32, 32))
    assert found["1"].multiply_adds == 0
    assert found["1"].moved_bytes > found["0"].moved_bytes


def test_bf16_halves_what_a_convolution_keeps() -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), torch.randn(2, 3, 16, 16)
    single = measure_costs(model, (x,), repeats=1)
    half = measure_costs(model, (x,), precision="bf16", repeats=1)
    assert half.multiply_adds == single.multiply_adds
    relu = single.layers[1].activation_bytes
    assert relu == 2 * 8 * 256 * 4
    assert half.layers[1].activation_bytes == relu / 2
    assert "copies and layout" in {group.kind for group in half.groups}  # the casts


def test_utilization_is_of_the_peak() -> None:
    found = measure_costs(nn.Linear(64, 64), (torch.randn(8, 64),), peak=1e12, repeats=1)
    assert found.backward_ms is not None
    seconds = (found.forward_ms + found.backward_ms) / 1000
    assert found.utilization == pytest.approx(found.flops / seconds / 1e12)
    assert measure_costs(nn.Linear(4, 4), (torch.randn(8, 4),), repeats=1).utilization is None


def layer(name: str, *, flops: int, moved_bytes: int, milliseconds: float) -> Layer:
    template = measure_costs(nn.Linear(1, 1), (torch.ones(1, 1),), repeats=1).layers[0]
    return replace(
        template,
        name=name,
        flops=flops,
        moved_bytes=moved_bytes,
        forward_ms=milliseconds,
        backward_ms=None,
    )


def test_memory_bound_layers_are_those_under_the_machines_balance() -> None:
    layers = [
        layer("busy", flops=1_100, moved_bytes=100, milliseconds=40.0),
        layer("waits", flops=900, moved_bytes=100, milliseconds=55.0),
        layer("waits shortly", flops=0, moved_bytes=100, milliseconds=4.0),
        layer("moves nothing", flops=0, moved_bytes=0, milliseconds=1.0),
    ]
    (found,) = memory_bound(layers, peak=1000.0, bandwidth=100.0).places
    assert found.layer == "waits"
    assert found.text == ("55% of the time, at 9.0 FLOP per byte where this machine can do 10")
    assert memory_bound(layers, peak=1.0, bandwidth=100.0).verdict == "ok"


def test_frozen_networks_have_no_backward_pass() -> None:
    found = measure_costs(nn.Linear(3, 2).requires_grad_(False), (torch.randn(4, 3),), repeats=1)
    assert found.backward_ms is None
    assert found.layers[0].backward_ms is None
    assert found.groups[0].backward_share is None
    assert [one.verdict for one in found.findings] == ["ok"]


class Fails(nn.Module):
    def __init__(self, *, backward: bool) -> None:
        super().__init__()
        self.backward = backward

    def forward(self, x: Tensor) -> Tensor:
        if not self.backward:
            raise RuntimeError("the shapes do not fit")
        x.register_hook(self.refuse)
        return x * 2

    def refuse(self, gradient: Tensor) -> Tensor:
        raise RuntimeError("no gradient here")


@pytest.mark.parametrize("backward", [False, True])
def test_an_error_is_told_for_its_layer_and_nothing_is_changed(backward: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), Fails(backward=backward), nn.ReLU())
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    found = measure_costs(model, (torch.randn(2, 3),), repeats=1)
    (finding,) = found.findings
    assert finding.name == RUNS
    ((where, text),) = finding.places
    assert where == "2"
    assert found.backward_ms is None
    assert found.multiply_adds == 2 * 3 * 4
    assert ("no gradient here" if backward else "the shapes do not fit") in text
    assert len(found.layers) == 4 if backward else 2
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    for part in model.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
    assert [part.training for part in model] == [True, False, True, True]
    assert all(weight.grad is None for weight in model.parameters())
    assert not model[0].weight.requires_grad


def test_a_loss_is_run_in_place_of_the_network() -> None:
    class Learner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)

        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            error = self.net(batch["x"]).square().mean()
            return {"loss": error, "unused": error * 2}

    model = Learner()
    found = measure_costs(model, ({"x": torch.randn(4, 3)},), call=Learner.loss, repeats=1)
    assert [row.name for row in found.layers] == ["", "net"]
    assert found.multiply_adds == 24
    assert found.batch == 4
    assert found.backward_ms is not None
