import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from eyehand.nn.residual import ProjectionShortcut, ZeroPaddingShortcut


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(4, 4), (7, 5), (1, 1)])
@pytest.mark.parametrize("kind", [ZeroPaddingShortcut, ProjectionShortcut])
def test_its_output_can_be_added_to_the_branchs(
    kind: type[nn.Module], size: tuple[int, int], stride: int
) -> None:
    x = torch.randn(2, 3, *size)
    branch = nn.Conv2d(3, 6, kernel_size=3, stride=stride, padding=1)
    assert kind(3, 6, stride=stride)(x).shape == branch(x).shape


def test_zero_padding_is_a_projection_that_nobody_learned() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 6).double()
    projection = nn.Conv2d(3, 5, kernel_size=1, stride=2, bias=False).double()
    projection.weight.data = torch.eye(5, 3)[..., None, None].double()
    layer = ZeroPaddingShortcut(3, 5, stride=2)
    torch.testing.assert_close(layer(x), projection(x), rtol=0, atol=1e-12)
    assert list(layer.parameters()) == []
    assert gradcheck(layer, x[:1].requires_grad_())


def test_projection_has_torchvisions_names() -> None:
    block = nn.Module()
    block.downsample = ProjectionShortcut(4, 8, stride=2)
    assert list(block.state_dict()) == [
        "downsample.0.weight",
        "downsample.1.weight",
        "downsample.1.bias",
        "downsample.1.running_mean",
        "downsample.1.running_var",
        "downsample.1.num_batches_tracked",
    ]


def test_projection_reads_one_cell_of_four() -> None:
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    ProjectionShortcut(2, 3, stride=2).eval()(x).sum().backward()
    assert x.grad is not None
    read = (x.grad != 0)[0, 0]
    assert read[::2, ::2].all()
    assert read.sum() == 4


def test_fewer_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="dim=8, out_dim=4"):
        ZeroPaddingShortcut(8, 4, stride=2)


@pytest.mark.parametrize("kind", [ZeroPaddingShortcut, ProjectionShortcut])
def test_keeps_channels_last(kind: type[nn.Module]) -> None:
    x = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)
    assert kind(3, 8, stride=2)(x).is_contiguous(memory_format=torch.channels_last)
