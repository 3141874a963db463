import pytest
import torch
from torch import nn

from eyehand.models.vision.vit import EncoderLayer, ViT, vit_b_16, vit_tiny


def _small(**settings: int | None) -> ViT:
    """A network whose every parameter has something to say."""
    torch.manual_seed(0)
    network = ViT(12, depth=2, heads=3, patch_size=4, image_size=16, **settings).double().eval()
    for value in network.parameters():
        nn.init.normal_(value, std=0.5)
    return network


def test_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        base, tiny = vit_b_16(), vit_tiny()
    # torchvision's documentation; Touvron et al., 2021, Table 1 says 5 million.
    assert sum(value.numel() for value in base.parameters()) == 86_567_656
    assert sum(value.numel() for value in tiny.parameters()) == 5_717_416


def test_parameters_have_torchvisions_names() -> None:
    names = set(_small(classes=5).state_dict())
    layer = {
        f"encoder.layers.encoder_layer_1.{name}.{kind}"
        for name in ("ln_1", "self_attention.out_proj", "ln_2", "mlp.0", "mlp.3")
        for kind in ("weight", "bias")
    }
    layer |= {
        f"encoder.layers.encoder_layer_1.self_attention.in_proj_{kind}"
        for kind in ("weight", "bias")
    }
    assert {name for name in names if "encoder_layer_1" in name} == layer
    assert {name for name in names if "encoder_layer" not in name} == {
        "class_token",
        "conv_proj.weight",
        "conv_proj.bias",
        "encoder.pos_embedding",
        "encoder.ln.weight",
        "encoder.ln.bias",
        "heads.head.weight",
        "heads.head.bias",
    }


def _torch_layer(ours: EncoderLayer) -> nn.TransformerEncoderLayer:
    theirs = nn.TransformerEncoderLayer(
        12,
        3,
        dim_feedforward=48,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
        dtype=torch.float64,
    )
    names = {
        "ln_1": "norm1",
        "self_attention": "self_attn",
        "ln_2": "norm2",
        "mlp.0": "linear1",
        "mlp.3": "linear2",
    }
    state = ours.state_dict()
    for mine, yours in names.items():
        state = {
            yours + name[len(mine) :] if name.startswith(mine + ".") else name: value
            for name, value in state.items()
        }
    theirs.load_state_dict(state)
    return theirs.eval()


def test_matches_torchs_layers_patch_by_patch() -> None:
    network = _small(classes=5)
    image = torch.randn(2, 3, 16, 16).double()
    tokens = [network.class_token.expand(2, 1, 12)]
    for top in range(0, 16, 4):
        for left in range(0, 16, 4):
            patch = image[:, :, top : top + 4, left : left + 4].flatten(1)
            token = patch @ network.conv_proj.weight.flatten(1).T + network.conv_proj.bias
            tokens.append(token[:, None])
    x = torch.cat(tokens, dim=1) + network.encoder.pos_embedding
    for layer in network.encoder.layers:
        x = _torch_layer(layer)(x)
    x = network.encoder.ln(x)
    torch.testing.assert_close(network(image), network.heads(x[:, 0]), rtol=0, atol=1e-12)
    (grid,) = network.maps(image)
    torch.testing.assert_close(grid[:, :, 1, 2], x[:, 1 + 4 + 2], rtol=0, atol=1e-12)


def test_without_positions_the_order_of_patches_does_not_matter() -> None:
    network = _small(classes=5)
    image = torch.randn(1, 3, 16, 16).double()
    swapped = torch.cat([image[..., 8:], image[..., :8]], dim=-1)
    assert not torch.allclose(network(image), network(swapped))
    nn.init.zeros_(network.encoder.pos_embedding)
    torch.testing.assert_close(network(image), network(swapped), rtol=0, atol=1e-12)


def test_dropout_is_at_work_in_training_only() -> None:
    torch.manual_seed(0)
    network = ViT(12, depth=1, heads=3, patch_size=4, image_size=16, classes=None, dropout=0.5)
    image = torch.randn(1, 3, 16, 16)
    assert not torch.equal(network.maps(image)[0], network.maps(image)[0])
    network.eval()
    assert torch.equal(network.maps(image)[0], network.maps(image)[0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"heads": 5}, "`dim` must be a multiple of `heads`; got dim=12, heads=5"),
        ({"image_size": 18}, "multiple of `patch_size`; got image_size=18, patch_size=4"),
    ],
)
def test_what_cannot_be_built_is_refused(settings: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ViT(12, **{"depth": 1, "heads": 3, "patch_size": 4, "image_size": 16} | settings)


def test_another_size_of_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"built for pictures of 16x16 pixels; got 16x20\."):
        _small(classes=5)(torch.zeros(1, 3, 16, 20).double())


def test_without_classes_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="This ViT was built with classes=None"):
        _small(classes=None)(torch.zeros(1, 3, 16, 16).double())
