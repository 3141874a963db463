import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eyehand.models.vision.mobilenet import MobileNet, mobilenet


@pytest.mark.parametrize(
    ("width", "size", "millions_of_parameters", "millions_of_multiply_adds"),
    [
        # Howard et al., 2017, Tables 6 and 7.
        (1.0, 224, 4.2, 569),
        (0.25, 224, 0.5, 41),
    ],
)
def test_size_and_cost_are_the_published_ones(
    width: float, size: int, millions_of_parameters: float, millions_of_multiply_adds: int
) -> None:
    with torch.device("meta"):
        network = MobileNet(width=width)
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, size, size))
    parameters = sum(value.numel() for value in network.parameters())
    assert parameters / 1e6 == pytest.approx(millions_of_parameters, abs=0.051)
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions_of_multiply_adds, abs=1)


def test_parameters_of_the_full_width() -> None:
    with torch.device("meta"):
        network = mobilenet()
    # Table 1 by hand: weights of 27 convolutions, two per channel of their norms, the classifier.
    blocks = [(32, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    blocks += [(512, 512)] * 5 + [(512, 1024), (1024, 1024)]
    want = 27 * 32 + 2 * 32 + 1000 * 1024 + 1000
    want += sum(9 * dim + 2 * dim + dim * out_dim + 2 * out_dim for dim, out_dim in blocks)
    assert sum(value.numel() for value in network.parameters()) == want == 4_231_976


def test_maps_have_the_sizes_of_the_table() -> None:
    with torch.device("meta"):
        maps = mobilenet(classes=None).maps(torch.zeros(1, 3, 224, 224))
    assert [tuple(part.shape[1:]) for part in maps] == [
        (64, 112, 112),
        (128, 56, 56),
        (256, 28, 28),
        (512, 14, 14),
        (1024, 7, 7),
    ]


def test_both_convolutions_of_a_block_are_followed_by_norm_and_relu() -> None:
    block = MobileNet(width=0.125, classes=None).stages[3][0]
    assert [type(layer).__name__ for layer in block] == ["Conv2d", "BatchNorm2d", "ReLU"] * 2
    depthwise, pointwise = block[0], block[3]
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels == 32
    assert depthwise.stride == (2, 2)
    assert pointwise.groups == 1
    assert pointwise.kernel_size == (1, 1)


def test_without_width_nothing_is_left() -> None:
    with pytest.raises(ValueError, match=r"`width` of MobileNet must be positive; got 0\.0"):
        MobileNet(width=0.0)


def test_without_classes_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="This MobileNet was built with classes=None"):
        MobileNet(width=0.125, classes=None)(torch.zeros(2, 3, 32, 32))
