import torch
from torch import nn

from eyehand.nn.perceptron import HIGHEST, GaussianPerceptron, Perceptron


def test_equal_to_linear_layers_and_relu_by_hand() -> None:
    torch.manual_seed(0)
    net, x = Perceptron(3, (5, 2)), torch.randn(4, 3)
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    by_hand = ((x @ linear[0].weight.T + linear[0].bias).clamp(min=0) @ linear[1].weight.T
               + linear[1].bias).clamp(min=0)  # fmt: skip
    torch.testing.assert_close(net(x), by_hand)


def test_mean_and_deviation_come_in_this_order_and_the_deviation_is_limited() -> None:
    net = GaussianPerceptron(1, 1, (1,))
    with torch.no_grad():
        net.to_both.weight.zero_()
        net.to_both.bias.copy_(torch.tensor([0.5, 99.0]))
    mean, log_std = net(torch.zeros(1, 1))
    assert (mean.item(), log_std.item()) == (0.5, HIGHEST)


def test_dropout_only_in_training() -> None:
    net, x = Perceptron(3, (64,), dropout=0.5), torch.ones(1, 3)
    assert torch.equal(net.eval()(x), net(x))
    assert (net.train()(x) == 0).sum() > (net.eval()(x) == 0).sum()
