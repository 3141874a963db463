"""The battery that every action head passes; whoever writes a head runs it on theirs."""

import copy
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from eyehand.policies.heads.contract import ActionHead, DrawingHead

HISTORY = 5


def check_head(head: ActionHead, *, dim: int, horizon: int, action_dim: int) -> None:
    """Raise ``AssertionError`` with a sentence at the first promise that ``head`` breaks.

    Args:
        head: Any head; it is left as it was.
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

    head.fit(action.flatten(0, 1))
    _check_gradients(head, feature, action, masks)
    _check_padding(head, feature, action, masks)
    _check_act(head, feature, history_mask, shape=(4, horizon, action_dim))
    _check_stream(head, feature, action, masks)
    if isinstance(head, DrawingHead):
        _check_draw(head, feature, history_mask)


def _check_gradients(
    head: ActionHead, feature: Tensor, action: Tensor, masks: Mapping[str, Tensor]
) -> None:
    losses = _seeded(head, feature, action, masks)
    loss = losses["loss"]
    assert loss.ndim == 0, f"the loss has shape {tuple(loss.shape)}, not ()"
    assert loss.dtype == torch.float32, f"the loss is {loss.dtype}, not float32"
    assert all(value.isfinite() for value in losses.values()), f"a loss is not finite: {losses}"
    loss.backward()
    for name, value in head.named_parameters():
        assert value.grad is not None, f"no gradient reaches {name}"
        assert value.grad.isfinite().all(), f"the gradient of {name} is not finite"


@torch.no_grad()
def _check_padding(
    head: ActionHead, feature: Tensor, action: Tensor, masks: Mapping[str, Tensor]
) -> None:
    """What is masked counts as zero, and the mean is over the full size."""
    loss = _seeded(head, feature, action, masks)["loss"]
    padded_feature, padded_action = _pad(feature, action, masks)
    other = _seeded(head, padded_feature, padded_action, masks)["loss"]
    _same(other, loss, "padding changes the loss")
    # Two processes with half a batch each: their mean is the sum of the halves of the whole.
    halves = []
    for part in (slice(0, 2), slice(2, 4)):
        alone = {"action_mask": torch.zeros_like(masks["action_mask"])}
        alone["action_mask"][part] = masks["action_mask"][part]
        halves.append(_seeded(head, feature, action, {**masks, **alone})["loss"])
    total = torch.stack(halves).sum()
    _same(total, loss, "the mean over two processes is not the loss of the whole batch")


@torch.no_grad()
def _check_stream(
    head: ActionHead, feature: Tensor, action: Tensor, masks: Mapping[str, Tensor]
) -> None:
    """What a frame says is the same when the frames come one by one: none sees a later one."""
    first, second = (_seeded(head, feature, action, masks, seed=seed) for seed in (0, 1))
    if not torch.equal(first["loss"], second["loss"]):
        return  # what it draws depends on the number of frames, and hides what they say
    for time in range(HISTORY):
        until = slice(0, time + 1)
        only = torch.zeros_like(masks["action_mask"])
        only[:, time] = masks["action_mask"][:, time]
        whole = _seeded(head, feature, action, {**masks, "action_mask": only})
        part = {"action_mask": only[:, until], "history_mask": masks["history_mask"][:, until]}
        streamed = _seeded(head, feature[:, until], action[:, until], part)
        share = (time + 1) / HISTORY  # means are over the full size
        sentence = "a frame of the window is not what it is frame by frame"
        _same(streamed["loss"] * share, whole["loss"], sentence)


@torch.no_grad()
def _check_act(
    head: ActionHead, feature: Tensor, history_mask: Tensor, *, shape: tuple[int, int, int]
) -> None:
    """Chunks have the right shape, and a row's depends on its frames and its seed alone."""
    seed = torch.tensor([3, 1, 4, 1])
    chunk = head.act(feature, history_mask=history_mask, seed=seed)
    assert chunk.shape == shape, f"the chunk has shape {tuple(chunk.shape)}, not {shape}"
    assert chunk.dtype == torch.float32, f"the chunk is {chunk.dtype}, not float32"
    assert chunk.isfinite().all(), "the chunk is not finite"
    assert chunk.abs().max() <= 1, f"an action of {chunk.abs().max()} is not in [-1, 1]"
    torch.randn(7)
    again = head.act(feature, history_mask=history_mask, seed=seed)
    assert torch.equal(again, chunk), "the same seeds give another chunk"
    padded, _ = _pad(feature, None, {"history_mask": history_mask})
    again = head.act(padded, history_mask=history_mask, seed=seed)
    _same(again, chunk, "padding changes the act")
    turned = head.act(feature.flip(0), history_mask=history_mask.flip(0), seed=seed.flip(0))
    _same(turned.flip(0), chunk, "rows depend on order")
    begun = int((~history_mask[0]).sum())
    alone = head.act(feature[:1, begun:], history_mask=history_mask[:1, begun:], seed=seed[:1])
    _same(alone, chunk[:1], "a padded window is not its frames alone")
    loaded = copy.deepcopy(head)
    for value in loaded.state_dict().values():
        value.zero_()
    loaded.load_state_dict(head.state_dict())
    again = loaded.act(feature, history_mask=history_mask, seed=seed)
    assert torch.equal(again, chunk), "a head that was saved and loaded acts otherwise"


def _check_draw(head: DrawingHead, feature: Tensor, history_mask: Tensor) -> None:
    """What a row draws depends on its seed alone, and its probability has a gradient."""
    seed, draw = torch.tensor([3, 1, 4, 1]), partial(head.draw, randomness=0.5)
    with torch.no_grad():
        chunk, sample = draw(feature, seed=seed, history_mask=history_mask)
        alone, _ = draw(feature[2:3], seed=seed[2:3], history_mask=history_mask[2:3])
        other, _ = draw(feature, seed=seed + 1, history_mask=history_mask)
    assert chunk.abs().max() <= 1, f"a drawn action of {chunk.abs().max()} is not in [-1, 1]"
    _same(alone, chunk[2:3], "what a row draws depends on the rows beside it")
    assert not torch.equal(other, chunk), "another seed draws the same"
    told = {"history_mask": history_mask, "executed": torch.ones(chunk.shape[:2]).bool()}
    found = head.log_prob(feature, sample, randomness=0.5, **told)
    assert found.shape == seed.shape, f"log-probabilities have the shape {tuple(found.shape)}"
    assert found.isfinite().all(), "a log-probability is not finite"
    head.zero_grad()
    found.sum().backward()
    assert any(value.grad is not None and value.grad.any() for value in head.parameters()), (
        "no gradient comes from the log-probability"
    )


def _seeded(
    head: ActionHead, feature: Tensor, action: Tensor, masks: Mapping[str, Tensor], *, seed: int = 0
) -> dict[str, Tensor]:
    """Return the losses; the seed decides what a head draws."""
    torch.manual_seed(seed)
    return head.loss(feature, action, **masks)


def _same(ours: Tensor, theirs: Tensor, sentence: str) -> None:
    torch.testing.assert_close(ours, theirs, msg=lambda text: f"{sentence}: {text}")


def _pad(
    feature: Tensor, action: Tensor | None, masks: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Fill what is masked with numbers that must change nothing."""
    feature = feature.clone()
    feature[~masks["history_mask"]] = 9.0
    if action is None:
        return feature, feature
    action = action.clone()
    action[~masks["action_mask"]] = 9.0
    action[~masks["history_mask"]] = 9.0
    return feature, action
