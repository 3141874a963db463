import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from eyehand.policies.heads.fast import ChunkTokenizer, FASTHeadConfig
from eyehand.types import InputError


def smooth_chunks(count: int, *, seed: int) -> Tensor:
    """Return motions like a robot's: slow waves, and a gripper that switches once."""
    random = np.random.default_rng(seed)
    time = np.linspace(0, 1, 16)[:, None]
    phase, rate, size = random.uniform(0, 6, (3, count, 1, 3)) / [[[[1]]], [[[3]]], [[[6]]]]
    motion = size * np.sin(phase + rate * time)
    gripper = np.where(time > random.uniform(0, 2, (count, 1, 1)), 1.0, -1.0)
    return torch.tensor(np.concatenate([motion, gripper], axis=2), dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer() -> ChunkTokenizer:
    made = ChunkTokenizer(horizon=16, action_dim=4, scale=10.0, vocabulary=1024)
    made.fit(smooth_chunks(2000, seed=0))
    return made


def test_lossless_up_to_the_rounding_of_the_spectrum(tokenizer: ChunkTokenizer) -> None:
    chunks = smooth_chunks(200, seed=1)
    back = tokenizer.decode(tokenizer.encode(chunks))
    # The transform keeps lengths: a chunk's squared error is that of its spectrum.
    error = (back - chunks).square().sum(dim=1)
    assert error.max() <= 16 * (0.5 / 10) ** 2 + 1e-6
    again = tokenizer.decode(tokenizer.encode(back))
    torch.testing.assert_close(again, back)


def test_shorter_than_a_token_a_number(tokenizer: ChunkTokenizer) -> None:
    """64 numbers a chunk are 64 tokens as bins."""
    lengths = [len(ids) for ids in tokenizer.encode(smooth_chunks(200, seed=1))]
    assert 64 / np.mean(lengths) > 3


def test_chunks_unlike_any_that_it_learned_from_can_be_said(tokenizer: ChunkTokenizer) -> None:
    wild = 2 * torch.rand(50, 16, 4, generator=torch.Generator().manual_seed(0)) - 1
    back = tokenizer.decode(tokenizer.encode(wild))
    assert (back - wild).square().sum(dim=1).max() <= 16 * (0.5 / 10) ** 2 + 1e-6
    most = torch.ones(1, 16, 4)  # the largest coefficient that there can be
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(most)), most, rtol=0, atol=0.05)


def test_the_words_travel_with_the_weights(tokenizer: ChunkTokenizer) -> None:
    chunks = smooth_chunks(20, seed=2)
    other = ChunkTokenizer(horizon=16, action_dim=4, scale=10.0, vocabulary=1024)
    assert other.encode(chunks) != tokenizer.encode(chunks)
    other.load_state_dict(copy.deepcopy(tokenizer.state_dict()))
    assert other.encode(chunks) == tokenizer.encode(chunks)


def test_texts_that_end_early_or_never_are_chunks_too(tokenizer: ChunkTokenizer) -> None:
    (ids,) = tokenizer.encode(smooth_chunks(1, seed=3))
    nothing, whole, cut = tokenizer.decode([[tokenizer.end], [*ids, tokenizer.end, 5], ids])
    assert not nothing.any()
    torch.testing.assert_close(whole, cut)
    (long,) = tokenizer.decode([ids * 3])
    torch.testing.assert_close(long, whole)
    assert tokenizer.decode([[tokenizer.end - 1] * 99]).isfinite().all()  # perhaps no word at all


def test_it_chooses_one_mode(two_modes: Callable[..., Tensor]) -> None:
    chunk = two_modes(
        FASTHeadConfig(vocabulary=64, dim=16, depth=1, heads=2, head_dim=8), steps=100
    )
    assert (chunk.abs() - 0.7).abs().max() < 0.1
    assert (chunk.sign() == chunk[0, 0, 0].sign()).all()


def test_a_vocabulary_too_small_for_the_numbers_is_refused() -> None:
    with pytest.raises(InputError, match=r"vocabulary must be above 81.*got 64"):
        FASTHeadConfig(vocabulary=64).build(3, horizon=16, action_dim=4)
