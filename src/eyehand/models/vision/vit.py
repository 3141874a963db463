"""Vision Transformer: a picture cut into patches, read like the words of a sentence."""

from collections import OrderedDict

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.models.vision.network import FeatureMaps, Images, Logits, VisionNetwork


class SelfAttention(nn.Module):
    """Attention of all tokens to all, one matrix for queries, keys and values (appendix A).

    Args:
        dim: Width of the stream, a multiple of ``heads``.
        heads: Number of attention heads.

    Example:
        >>> SelfAttention(8, heads=2)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Let every token gather what it needs from the others."""
        x = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = rearrange(x, "b n (three h d) -> three b h n d", three=3, h=self.heads)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(rearrange(x, "b h n d -> b n (h d)"))


class EncoderLayer(nn.Module):
    """Attention, then a perceptron, each added to what came in and normed before (eq. 2 and 3).

    Args:
        dim: Width of the stream, a multiple of ``heads``.
        heads: Number of attention heads.
        dropout: Share of activations set to zero in training after each dense layer, in [0, 1].

    Example:
        >>> EncoderLayer(8, heads=2, dropout=0.1)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim, eps=1e-6)
        self.self_attention = SelfAttention(dim, heads=heads)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * dim, dim),
            nn.Dropout(dropout),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Refine the tokens once."""
        x = x + self.dropout(self.self_attention(self.ln_1(x)))
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Learned positions, a stack of layers, and a last norm (Dosovitskiy et al., 2021, eq. 4).

    Args:
        tokens: Length of the sentence, the class token included.
        dim: Width of the stream, a multiple of ``heads``.
        depth: Number of layers.
        heads: Attention heads.
        dropout: Share of activations set to zero in training, in [0, 1].

    Example:
        >>> Encoder(5, 8, depth=2, heads=2, dropout=0.0)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, tokens: int, dim: int, *, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(0.02 * torch.randn(1, tokens, dim))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            OrderedDict(
                (f"encoder_layer_{index}", EncoderLayer(dim, heads=heads, dropout=dropout))
                for index in range(depth)
            )
        )
        self.ln = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Tell every token its place, then let them look at each other."""
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class ViT(VisionNetwork):
    """A transformer over patches, with one more token that answers (Dosovitskiy et al., 2021).

    Nothing in it says that neighbours belong together: the table of positions is learnt, and has
    one row per patch, so the network reads pictures of one size. Parameters have torchvision's
    names, so that its weights load key by key.

    Differs from the paper: the classifier is one layer that starts at zero, as in its fine-tuning
    and in torchvision; for pre-training the paper has a hidden layer before it.

    Args:
        dim: Width of a token, a multiple of ``heads``.
        depth: Number of layers.
        heads: Attention heads.
        patch_size: Height and width of a patch, in pixels.
        image_size: Height and width of the pictures, a multiple of ``patch_size``.
        classes: Width of the answer; ``None`` leaves the classifier out.
        channels: Channels of the picture.
        dropout: Share of activations set to zero in training, in [0, 1].

    Raises:
        ValueError: If ``dim`` is not a multiple of ``heads`` or ``image_size`` of ``patch_size``.

    References:
        Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929.

    Example:
        >>> network = ViT(16, depth=2, heads=2, patch_size=8, image_size=32, classes=10)
        >>> network(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> network.maps(torch.zeros(2, 3, 32, 32))[0].shape
        torch.Size([2, 16, 4, 4])
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int,
        heads: int,
        patch_size: int = 16,
        image_size: int = 224,
        classes: int | None = 1000,
        channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % heads != 0:
            raise ValueError(f"`dim` must be a multiple of `heads`; got dim={dim}, heads={heads}.")
        if image_size % patch_size != 0:
            raise ValueError(
                f"`image_size` must be a multiple of `patch_size`; got image_size={image_size}, "
                f"patch_size={patch_size}."
            )
        self.image_size = image_size
        self.dims = (dim,)
        self.strides = (patch_size,)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.conv_proj = nn.Conv2d(channels, dim, patch_size, stride=patch_size)
        tokens = 1 + (image_size // patch_size) ** 2
        self.encoder = Encoder(tokens, dim, depth=depth, heads=heads, dropout=dropout)
        self.heads = None
        if classes is not None:
            head = nn.Linear(dim, classes)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
            self.heads = nn.Sequential(OrderedDict(head=head))
        nn.init.trunc_normal_(self.conv_proj.weight, std=(channels * patch_size**2) ** -0.5)
        nn.init.zeros_(self.conv_proj.bias)  # type: ignore[arg-type]  # it was not left out

    def forward(self, image: Images) -> Logits:
        """Return logits, read from the class token."""
        return self.needed(self.heads)(self._tokens(image)[:, 0])

    def maps(self, image: Images) -> FeatureMaps:
        """Return one map: the patches' tokens after the last norm, on their grid."""
        patches = self._tokens(image)[:, 1:]
        return [rearrange(patches, "b (h w) d -> b d h w", h=self.image_size // self.strides[0])]

    def _tokens(self, image: Tensor) -> Tensor:
        self.check_size(image)
        patches = rearrange(self.conv_proj(image), "b d h w -> b (h w) d")
        return self.encoder(
            torch.cat([self.class_token.expand(len(image), -1, -1), patches], dim=1)
        )


def vit_b_16(*, classes: int | None = 1000, channels: int = 3, image_size: int = 224) -> ViT:
    """Return ViT-Base on patches of 16 pixels: 86.6 million parameters at 224 pixels."""
    return ViT(768, depth=12, heads=12, image_size=image_size, classes=classes, channels=channels)


def vit_tiny(*, classes: int | None = 1000, channels: int = 3, image_size: int = 224) -> ViT:
    """Return DeiT-Ti without distillation: 5.7 million parameters (published: 5 million).

    Source: Touvron et al., 2021, Table 1, https://arxiv.org/abs/2012.12877.
    """
    return ViT(192, depth=12, heads=3, image_size=image_size, classes=classes, channels=channels)
