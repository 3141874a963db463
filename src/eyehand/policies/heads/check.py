"""The battery that every action head passes; whoever writes a head runs it on theirs."""

import copy
from typing import Any

import torch

HISTORY = 5


def check_head(head: Any, *, dim: int, horizon: int, action_dim: int) -> None:
    """Raise ``AssertionError`` with a sentence at the first promise that ``head`` breaks.

    Args:
        head: An :class:`eyehand.policies.heads.registry.ActionHead`; it is left as it was.
        dim: Width of a frame's feature.
        horizon: Actions per chunk.
        action_dim: Numbers per action.

    Example:
        >>> from eyehand.policies.heads.mlp import MLPHeadConfig
        >>> head = MLPHeadConfig(dims=(8,)).build(3, horizon=2, action_dim=4)
        >>> check_head(head, dim=3, horizon=2, action_dim=4)
    """
    head = copy.deepcopy(head).eval()
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(4, HISTORY, dim, generator=generator)
    action = 2 * torch.rand(4, HISTORY, horizon, action_dim, generator=generator) - 1
    history_mask = torch.ones(4, HISTORY, dtype=torch.bool)
    history_mask[0, :2] = False
    action_mask = torch.ones(4, HISTORY, horizon, dtype=torch.bool)
    action_mask[1, -1, horizon // 2 :] = False
    masks = {"action_mask": action_mask, "history_mask": history_mask}

    losses = head.loss(feature, action, **masks)
    loss = losses["loss"]
    assert loss.ndim == 0, f"the loss has shape {tuple(loss.shape)}, not ()"
    assert loss.dtype == torch.float32, f"the loss is {loss.dtype}, not float32"
    assert all(value.isfinite() for value in losses.values()), f"a loss is not finite: {losses}"
    loss.backward()
    for name, value in head.named_parameters():
        assert value.grad is not None, f"no gradient reaches {name}"
        assert value.grad.isfinite().all(), f"the gradient of {name} is not finite"

    padded = action.clone()
    padded[~action_mask] = 9.0
    padded[~history_mask] = 9.0
    padded_feature = feature.clone()
    padded_feature[~history_mask] = 9.0
    other = head.loss(padded_feature, padded, **masks)["loss"]
    torch.testing.assert_close(other, loss, msg=lambda text: f"padding changes the loss: {text}")

    halves = [
        head.loss(
            feature[part], action[part], **{name: mask[part] for name, mask in masks.items()}
        )["loss"]
        for part in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(
        torch.stack(halves).mean(),
        loss,
        msg=lambda text: f"the mean over two processes is not the loss of the whole batch: {text}",
    )

    with torch.no_grad():
        chunk = head.act(feature, history_mask=history_mask)
        again = head.act(padded_feature, history_mask=history_mask)
        turned = head.act(feature.flip(0), history_mask=history_mask.flip(0)).flip(0)
    shape = (4, horizon, action_dim)
    assert chunk.shape == shape, f"the chunk has shape {tuple(chunk.shape)}, not {shape}"
    assert chunk.dtype == torch.float32, f"the chunk is {chunk.dtype}, not float32"
    assert chunk.isfinite().all(), "the chunk is not finite"
    torch.testing.assert_close(again, chunk, msg=lambda text: f"padding changes the act: {text}")
    torch.testing.assert_close(turned, chunk, msg=lambda text: f"rows depend on order: {text}")
