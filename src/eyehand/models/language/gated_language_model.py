"""A frozen language model that sees: gated cross-attention before every n-th of its blocks.

From Flamingo (Alayrac et al., 2022, sec. 2.2, https://arxiv.org/abs/2204.14198), for any
transformer of the transformers library, decoder or encoder: its blocks are wrapped in place, and
everything around them (masks, rotary positions, the last norm) stays its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from eyehand.models.language.pretrained import Tokenize, hidden_size
from eyehand.nn.gated_attention import GatedCrossAttention
from eyehand.types import InputError

CACHE_SIZE = 4096
"""Sentences remembered; a server that hears more starts over."""

LONGEST = 128
"""Tokens of an instruction: a long sentence, not an essay that every picture would wait for."""


@dataclass
class PictureContext:
    """What the wrapped blocks are given while the model runs on pictures."""

    context: Float[Tensor, "row key context_dim"]
    """Visual tokens."""
    hidden: Float[Tensor, "row token dim"]
    """Text before the first gated block."""


@dataclass(frozen=True)
class Prefix:
    """A sentence before the first gated block."""

    tokens: Int64[Tensor, " token"]
    """Token ids."""
    hidden: Float[Tensor, "token dim"]
    """Features."""


class GatedLanguageModel(nn.Module):
    """Text tokens are the queries, visual tokens the keys and values.

    What comes before the first gated block is the same for every picture: it is computed once per
    distinct sentence, alone, and remembered. The rest runs once per (picture, sentence).

    Args:
        model: A transformer of the transformers library, without an output layer.
        tokenize: Its tokenizer.
        every: Gated layers stand before every ``every``-th block.
        context_dim: Width of the visual tokens.
        heads: Attention heads of the gated layers.
        head_dim: Width of one head.
        gate: What the gates start at; see `GatedCrossAttention`.
        last: Whether a gated layer stands after the model as well, so that what it adds reaches the
            features without passing a frozen block.
        frozen: Whether the blocks behind the first gated layer keep their weights, too. Those
            before it always do: they run once per sentence.

    Raises:
        InputError: If the model has fewer than ``every`` blocks, or its blocks cannot be found.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenize: Tokenize,
        *,
        every: int,
        context_dim: int,
        heads: int,
        head_dim: int,
        gate: float = 0.0,
        last: bool = False,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        blocks = find_blocks(model)
        if not 1 <= every <= len(blocks):
            raise InputError(
                f"`every` must be between 1 and the language model's {len(blocks)} blocks; "
                f"got {every}."
            )
        self.dim = hidden_size(model)
        self.gates = nn.ModuleList(
            GatedCrossAttention(
                self.dim, context_dim=context_dim, heads=heads, head_dim=head_dim, gate=gate
            )
            for _ in range(len(blocks) // every + last)
        )
        self._first = every - 1
        self._last = last
        self._wrapped = []
        for index, block in enumerate(blocks):
            gated = (index + 1) % every == 0
            before = self.gates[index // every] if gated else None
            wrapped = WrappedBlock(block, before, index - self._first)
            blocks[index] = wrapped
            self._wrapped.append(wrapped)
        self.model = model.requires_grad_(False).eval()
        if not frozen:
            for wrapped in self._wrapped[self._first :]:
                wrapped.block.requires_grad_(True)
        self._tokenize = tokenize
        self._prefixes: dict[str, Prefix] = {}

    def train(self, mode: bool = True) -> "GatedLanguageModel":
        """Set the gates' mode; what is frozen stays in evaluation mode."""
        self.training = mode
        self.gates.train(mode)
        return self

    def forward(
        self,
        sentences: Sequence[str],
        context: Float[Tensor, "row key context_dim"],
        *,
        length: int | None = None,
    ) -> tuple[Float[Tensor, "row token dim"], Bool[Tensor, "row token"]]:
        """Return the features of every row's text tokens, and where they are not padding.

        Args:
            sentences: One per row.
            context: Visual tokens of every row.
            length: Tokens that sentences are padded to; ``None`` means the longest of them.

        Raises:
            InputError: If a sentence is longer than an instruction may be.
        """
        distinct = {sentence: row for row, sentence in enumerate(dict.fromkeys(sentences))}
        prefixes = [self._prefix(sentence) for sentence in distinct]
        if length is None:
            length = max(len(prefix.tokens) for prefix in prefixes)
        device = context.device
        tokens = torch.zeros(len(distinct), length, dtype=torch.long, device=device)
        mask = torch.zeros(len(distinct), length, dtype=torch.bool, device=device)
        hidden = torch.zeros(
            len(distinct), length, self.dim, dtype=prefixes[0].hidden.dtype, device=device
        )
        for row, prefix in enumerate(prefixes):
            tokens[row, : len(prefix.tokens)] = prefix.tokens
            mask[row, : len(prefix.tokens)] = True
            hidden[row, : len(prefix.tokens)] = prefix.hidden
        rows = torch.tensor([distinct[sentence] for sentence in sentences], device=device)
        mask = mask[rows]
        feature = self._run(
            tokens[rows], mask, PictureContext(context=context, hidden=hidden[rows])
        )
        return (self.gates[-1](feature, context) if self._last else feature), mask

    def count_tokens(self, sentence: str) -> int:
        """Return the number of tokens of a sentence.

        Raises:
            InputError: If it is longer than an instruction may be.
        """
        return len(self._prefix(sentence).tokens)

    def tokens_of(self, sentence: str, word: int | None) -> slice:
        """Return which tokens of a sentence belong to one of its words; None means to any.

        Words are counted between spaces. Tokenizers that join words or mark more than the ends are
        not understood; those of MiniLM and SmolLM2 do neither.
        """
        words = sentence.split()
        marks = len(self._tokenize(""))
        begins = marks - marks // 2  # one mark stands before, two stand around
        until = [len(self._tokenize(" ".join(words[:end]))) for end in range(1, len(words) + 1)]
        ends = [begins, *(length - marks // 2 for length in until)]
        if word is None:
            return slice(ends[0], ends[-1])
        return slice(ends[word], ends[word + 1])

    def _run(self, tokens: Tensor, mask: Tensor, pictures: PictureContext | None) -> Tensor:
        for block in self._wrapped:
            block.pictures = pictures
        try:
            return self.model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        finally:
            for block in self._wrapped:
                block.pictures = None

    def _prefix(self, sentence: str) -> Prefix:
        if sentence not in self._prefixes:
            if len(self._prefixes) >= CACHE_SIZE:
                self._prefixes.clear()
            self._prefixes[sentence] = self._read(sentence)
        return self._prefixes[sentence]

    def _read(self, sentence: str) -> Prefix:
        # An empty sentence may have no token: then it is read as the vocabulary's first.
        ids = self._tokenize(sentence) or [0]
        if len(ids) > LONGEST:
            raise InputError(
                f"the instruction {sentence[:40]!r}... has {len(ids)} tokens, "
                f"an instruction may have {LONGEST}."
            )
        # The caller may be inside inference mode or autocast; what is kept must suit training too.
        device = next(self.model.parameters()).device
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            tokens = torch.tensor([ids], device=device)
            self._run(tokens, torch.ones_like(tokens), None)
            return Prefix(tokens=tokens[0], hidden=self._wrapped[self._first].entered[0])


class WrappedBlock(nn.Module):
    """A block of the language model, with the gated layer before it if it has one.

    Without pictures it is the plain block, and remembers what entered it. With them, blocks before
    the first gated one pass on what they get, and the first gated one begins from the text that
    was remembered.
    """

    def __init__(self, block: nn.Module, gate: nn.Module | None, position: int) -> None:
        super().__init__()
        self.block = block
        self.pictures: PictureContext | None = None
        self.entered = torch.empty(0)
        self._gate = [gate]  # in a list: its weights belong to the gates, not to the frozen model
        self._position = position
        self._returns_tuple = False

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the block as the language model calls it."""
        if self.pictures is None:
            if self._position == 0:
                self.entered = hidden_states
            output = self.block(hidden_states, *args, **kwargs)
            self._returns_tuple = isinstance(output, tuple)
            return output
        if self._position < 0:
            return (hidden_states,) if self._returns_tuple else hidden_states
        if self._position == 0:
            hidden_states = self.pictures.hidden
        if self._gate[0] is not None:
            hidden_states = self._gate[0](hidden_states, self.pictures.context)
        return self.block(hidden_states, *args, **kwargs)


def find_blocks(model: nn.Module) -> nn.ModuleList:
    """Return the list of a transformer's blocks: the one as long as its config says.

    Raises:
        InputError: If there is none, or more than one.
    """
    depth = getattr(model.config, "num_hidden_layers", 0)
    found = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == depth
        and len({type(block) for block in module}) == 1
    ]
    if len(found) != 1:
        raise InputError(
            f"{type(model).__name__} has {len(found)} lists of {depth} equal blocks, not one: "
            f"gated layers cannot be put between them."
        )
    return found[0]
