"""A sentence as one vector: the mean of a frozen language model's token features."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyehand.models.language.pretrained import Tokenize, hidden_size

CACHE_SIZE = 4096
"""Sentences remembered; a server that hears more starts over."""


class SentenceEncoder(nn.Module):
    """Frozen: every distinct sentence is encoded once, alone, and remembered.

    Mean pooling over the tokens and scaling to length 1 is how MiniLM was trained to be read
    (Reimers and Gurevych, 2019, https://arxiv.org/abs/1908.10084).

    Args:
        model: A transformer of the transformers library, without an output layer.
        tokenize: Its tokenizer.
    """

    def __init__(self, model: nn.Module, tokenize: Tokenize) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.dim = hidden_size(model)
        self._tokenize = tokenize
        self._encoded: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> "SentenceEncoder":
        """Change nothing: what is frozen stays in evaluation mode."""
        return self

    def forward(self, sentences: Sequence[str]) -> Float[Tensor, "batch dim"]:
        """Return one vector of length 1 per sentence, scaled to unit variance per feature."""
        if len(self._encoded) > CACHE_SIZE:
            self._encoded.clear()
        for sentence in sentences:
            if sentence not in self._encoded:
                self._encoded[sentence] = self._encode(sentence)
        device = next(self.model.parameters()).device
        return torch.stack([self._encoded[sentence] for sentence in sentences]).to(device)

    def _encode(self, sentence: str) -> Float[Tensor, " dim"]:
        # The caller may be inside inference mode or autocast; what is kept must suit training too.
        device = next(self.model.parameters()).device
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            tokens = torch.tensor([self._tokenize(sentence)], device=device)
            feature = self.model(input_ids=tokens).last_hidden_state[0].mean(dim=0)
            return nn.functional.normalize(feature, dim=0) * self.dim**0.5
