from typing import get_args

import jaxtyping
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from eyehand.nn.activation import Gate, GatedLinearUnit, Maxout, Step, Swish


def test_the_step_fires_at_the_threshold_and_passes_no_gradient() -> None:
    x = torch.tensor([-torch.inf, -1e-30, -0.0, 0.0, 1e-30, torch.inf], requires_grad=True)
    fired = Step()(x)
    assert torch.equal(fired, torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 1.0]))
    fired.sum().backward()
    assert torch.equal(x.grad, torch.zeros(6))
    half = Step()(torch.tensor([-2.0, 0.0, 2.0]).bfloat16())
    assert torch.equal(half, torch.tensor([0.0, 1.0, 1.0]).bfloat16())


@pytest.mark.parametrize(
    ("name", "target", "separable"),
    [("and", [0, 0, 0, 1], True), ("or", [0, 1, 1, 1], True), ("xor", [0, 1, 1, 0], False)],
)
def test_the_perceptron_rule_learns_what_one_line_can_part(
    name: str, target: list[int], separable: bool
) -> None:
    x = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    weight = torch.zeros(3)
    for _ in range(20):
        for row, want in zip(x, target, strict=True):
            weight += (want - Step()(row @ weight)) * row
    assert torch.equal(Step()(x @ weight), torch.tensor(target).float()) == separable


def test_maxout_is_the_largest_of_its_linear_maps() -> None:
    torch.manual_seed(0)
    layer = Maxout(3, 5, pieces=4).double()
    x = torch.randn(2, 7, 3).double()
    got = layer(x)
    weight, bias = layer.to_pieces.weight.view(5, 4, 3), layer.to_pieces.bias.view(5, 4)
    for out in range(5):
        each = [x @ weight[out, piece] + bias[out, piece] for piece in range(4)]
        want = torch.stack(each).max(dim=0).values
        torch.testing.assert_close(got[..., out], want, rtol=0, atol=1e-12)


def test_maxout_can_be_relu_and_the_absolute_value() -> None:
    layer = Maxout(1, 2, pieces=2)
    layer.to_pieces.bias.data.zero_()
    layer.to_pieces.weight.data = torch.tensor([[1.0], [0.0], [1.0], [-1.0]])
    x = torch.linspace(-2, 2, 9)[:, None]
    assert torch.equal(layer(x), torch.cat([x.relu(), x.abs()], dim=1))


def test_swish_lies_between_half_the_identity_and_relu() -> None:
    x = torch.randn(100).double()
    layer = Swish().double()
    torch.testing.assert_close(layer(x), F.silu(x), rtol=0, atol=1e-12)
    layer.beta.data.fill_(0)
    torch.testing.assert_close(layer(x), x / 2, rtol=0, atol=1e-12)
    layer.beta.data.fill_(1e4)
    torch.testing.assert_close(layer(x), x.relu(), rtol=0, atol=1e-4)


def test_the_slope_of_swish_is_learned() -> None:
    x = torch.tensor([-2.0, 0.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    layer = Swish().double()

    def swish(x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"beta": beta}, x)

    assert gradcheck(swish, (x, torch.tensor(0.7, dtype=torch.float64, requires_grad=True)))


FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "relu": lambda x: x.clamp(min=0),
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "silu": lambda x: x / (1 + (-x).exp()),
}


@pytest.mark.parametrize("activation", get_args(Gate))
def test_the_gated_layer_by_its_formula(activation: Gate) -> None:
    torch.manual_seed(0)
    layer = GatedLinearUnit(4, hidden_dim=6, activation=activation).double()
    x = torch.randn(2, 3, 4).double()
    W, V = layer.to_gate_value.weight[:6].T, layer.to_gate_value.weight[6:].T
    want = (FORMULAS[activation](x @ W) * (x @ V)) @ layer.to_output.weight.T
    torch.testing.assert_close(layer(x), want, rtol=0, atol=1e-12)


def test_the_sigmoid_gate_is_torchs_with_the_halves_exchanged() -> None:
    layer = GatedLinearUnit(4, hidden_dim=6, activation="sigmoid").double()
    x = torch.randn(5, 4).double()
    gate, value = layer.to_gate_value(x).chunk(2, dim=-1)
    want = layer.to_output(F.glu(torch.cat([value, gate], dim=-1)))
    torch.testing.assert_close(layer(x), want, rtol=0, atol=1e-12)


def test_two_thirds_of_the_width_cost_as_much_as_a_plain_feed_forward_layer() -> None:
    layer = GatedLinearUnit(12, hidden_dim=32, activation="silu")
    assert sum(p.numel() for p in layer.parameters()) == 2 * 12 * 48


def test_an_unknown_gate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a user meets it: without the type checker of the tests, which would speak first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"'sigmoid', 'relu', 'gelu', 'silu'\); got 'swish'"):
        GatedLinearUnit(4, hidden_dim=6, activation="swish")  # type: ignore[arg-type]
