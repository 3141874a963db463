"""The battery that every policy passes; whoever writes a policy runs it on theirs."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from eyehand.policies.contract import PolicyModule
from eyehand.policies.registry import load_policy, save_policy
from eyehand.types import Batch, Observation

SHAKE = 0.05
"""Spread of the noise that moves what starts at zero (gates, modulation) away from it."""


def check_policy(policy: PolicyModule, batch: Batch, observation: Observation) -> None:
    """Raise ``AssertionError`` with a sentence at the first promise that ``policy`` breaks.

    Args:
        policy: Any policy; it is left as it was.
        batch: An even number of windows, with at least two different sentences.
        observation: At least two rows, every env_id different and not -1.
    """
    policy = _shaken(policy, SHAKE)
    policy.reset(observation.env_ids)
    check_gradients(policy, batch)
    policy.eval()
    check_loss(policy, batch)
    check_act(policy, observation)
    check_nothing(policy, observation)
    check_memory(policy, observation)
    check_rows(policy, observation)
    check_draws(policy, observation)
    check_checkpoint(policy, observation)


def check_gradients(policy: PolicyModule, batch: Batch) -> None:
    """Every trained parameter gets a gradient in training mode, no frozen one does."""
    policy.train()
    losses = policy.loss(batch)
    assert all(value.isfinite() for value in losses.values()), f"a loss is not finite: {losses}"
    losses["loss"].backward()
    for name, value in policy.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, f"no gradient reaches {name}"
            assert value.grad.isfinite().all(), f"the gradient of {name} is not finite"
            assert value.grad.any(), f"the gradient of {name} is zero"
        else:
            assert value.grad is None, f"the frozen {name} has a gradient"
    policy.zero_grad()


@torch.no_grad()
def check_loss(policy: PolicyModule, batch: Batch) -> None:
    """Padding counts as zero, the mean is over the full size, and autocast keeps float32."""
    action_mask, history_mask = batch.action_mask.clone(), batch.history_mask.clone()
    action_mask[0, :, -1] = False
    history_mask[1, :-1] = False
    masked = replace(batch, action_mask=action_mask, history_mask=history_mask)
    loss = _loss(policy, masked)
    action = masked.action.clone()
    action[~action_mask] = 9.0
    action[~history_mask] = 9.0
    _same(_loss(policy, replace(masked, action=action)), loss, "padded actions change the loss")
    if torch.equal(_loss(policy, masked, seed=1), loss):  # what draws, draws otherwise by halves
        halves = [_loss(policy, _rows(masked, part)) for part in _halves(len(masked))]
        mean = torch.stack(halves).mean()
        _same(mean, loss, "the mean over two processes is not the batch's loss")
    with torch.autocast(batch.state.device.type, torch.bfloat16):
        rough = _loss(policy, masked)
    assert rough.dtype == torch.float32, f"under autocast the loss is {rough.dtype}, not float32"


def check_act(policy: PolicyModule, observation: Observation) -> None:
    """The chunk has the right shape and range, is deterministic, and obeys the sentence."""
    chunk = _fresh(policy, observation)
    shape = (len(observation.env_ids), policy.config.horizon, policy.config.action_dim)
    assert chunk.shape == shape, f"the chunk has shape {tuple(chunk.shape)}, not {shape}"
    assert chunk.dtype == torch.float32, f"the chunk is {chunk.dtype}, not float32"
    assert chunk.isfinite().all(), "the chunk is not finite"
    assert not chunk.requires_grad, "the chunk holds on to gradients"
    assert torch.equal(_fresh(policy, observation), chunk), "two equal observations, two chunks"
    policy.train()
    assert torch.equal(_fresh(policy, observation), chunk), "training mode changes the chunk"
    assert policy.training, "act leaves another mode behind"
    policy.eval()
    told = replace(observation, instruction=[f"do not {s}" for s in observation.instruction])
    changes = (_fresh(policy, told) != chunk).flatten(1).any(dim=1)
    for seed in range(8):  # the likeliest of many words stays so for many a network: try others
        if changes.all():
            break
        other = _shaken(policy, 4 * SHAKE, seed=seed)
        changes |= (_fresh(other, told) != _fresh(other, observation)).flatten(1).any(dim=1)
    for row, changed in enumerate(changes):
        assert changed, f"row {row} acts the same whatever it is told: the sentence changes nothing"


def check_nothing(policy: PolicyModule, observation: Observation) -> None:
    """Pictures of zeros and an empty sentence, as the evaluation's controls, are answered."""
    black = {name: torch.zeros_like(picture) for name, picture in observation.image.items()}
    for one in (
        replace(observation, image=black),
        replace(observation, state=torch.zeros_like(observation.state)),
        replace(observation, instruction=[""] * len(observation.instruction)),
    ):
        chunk = _fresh(policy, one)
        assert chunk.isfinite().all(), "zeros or an empty sentence make a chunk that is not finite"


def check_memory(policy: PolicyModule, observation: Observation) -> None:
    """``reset`` forgets, each robot has its own memory, and padding rows leave none."""
    first = policy.act(observation)
    second = policy.act(_dim(observation))
    policy.reset(observation.env_ids)
    assert torch.equal(policy.act(observation), first), "reset does not forget"
    nobody = replace(_dim(observation), env_ids=[-1] * len(first))
    assert torch.equal(policy.act(nobody), policy.act(nobody)), (
        "a padding row (env_id -1) remembers"
    )
    again = policy.act(_dim(observation))
    assert torch.equal(again, second), "a padding row (env_id -1) changes a robot's memory"
    policy.reset(observation.env_ids[:1])
    mixed = policy.act(observation)
    _same(mixed[0], first[0], "reset of one robot among others does not forget")


def check_rows(policy: PolicyModule, observation: Observation) -> None:
    """A row's chunk depends neither on the other rows nor on their order."""
    chunk = _fresh(policy, observation)
    image = {name: picture.clone() for name, picture in observation.image.items()}
    for picture in image.values():
        picture[1:] = 255 - picture[1:]
    state = observation.state.clone()
    state[1:] += 1
    sentences = [observation.instruction[0], *(f"now {s}" for s in observation.instruction[1:])]
    other = _fresh(policy, replace(observation, image=image, state=state, instruction=sentences))
    assert torch.equal(other[0], chunk[0]), "a row's chunk depends on what other rows see"
    order = list(reversed(range(len(chunk))))
    turned = _fresh(policy, _rows(observation, order))
    _same(turned[order], chunk, "a row's chunk depends on the order of rows")


def check_draws(policy: PolicyModule, observation: Observation) -> None:
    """Noise comes from the generator: its seed decides a chunk, and rows of one state differ.

    Without a generator the noise follows from the observation, so rows of one state are the same.
    """
    twins = replace(_rows(observation, [0, 0]), env_ids=observation.env_ids[:2])
    plain = _fresh(policy, twins)
    _same(plain[1], plain[0], "without a generator two rows of one state differ")
    drawn = [_fresh(policy, twins, seed=seed) for seed in range(4)]
    assert torch.equal(_fresh(policy, twins, seed=0), drawn[0]), (
        "two generators with the same seed give two chunks"
    )
    if any(not torch.equal(chunk, plain) for chunk in drawn):
        assert any(not torch.allclose(*chunk) for chunk in drawn), (
            "with a generator two rows of one state draw the same"
        )


def check_checkpoint(policy: PolicyModule, observation: Observation) -> None:
    """A policy that was saved and loaded does exactly the same."""
    with TemporaryDirectory() as folder:
        save_policy(policy, Path(folder))
        loaded = load_policy(Path(folder))
    assert loaded.config == policy.config, "the config changes on its way through a checkpoint"
    assert torch.equal(_fresh(loaded, observation), _fresh(policy, observation)), (
        "a loaded policy acts otherwise than the saved one"
    )


@torch.no_grad()
def _shaken(policy: PolicyModule, spread: float, *, seed: int = 0) -> PolicyModule:
    """Return a copy whose trained parameters are moved by noise."""
    policy = copy.deepcopy(policy)
    generator = torch.Generator().manual_seed(seed)
    for value in policy.parameters():
        if value.requires_grad:
            value.add_(torch.randn(value.shape, generator=generator), alpha=spread)
    return policy


def _loss(policy: PolicyModule, batch: Batch, *, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return policy.loss(batch)["loss"]


def _fresh(policy: PolicyModule, observation: Observation, *, seed: int | None = None) -> Tensor:
    policy.reset(observation.env_ids)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    chunk = policy.act(observation, generator=generator)
    policy.reset(observation.env_ids)
    return chunk


def _same(ours: Tensor, theirs: Tensor, sentence: str) -> None:
    torch.testing.assert_close(ours, theirs, msg=lambda text: f"{sentence}: {text}")


def _dim(observation: Observation) -> Observation:
    image = {name: picture // 2 for name, picture in observation.image.items()}
    return replace(observation, image=image)


def _halves(size: int) -> tuple[list[int], list[int]]:
    return list(range(size // 2)), list(range(size // 2, size))


def _rows(whole: Any, rows: Sequence[int]) -> Any:
    """Return some rows of a batch or an observation, and of everything in it."""
    if isinstance(whole, Batch | Observation):
        parts = {field.name: getattr(whole, field.name) for field in fields(whole)}
        return replace(whole, **_rows(parts, rows))
    if isinstance(whole, Mapping):
        return {name: _rows(part, rows) for name, part in whole.items()}
    if isinstance(whole, Tensor):
        return whole[rows]
    return whole if whole is None else [whole[row] for row in rows]
