"""Class activation maps equal the formula, the gradients, and the logit."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.inspection.class_activation import class_activation_map


class Classifier(nn.Module):
    """Averages in its own forward, after an in-place activation and before dropout."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, 4, bias=bias)

    def maps(self, image: Tensor) -> Tensor:
        return self.body(image)

    def forward(self, image: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.maps(image), 1).flatten(1)
        return self.head(F.dropout(pooled, training=self.training))


@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_formula_and_the_logit(bias: bool) -> None:
    torch.manual_seed(0)
    model = Classifier(bias=bias).double()
    image = torch.randn(1, 3, 9, 7).double()
    maps, logits = model.maps(image)[0].detach(), model.eval()(image)[0]
    model.train()
    for index in range(4):
        found = class_activation_map(model, image, class_index=index)
        want = np.zeros((7, 5))
        for channel in range(6):
            want += model.head.weight[index, channel].item() * maps[channel].numpy()
        np.testing.assert_allclose(found.values, want, rtol=0, atol=1e-12)
        offset = model.head.bias[index].item() if bias else 0.0
        assert found.values.mean() + offset == pytest.approx(logits[index].item(), abs=1e-12)
    assert class_activation_map(model, image).class_index == int(logits.argmax())
    assert model.training


def test_equals_the_gradients_of_the_logit() -> None:
    """Weights are the gradient of the logit by the map, times its cells (Grad-CAM)."""
    torch.manual_seed(0)
    model = Classifier().double().eval()
    image = torch.randn(1, 3, 9, 7).double()
    maps = model.maps(image).detach().requires_grad_(True)
    logit = model.head(maps.mean(dim=(2, 3)))[0, 2]
    (gradient,) = torch.autograd.grad(logit, maps)
    want = (gradient.sum(dim=(2, 3), keepdim=True) * maps).sum(dim=1)[0].detach()
    found = class_activation_map(model, image, class_index=2).values
    np.testing.assert_allclose(found, want.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "ending",
    [
        [nn.Flatten(), nn.Linear(6 * 16, 4)],
        [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 4)],
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4), nn.Tanh()],
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5), nn.Linear(5, 4)],
        [nn.AdaptiveAvgPool2d(1)],
    ],
)
def test_other_endings_are_refused(ending: list[nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), *ending)
    with pytest.raises(ValueError, match="ends in an average over space and one linear layer"):
        class_activation_map(model, torch.randn(1, 3, 6, 6))


def test_a_class_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 to 3\. Got 4"):
        class_activation_map(Classifier(), torch.randn(1, 3, 6, 6), class_index=4)
