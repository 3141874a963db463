"""Each fault is planted, found where it is, and not found without it."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.inspection.activations import Activations, measure_activations


def told(found: Activations) -> list[str]:
    return [place.text for one in found.findings for place in one.places]


def rules(found: Activations) -> list[tuple[str, str]]:
    return [(one.name, place.layer) for one in found.findings for place in one.places]


class Functional(nn.Module):
    """Rectifies in its own forward, with a module, and in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.b(F.relu(self.a(x))))


def test_dead_units_of_functional_relu_are_found_in_the_parent() -> None:
    torch.manual_seed(0)
    model, x = Functional(), torch.randn(4, 3, 10, 10)
    assert rules(measure_activations(model, (x,))) == []
    with torch.no_grad():
        model.a.bias[:3] = -100
    found = measure_activations(model, (x,))
    dead = {(row.layer, row.operator): row.dead for row in found.rows if row.dead is not None}
    assert dead == {("", "relu"): 3 / 8, ("relu", "relu"): 0.0}
    assert rules(found) == [("Dead units", "")]
    assert "3 of 8 channels" in told(found)[0]


def test_a_unit_that_fires_once_is_alive() -> None:
    x = -torch.ones(2, 4, 3, 3)
    x[1, 2, 0, 1] = 0.1
    (row,) = measure_activations(nn.ReLU(), (x,)).rows
    assert row.dead == 0.75
    (row,) = measure_activations(nn.ReLU(), (x.movedim(1, -1).flatten(1, 2),)).rows
    assert row.dead == 0.75  # of tokens the channels are last
    (row,) = measure_activations(nn.ReLU6(), (x,)).rows
    assert row.dead == 0.75
    assert measure_activations(nn.LeakyReLU(), (x,)).rows == ()
    assert measure_activations(nn.Hardtanh(), (x,)).rows == ()


@pytest.mark.parametrize(("layer", "limit"), [(nn.Sigmoid(), 5.2933), (nn.Tanh(), 2.6467)])
def test_saturation_is_the_share_beyond_the_limit(layer: nn.Module, limit: float) -> None:
    """Where 2 sigmoid(x) - 1 = tanh(x / 2) and tanh(x) reach 0.99."""
    x = torch.tensor([[limit + 1e-3, -limit - 1e-3, limit - 1e-3, 0.0]])
    found = measure_activations(layer, (x,))
    assert found.rows[0].saturated == 0.5
    assert rules(found) == [("Saturated units", "")]
    assert rules(measure_activations(layer, (x[:, 2:],))) == []


def deep(gain: float, *, depth: int = 12) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(8, 8), nn.Identity()]
        nn.init.orthogonal_(layers[-2].weight, gain)
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("gain", "want"),
    [
        (0.5, [("Gradient through depth", "0")]),
        (1.0, []),
        (2.0, [("Gradient through depth", "0")]),
    ],
)
def test_gradients_through_depth(gain: float, want: list[tuple[str, str]]) -> None:
    """Orthogonal layers scale the gradient by the gain, so that the ratio is known."""
    torch.manual_seed(0)
    found = measure_activations(deep(gain), (torch.randn(4, 8),))
    assert rules(found) == want
    norms = list(found.gradients.values())
    assert norms[0] / norms[-1] == pytest.approx(gain**11, rel=1e-4)


def test_gradient_norms_equal_autograds() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 5), nn.Linear(5, 2)
    model = nn.Sequential(first, nn.ReLU(inplace=True), second)  # in place: on what it returned
    x = torch.randn(4, 3)
    found = measure_activations(model, (x,), call=lambda copy, x: {"loss": copy(x).exp().mean()})
    hidden = first(x)
    y = second(hidden.relu())
    want = torch.autograd.grad(y.exp().mean(), [hidden, y])
    norms = list(found.gradients.values())
    assert norms == pytest.approx([float(gradient.norm()) for gradient in want])


def test_a_gradient_that_is_lost_is_told() -> None:
    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 0

    found = measure_activations(nn.Sequential(nn.Linear(3, 3), Cut()), (torch.randn(2, 3),))
    assert rules(found) == [("Gradient at every layer", "0")]
    frozen = nn.Linear(3, 3).requires_grad_(False)
    assert measure_activations(frozen, (torch.randn(2, 3),)).gradients == {}


def test_the_default_loss_is_the_entry_or_moves_every_number() -> None:
    class Learner(nn.Module):
        def __init__(self, *, named: bool) -> None:
            super().__init__()
            self.net = nn.Linear(1, 1, bias=False)
            self.named = named

        def forward(self, x: Tensor) -> object:
            y = self.net(x)
            return {"loss": 3 * y.sum(), "y": y} if self.named else (y, {"twice": y})

    x = torch.tensor([[2.0]])
    model = Learner(named=True)
    assert measure_activations(model, (x,)).gradients["net"] == pytest.approx(3)
    model.named = False
    y = model.net(x).item()
    assert measure_activations(model, (x,)).gradients["net"] == pytest.approx(abs(4 * y + 2))


def test_a_loss_of_none_is_no_loss() -> None:
    class Hugging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> object:
            return {"loss": None, "logits": self.net(x)}

    found = measure_activations(Hugging(), (torch.randn(2, 3),))
    assert rules(found) == []
    assert found.gradients["net"] > 0


def test_layers_before_one_that_starts_from_zeros_are_told_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    found = measure_activations(model, (torch.randn(2, 3),))
    assert rules(found) == [("Gradient at every layer", "1")]
    assert told(found) == ["the gradient at its output has norm 0, as at the 1 layers before it"]


def test_a_backward_pass_that_stops_tells_no_gradients() -> None:
    class Stops(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, *gradients: Tensor) -> Tensor:
            raise RuntimeError("no way back")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return Stops.apply(self.net(x))

    found = measure_activations(Network(), (torch.randn(2, 3),))
    assert ["no way back" in text for text in told(found)] == [True]
    assert found.gradients == {}


def test_what_fails_is_told_and_nothing_is_changed() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("7 is not 8")

    model = nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(), Fails())
    before = copy.deepcopy(model.state_dict())
    found = measure_activations(model, (torch.randn(4, 3),))
    assert rules(found) == [("Forward and backward pass", "2")]
    assert "7 is not 8" in told(found)[0]
    assert [row.layer for row in found.rows] == ["1"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(weight.grad is None for weight in model.parameters())
