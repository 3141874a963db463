"""Where a policy looks: the parts of a picture that its actions, or a word, depend on.

Two ways: the gradient with respect to the picture (Simonyan et al., 2014, sec. 3,
https://arxiv.org/abs/1312.6034), for networks without attention; and the attention of a word,
through the resampler's latents to the picture's tokens (the product of the two, as attention
rollout has it: Abnar and Zuidema, 2020, https://arxiv.org/abs/2005.00928).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.nn.attention import Attention

ImportanceMap = Float[Tensor, "batch row column"]
"""How much each part of the picture counts, at least 0; every picture's largest is 1."""


def without_word(sentence: str, word: int) -> str:
    """Return a sentence without one of its words.

    Example:
        >>> without_word("open the red drawer", 2)
        'open the drawer'
    """
    words = sentence.split()
    return " ".join(words[:word] + words[word + 1 :])


@torch.enable_grad()
def saliency(
    encoder: nn.Module,
    output: Callable[[Sequence[str]], Float[Tensor, "batch number"]],
    sentences: Sequence[str],
    *,
    word: int | None,
) -> ImportanceMap:
    """Return the gradient of a policy's output with respect to the picture.

    Args:
        encoder: What sees the picture, (batch, channel, height, width), first.
        output: Runs the policy on the sentences, through ``encoder``.
        sentences: What is told.
        word: The word of every sentence whose effect on the output is asked for; None asks for the
            output itself.
    """
    pictures: list[Tensor] = []

    def watch(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pictures.append(inputs[0].detach().requires_grad_())
        return (pictures[-1], *inputs[1:])

    hook = encoder.register_forward_pre_hook(watch)
    try:
        effect = output(sentences)
        if word is not None:
            with torch.no_grad():
                plain = output([without_word(sentence, word) for sentence in sentences])
            effect = effect - plain
        (gradient,) = torch.autograd.grad(effect.square().sum(), pictures[:1])
    finally:
        hook.remove()
    # A single pixel's gradient is noise; a patch's is not.
    return _scaled(F.avg_pool2d(gradient.abs().sum(dim=1, keepdim=True), 5, 1, 2)[:, 0])


@contextmanager
def watched(layers: Sequence[Attention]) -> Iterator[list[Tensor]]:
    """Collect the weights of attention layers while they run, (batch, head, query, key) each."""
    weights: list[Tensor] = []
    before = [layer.watch for layer in layers]

    def collect(weight: Tensor, earlier: Callable[[Tensor], None] | None) -> None:
        weights.append(weight)
        if earlier is not None:
            earlier(weight)

    for layer, earlier in zip(layers, before, strict=True):
        layer.watch = partial(collect, earlier=earlier)
    try:
        yield weights
    finally:
        for layer, earlier in zip(layers, before, strict=True):
            layer.watch = earlier


def attention_to_picture(
    words: Sequence[Float[Tensor, "batch head text latent"]],
    latents: Float[Tensor, "batch head latent key"],
    *,
    tokens: slice,
    grid: int,
) -> ImportanceMap:
    """Return how much words attend to each part of the picture, mean over layers and heads.

    Args:
        words: Weights of the gated layers, from text tokens to latents.
        latents: Weights of the resampler's last layer, from latents to the picture's tokens and,
            after those, to the latents.
        tokens: The text tokens that are asked for.
        grid: Rows, and columns, of the picture's tokens.
    """
    to_latent = torch.stack([weight[:, :, tokens].mean(dim=(1, 2)) for weight in words]).mean(dim=0)
    to_token = latents.mean(dim=1)[..., : grid * grid]
    return _scaled((to_latent[:, None] @ to_token).reshape(-1, grid, grid))


def _scaled(look: Float[Tensor, "batch row column"]) -> ImportanceMap:
    return look / look.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
