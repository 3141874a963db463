"""Where policies look: in the picture alone, scaled, and for a word that the sentence has."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from eyehand.policies.look import attention_to_picture, saliency, without_word

Make = Callable[..., Any]


def test_saliency_is_the_gradient_of_the_picture() -> None:
    """An output that reads the left upper pixel alone depends on its neighbourhood alone."""
    picture = torch.rand(2, 3, 12, 12)
    encoder = nn.Identity()
    look = saliency(encoder, lambda _: encoder(picture)[:, :, 0, 0] * 3, ["a b", "c"], word=None)
    assert look.shape == (2, 12, 12)
    assert torch.equal(look[:, 3:], torch.zeros(2, 9, 12))
    assert torch.allclose(look.amax(dim=(1, 2)), torch.ones(2))
    assert not list(encoder._forward_pre_hooks)


def test_a_words_saliency_is_that_of_what_it_changes() -> None:
    picture = torch.rand(1, 3, 12, 12)
    encoder = nn.Identity()

    def output(sentences: list[str]) -> torch.Tensor:
        seen = encoder(picture)
        return seen[:, :, 0, 0] + ("red" in sentences[0]) * seen[:, :, 11, 11]

    look = saliency(encoder, output, ["the red box"], word=1)
    assert look[0, 11, 11] > 0.5
    assert without_word("the red box", 1) == "the box"


def test_attention_goes_through_the_latents() -> None:
    """Two latents; the word attends to the second, which attends to the third of four patches."""
    words = torch.zeros(1, 2, 3, 2)
    words[:, :, 1, 1] = 1.0
    latents = torch.zeros(1, 2, 2, 6)
    latents[:, :, 0, 0] = latents[:, :, 1, 2] = 1.0
    look = attention_to_picture([words, words], latents, tokens=slice(1, 2), grid=2)
    assert look[0].tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_every_policy_says_where_it_looks(
    name: str, small_policy: Make, batch_for: Make, observe: Make
) -> None:
    policy = small_policy(name)
    seen = observe(batch_for(policy.config))
    one = replace(
        seen,
        image={camera: picture[:1] for camera, picture in seen.image.items()},
        state=seen.state[:1],
        instruction=["open the red drawer"],
        env_ids=[0],
    )
    policy.reset([0])
    first = policy.act(one)
    policy.reset([0])
    looks = [policy.look(one, word=word) for word in (None, 0, 3)]
    for look in looks:
        assert look.shape[0] == 1
        assert look.min() >= 0
        assert look.max() == pytest.approx(1.0)
        assert not look.requires_grad
    assert not torch.equal(looks[1], looks[2])
    assert torch.equal(policy.act(one), first), "looking leaves a trace in the memory"
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert policy.looks in ("attention", "saliency")
