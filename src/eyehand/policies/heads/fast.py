"""Policy head that says a chunk in few tokens: its spectrum, rounded and byte-pair encoded.

FAST (Pertsch et al., 2025, https://arxiv.org/abs/2501.09747), the tokens of pi0-FAST: discrete
cosine transform of every dimension over the chunk, times a scale, rounded; written low frequencies
first; frequent pairs of numbers become one token. Differs from the paper:
1. The decoder is a small transformer of its own, not the language model.
2. The alphabet is every number that can occur (a coefficient is at most the root of the chunk's
   length), so that nothing the pairs were not learned on is unknown.
3. A text of the wrong length is cut, or filled with zeros: the missing ones are high frequencies.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from scipy.fft import dct, idct
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.policies.heads.contract import FrameHead, RowChunk, RowFeature, RowMask, Seeds
from eyehand.policies.heads.token_decoder import TokenHeadConfig
from eyehand.types import InputError, check_ranges

FIRST_LETTER = 0x4E00
"""Numbers are written as Chinese letters: the library's words are text, and none of these is a
space or a mark that it treats otherwise."""


@dataclass(frozen=True)
class FASTHeadConfig(TokenHeadConfig):
    """Byte pairs of the rounded spectrum, decoded as tokens."""

    name: Literal["fast"] = "fast"
    """Name of the head in a checkpoint's config."""
    scale: float = 10.0
    """Steps per unit of a coefficient: more is finer and longer."""
    vocabulary: int = 1024
    """Different tokens, the end of the text included."""

    def build(self, dim: int, *, horizon: int, action_dim: int, gripper: int = 1) -> "FASTHead":
        """Return the head for features of width ``dim``."""
        self.check_horizon(horizon)
        return FASTHead(dim, config=self, horizon=horizon, action_dim=action_dim)

    def __post_init__(self) -> None:
        """Check that every number is in its range: a letter stands for every number."""
        super().__post_init__()
        check_ranges(self, prefix="FASTHeadConfig.", scale=(1e-3, 1e3))

    def check_horizon(self, horizon: int) -> None:
        """Raise an `InputError` if the vocabulary is too small for the numbers alone."""
        numbers = 2 * _largest_number(self.scale, horizon) + 1
        if self.vocabulary <= numbers:
            raise InputError(
                f"FASTHeadConfig.vocabulary must be above {numbers}, the numbers of a spectrum of "
                f"{horizon} actions at scale {self.scale:g} and the end; got {self.vocabulary}."
            )


def _largest_number(scale: float, horizon: int) -> int:
    """Return the largest number of a spectrum that is rounded."""
    return math.ceil(scale * math.sqrt(horizon))


class ChunkTokenizer(nn.Module):
    """Chunks to tokens and back. The pairs that it knows are a buffer, and travel with the weights.

    Args:
        horizon: Actions per chunk.
        action_dim: Numbers per action.
        scale: Steps per unit of a coefficient.
        vocabulary: Most tokens; one each for the end and for every number that can occur.
    """

    pairs: Tensor

    def __init__(self, *, horizon: int, action_dim: int, scale: float, vocabulary: int) -> None:
        super().__init__()
        self.horizon, self.action_dim, self.scale = horizon, action_dim, scale
        self.largest = _largest_number(scale, horizon)
        self.letters = [chr(FIRST_LETTER + i) for i in range(2 * self.largest + 1)]
        self.end = vocabulary - 1
        self.register_buffer("pairs", torch.full((vocabulary, 2), -1))
        self._library: Tokenizer | None = None
        self.register_load_state_dict_post_hook(_forget_library)  # type: ignore[no-untyped-call]

    def fit(self, action: Float[Tensor, "chunk horizon action"]) -> None:
        """Learn which pairs are frequent in chunks of the data."""
        trainer = BpeTrainer(
            vocab_size=self.end,
            initial_alphabet=self.letters,
            special_tokens=[],
            show_progress=False,
        )
        tokenizer = Tokenizer(BPE())
        tokenizer.train_from_iterator(self._texts(action), trainer)
        merges = json.loads(tokenizer.to_str())["model"]["merges"][: len(self.pairs)]
        number = {letter: index for index, letter in enumerate(self.letters)}
        self.pairs.fill_(-1)
        for row, (first, second) in enumerate(merges):
            self.pairs[row] = torch.tensor([number[first], number[second]])
            number.setdefault(first + second, len(number))
        self._library = None

    def encode(self, action: Float[Tensor, "chunk horizon action"]) -> list[list[int]]:
        """Return the tokens of every chunk, without the end."""
        return [text.ids for text in self._tokenizer().encode_batch(self._texts(action))]

    def decode(self, tokens: Sequence[Sequence[int]]) -> Float[Tensor, "chunk horizon action"]:
        """Return the chunk of every list of tokens, up to its end."""
        size = self.horizon * self.action_dim
        steps = np.zeros((len(tokens), size))
        for row, ids in zip(steps, tokens, strict=True):
            until = list(ids).index(self.end) if self.end in ids else len(ids)
            words = [self._tokenizer().id_to_token(token) or "" for token in ids[:until]]
            letters = "".join(words)[:size]
            row[: len(letters)] = [ord(letter) - FIRST_LETTER - self.largest for letter in letters]
        spectrum = rearrange(steps / self.scale, "n (h a) -> n h a", h=self.horizon)
        chunk = idct(spectrum, axis=1, norm="ortho")
        return torch.tensor(chunk, dtype=torch.float32, device=self.pairs.device)

    def _texts(self, action: Float[Tensor, "chunk horizon action"]) -> list[str]:
        spectrum = dct(action.double().cpu().numpy(), axis=1, norm="ortho")
        steps = np.rint(spectrum * self.scale).clip(-self.largest, self.largest).astype(int)
        rows = rearrange(steps, "n h a -> n (h a)") + self.largest
        return ["".join(self.letters[number] for number in row) for row in rows]

    def _tokenizer(self) -> Tokenizer:
        if self._library is None:
            number = {letter: index for index, letter in enumerate(self.letters)}
            words, merges = list(self.letters), []
            for first, second in self.pairs[self.pairs[:, 0] >= 0].tolist():
                merges.append((words[first], words[second]))
                if (word := words[first] + words[second]) not in number:
                    number[word] = len(words)
                    words.append(word)
            self._library = Tokenizer(BPE(vocab=number, merges=merges))
        return self._library


def _forget_library(tokenizer: ChunkTokenizer, _: object) -> None:
    """Other pairs were loaded."""
    tokenizer._library = None


class FASTHead(FrameHead):
    """Tokens of a chunk, given a frame's feature.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    def __init__(self, dim: int, *, config: FASTHeadConfig, horizon: int, action_dim: int) -> None:
        super().__init__()
        self.tokenizer = ChunkTokenizer(
            horizon=horizon,
            action_dim=action_dim,
            scale=config.scale,
            vocabulary=config.vocabulary,
        )
        self.decoder = config.build_decoder(dim, vocabulary=config.vocabulary)
        self.numbers = horizon * action_dim

    def fit(self, action: Float[Tensor, "chunk horizon action"]) -> None:
        """Learn the vocabulary from chunks of the data, in [-1, 1]."""
        self.tokenizer.fit(action)

    def row_loss(self, feature: RowFeature, chunk: RowChunk, mask: RowMask) -> dict[str, Tensor]:
        """Return the cross-entropy, nats per number of the chunk; actions in [-1, 1].

        The spectrum belongs to the chunk as a whole, so a chunk that reaches beyond the episode's
        end counts in full, with its last action held.
        """
        texts = [[*ids, self.tokenizer.end] for ids in self.tokenizer.encode(chunk)]
        length = max(map(len, texts))
        padded = [ids + [-1] * (length - len(ids)) for ids in texts]
        tokens = torch.tensor(padded, device=feature.device)
        logits = self.decoder(feature, tokens.clamp(min=0))
        entropy = F.cross_entropy(
            rearrange(logits, "n token v -> n v token"), tokens, ignore_index=-1, reduction="none"
        )
        return {"loss": (entropy.sum(dim=1) / self.numbers * mask.any(dim=1)).mean()}

    def row_act(self, feature: RowFeature, seed: Seeds) -> RowChunk:
        """Return the chunk that begins at the frame."""
        tokens = self.decoder.generate(feature, length=self.numbers, end=self.tokenizer.end)
        return self.tokenizer.decode(tokens.tolist())
