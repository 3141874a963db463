"""How short and how exact the words for an action chunk are: bins, FAST, VQ, on a data set.

Run:
    python benchmarks/action_tokens.py --data outputs/mt50/demonstrations

Prints a table for docs/policies/heads.md. Every tokenizer learns from half of the episodes and is
measured on the other half; errors are mean absolute ones of a number in [-1, 1].
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eyehand.data.store import open_store
from eyehand.data.windows import sample_chunks
from eyehand.nn.quantizer import UniformQuantizer, codebook_use, quantile_bounds
from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.fast import ChunkTokenizer, FASTHeadConfig
from eyehand.policies.heads.vq import VQHead, VQHeadConfig

CHUNKS, BATCH, STEPS, LEARNING_RATE = 40_000, 256, 3000, 1e-3


def bins_row(learned: Tensor, measured: Tensor) -> tuple[float, float, str]:
    """Return tokens a chunk, error, and a remark."""
    config = BinsHeadConfig()
    low, high = quantile_bounds(learned.flatten(0, 1), tail=config.tail)
    quantizer = UniformQuantizer(low, high, bins=config.bins)
    decoded = quantizer.decode(quantizer.encode(measured))
    inside = ((measured >= low) & (measured <= high)).float().mean()
    remark = f"{100 * (1 - inside):.1f} % of the numbers are clipped"
    return measured[0].numel(), (decoded - measured).abs().mean().item(), remark


def fast_row(learned: Tensor, measured: Tensor) -> tuple[float, float, str]:
    """Return tokens a chunk with the end, error, and a remark."""
    config = FASTHeadConfig()
    _, horizon, action_dim = learned.shape
    tokenizer = ChunkTokenizer(
        horizon=horizon, action_dim=action_dim, scale=config.scale, vocabulary=config.vocabulary
    )
    tokenizer.fit(learned)
    tokens = tokenizer.encode(measured)
    lengths = 1 + np.array([len(ids) for ids in tokens])
    error = (tokenizer.decode(tokens) - measured).abs().mean().item()
    low, high = np.quantile(lengths, [0.05, 0.95])
    return float(lengths.mean()), error, f"{low:.0f} to {high:.0f} in 90 % of the chunks"


def vq_row(learned: Tensor, measured: Tensor) -> tuple[float, float, str]:
    """Return codes a chunk, error of what they decode to, and how many codes are in use."""
    config = VQHeadConfig()
    _, horizon, action_dim = learned.shape
    head = VQHead(1, config=config, horizon=horizon, action_dim=action_dim)
    optimizer = torch.optim.Adam(head.parameters(), LEARNING_RATE)
    feature = torch.zeros(BATCH, 1, 1)
    action_mask = torch.ones(BATCH, 1, horizon, dtype=torch.bool)
    history_mask = torch.ones(BATCH, 1, dtype=torch.bool)
    for _ in range(STEPS):
        action = learned[torch.randint(len(learned), (BATCH,))][:, None]
        losses = head.loss(feature, action, action_mask=action_mask, history_mask=history_mask)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        found = head.quantizer(head.encoder(measured.flatten(1)))
        decoded = head.decoder(found.quantized).reshape_as(measured)
    uses = [codebook_use(found.codes[:, layer], size=config.codes) for layer in range(config.depth)]
    used = ", ".join(f"{100 * use.share:.0f} % ({use.perplexity:.1f})" for use in uses)
    remark = f"of {config.codes} codes are in use (perplexity): {used}"
    return config.depth, (decoded - measured).abs().mean().item(), remark


def main() -> None:
    """Cut chunks, learn, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a data set")
    parser.add_argument("--horizon", type=int, default=16, help="actions in a chunk")
    wanted = parser.parse_args()
    torch.manual_seed(0)
    store = open_store(wanted.data, image_size=96)
    statistics = store.statistics["action"]
    low, high = torch.as_tensor(statistics.minimum), torch.as_tensor(statistics.maximum)
    chunks = torch.from_numpy(sample_chunks(store, horizon=wanted.horizon, count=CHUNKS))
    chunks = 2 * (chunks - low) / (high - low) - 1
    frame = np.linspace(0, len(store) - 1, len(chunks)).astype(np.int64)
    odd = (np.searchsorted(store.episode_start, frame, side="right") % 2).astype(bool)
    learned, measured = chunks[~odd], chunks[odd]
    print("| words | a chunk | against bins | error | |\n| --- | --- | --- | --- | --- |")
    most = None
    for name, row in (("bins", bins_row), ("fast", fast_row), ("vq", vq_row)):
        tokens, error, remark = row(learned, measured)
        most = most or tokens
        print(f"| `{name}` | {tokens:.1f} | 1/{most / tokens:.1f} | {error:.4f} | {remark} |")


if __name__ == "__main__":
    main()
