"""A network that breaks a promise is noticed."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.models.vision.check import check_dense_network, check_network


class Small(nn.Module):
    """A network that keeps every promise."""

    dims: tuple[int, ...] = (4, 6)
    strides: tuple[int, ...] = (2, 4)

    def __init__(self, *, classes: int | None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 2, stride=2)
        self.second = nn.Conv2d(4, 6, 2, stride=2)
        self.classifier = None if classes is None else nn.Linear(6, classes)

    def maps(self, image: Tensor) -> list[Tensor]:
        first = self.first(image).relu()
        return [first, self.second(first).relu()]

    def forward(self, image: Tensor) -> Tensor:
        if self.classifier is None:
            raise ValueError("no classes")
        return self.classifier(self.maps(image)[-1].mean(dim=(2, 3)))


class DeadParameter(Small):
    def __init__(self, *, classes: int | None) -> None:
        super().__init__(classes=classes)
        self.dead = nn.Parameter(torch.ones(1))


class GradientOfZero(DeadParameter):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + 0 * self.dead


class Unseeded(Small):
    def __init__(self, *, classes: int | None) -> None:
        super().__init__(classes=classes)
        nn.init.normal_(self.first.weight, generator=torch.Generator().manual_seed(torch.seed()))


class Noisy(Small):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(F.dropout(image, training=True))


class ChangesInput(Small):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.mul_(2))


class MixesRows(Small):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image - image.mean(dim=0, keepdim=True))


class SingleLogit(Small):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).mean(dim=1, keepdim=True)


class HiddenState(Small):
    def __init__(self, *, classes: int | None) -> None:
        super().__init__(classes=classes)
        self.scale = 1 + torch.rand(1, generator=torch.Generator().manual_seed(torch.seed()))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image * self.scale)


class IgnoresWhatWasSaved(Small):
    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        return None


class WrongStrides(Small):
    strides = (2, 8)


class WrongDims(Small):
    dims = (4, 8)


class TooFewMaps(Small):
    strides = (4,)


class MapsAreShuffled(Small):
    strides = (4, 2)


class RefusesSizes(Small):
    def forward(self, image: Tensor) -> Tensor:
        if image.shape[-1] != 8:
            raise ValueError("8 pixels only")
        return super().forward(image)


class AlwaysClassifies(Small):
    def forward(self, image: Tensor) -> Tensor:
        return image.new_zeros(1) if self.classifier is None else super().forward(image)


class AlwaysSingle(Small):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).float()


def _image() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_network_that_keeps_them_passes_and_the_seeds_of_others_stay() -> None:
    torch.manual_seed(1)
    want = torch.rand(1)
    torch.manual_seed(1)
    check_network(Small, image=_image())
    assert torch.equal(torch.rand(1), want)
    check_network(RefusesSizes, image=_image(), fixed_size=True)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (DeadParameter, "no gradient reaches dead"),
        (GradientOfZero, "the gradient of dead is zero"),
        (Unseeded, "the same seed gives another first.weight"),
        (Noisy, "the same picture gives another output"),
        (ChangesInput, "changes its input"),
        (MixesRows, "depends on the others in the batch"),
        (SingleLogit, r"the output has shape \(3, 1\), not \(3, 10\)"),
        (HiddenState, "saved and loaded gives another output"),
        (IgnoresWhatWasSaved, "saved and loaded gives another output"),
        (WrongStrides, r"has 2 cells for 8 pixels"),
        (WrongDims, r"the map of stride 4 has shape \(3, 6\), not \(3, 8\)"),
        (TooFewMaps, "2 maps, but 2 dims and 1 strides"),
        (MapsAreShuffled, r"\(4, 2\) do not go from fine to coarse"),
        (RefusesSizes, r"pictures of \(16, 12\) are refused"),
        (AlwaysClassifies, "without a classifier gives logits"),
        (AlwaysSingle, "float64 comes out as torch.float32"),
    ],
)
def test_a_broken_promise_is_noticed(kind: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_network(kind, image=_image())


def test_a_stride_that_only_another_size_shows_is_noticed() -> None:
    class Slow(Small):
        strides = (1, 4)

    with pytest.raises(AssertionError, match=r"stride 1 grows from \(4, 4\) to \(8, 6\) cells"):
        check_network(Slow, image=_image())


def test_a_size_that_should_be_refused_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"pictures of \(16, 12\) are read"):
        check_network(Small, image=_image(), fixed_size=True)


class Halves(nn.Conv2d):
    def __init__(self, *, classes: int) -> None:
        super().__init__(3, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image)[:, :, ::2]


def test_a_dense_network_answers_for_every_pixel() -> None:
    check_dense_network(lambda classes: nn.Conv2d(3, classes, 1), image=_image(), step=1)
    with pytest.raises(AssertionError, match=r"shape \(3, 10, 4, 8\), not \(3, 10, 8, 8\)"):
        check_dense_network(Halves, image=_image(), step=1)
