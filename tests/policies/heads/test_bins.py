import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.types import InputError


def test_it_chooses_one_mode(two_modes: Callable[..., Tensor]) -> None:
    chunk = two_modes(BinsHeadConfig(bins=16, dim=16, depth=1, heads=2, head_dim=8), steps=100)
    assert (chunk.abs() - 0.7).abs().max() <= 1.4 / 16 / 2 + 1e-6  # half a bin
    assert (chunk.sign() == chunk[0, 0, 0].sign()).all()


def test_a_chunk_comes_back_within_half_a_bin() -> None:
    head = BinsHeadConfig(tail=0.0).build(3, horizon=4, action_dim=2)
    chunks = 2 * torch.rand(500, 4, 2, generator=torch.Generator().manual_seed(0)) - 1
    chunks[..., 1] *= 0.1  # a dimension that moves little has narrow bins
    head.fit(chunks)
    width = (chunks.amax(dim=(0, 1)) - chunks.amin(dim=(0, 1))) / 256
    back = head.quantizer.decode(head.quantizer.encode(chunks))
    assert ((back - chunks).abs() <= width / 2 + 1e-6).all()


def test_the_loss_is_the_cross_entropy_of_the_bins() -> None:
    """With logits that are all equal: the logarithm of the number of bins."""
    head = BinsHeadConfig(bins=16, dim=8, heads=2, head_dim=4).build(3, horizon=4, action_dim=2)
    torch.nn.init.zeros_(head.decoder.to_logits.weight)
    torch.nn.init.zeros_(head.decoder.to_logits.bias)
    loss = head.loss(
        torch.zeros(2, 1, 3),
        torch.zeros(2, 1, 4, 2),
        action_mask=torch.tensor([[[True] * 4], [[True] * 2 + [False] * 2]]),
        history_mask=torch.ones(2, 1, dtype=torch.bool),
    )["loss"]
    assert loss.item() == pytest.approx(0.75 * math.log(16))


def test_a_single_bin_is_refused() -> None:
    with pytest.raises(InputError, match=r"BinsHeadConfig\.bins must be 2 to 65,536; got 1"):
        BinsHeadConfig(bins=1)


def test_the_probabilities_of_all_chunks_sum_to_one() -> None:
    torch.manual_seed(0)
    head = BinsHeadConfig(bins=3, dim=8, depth=1, heads=2, head_dim=4).build(
        2, horizon=2, action_dim=1
    )
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    feature = torch.randn(1, 1, 2).expand(9, 1, 2)
    mask = torch.ones(9, 1, dtype=torch.bool)
    with torch.no_grad():
        both = torch.ones(9, 2, dtype=torch.bool)
        told = {"history_mask": mask, "randomness": 0.7}
        found = head.log_prob(feature, every, executed=both, **told)
        first = head.log_prob(feature, every, executed=both & torch.tensor([True, False]), **told)
        chunk, tokens = head.draw(
            feature[:1].expand(3000, 1, 2),
            history_mask=mask[:1].expand(3000, 1),
            seed=torch.arange(3000),
            randomness=0.7,
        )
    probability = found.exp()
    # Of the first action alone: what any second one adds up to.
    marginal = probability.view(3, 3).sum(dim=1)
    torch.testing.assert_close(first.exp().view(3, 3)[:, 0], marginal)
    assert probability.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = torch.bincount(3 * tokens[:, 0] + tokens[:, 1], minlength=9) / 3000
    torch.testing.assert_close(drawn, probability, atol=0.03, rtol=0)
    assert torch.equal(chunk, head.quantizer.decode(tokens[..., None]).clamp(-1, 1))
