import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eyehand.policies.contract import PolicyModule
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.types import Batch, InputError, Observation


def open_gates(policy: PolicyModule) -> None:
    for name, value in policy.named_parameters():
        if value.requires_grad and name.startswith("language."):
            nn.init.normal_(value, std=0.3)


def trained_parts(policy: PolicyModule) -> set[str]:
    return {
        ".".join(name.split(".")[:2]) if name.startswith("language") else name.split(".")[0]
        for name, value in policy.named_parameters()
        if value.requires_grad
    }


def test_what_is_trained_with_the_small_encoder(
    small_policy: Callable[..., PolicyModule],
) -> None:
    assert trained_parts(small_policy("roboflamingo")) == {
        "vision", "to_token", "to_position", "resampler", "language.gates", "head"
    }  # fmt: skip


def scenes() -> torch.Tensor:
    """Return pictures of a square on a grey table, each with the square somewhere else."""
    pictures = torch.full((16, 48, 48, 3), 105, dtype=torch.uint8)
    for picture, (down, right) in zip(pictures, torch.randint(4, 40, (16, 2)), strict=True):
        picture[down : down + 4, right : right + 4] = torch.tensor([200, 30, 30])
    return pictures


def spread(feature: torch.Tensor) -> float:
    """Return how much a feature differs from scene to scene, of its size."""
    return float(feature.std(dim=0).mean() / feature.abs().mean())


@pytest.mark.parametrize("gate", [1.0, 0.0])
def test_scenes_differ_in_the_feature_before_training(
    small_policy: Callable[..., PolicyModule], gate: float
) -> None:
    """Of 11 % in the tokens 0.02 % was left in the feature; with closed gates nothing passes."""
    torch.manual_seed(0)
    sizes = {"dim": 64, "head_dim": 16, "latents": 16, "history": 1, "image_size": 48}
    policy = small_policy("roboflamingo", gate=gate, head=MLPHeadConfig(dims=(8,)), **sizes).eval()
    with torch.no_grad():
        feature, _ = policy.encode(
            {policy.config.cameras[0]: scenes()},
            torch.zeros(16, 4),
            ["push the puck"] * 16,
            apart=False,
        )
    found = spread(feature[:, : policy.language.dim])
    assert found == 0 if gate == 0 else found > 0.03


def test_what_is_trained_with_a_pretrained_encoder(
    small_policy: Callable[..., PolicyModule], tiny_vit: Path
) -> None:
    policy = small_policy("roboflamingo", vision=f"transformers:{tiny_vit}")
    assert trained_parts(policy) == {
        "to_token", "to_position", "resampler", "language.gates", "head"
    }  # fmt: skip
    policy.train()
    frozen = [*policy.vision.model.modules(), *policy.language.model.modules()]
    assert not any(module.training for module in frozen)


@pytest.mark.parametrize("skipped", [0, 2])
def test_acting_step_by_step_equals_the_window_at_once(
    small_policy: Callable[..., PolicyModule],
    batch_for: Callable[..., Batch],
    observe: Callable[..., Observation],
    skipped: int,
) -> None:
    policy = small_policy("roboflamingo").eval()
    open_gates(policy)
    batch = batch_for(policy.config)
    history = policy.config.history
    history_mask = batch.history_mask.clone()
    history_mask[:, :skipped] = False
    chunks = [policy.act(observe(batch, frame)) for frame in range(skipped, history)]
    padding = [torch.zeros_like(chunks[0])] * skipped
    window = replace(
        batch, action=torch.stack([*padding, *chunks], dim=1), history_mask=history_mask
    )
    with torch.no_grad():
        same = policy.loss(window)["motion"]
        turned = policy.loss(replace(window, action=window.action.flip(1)))["motion"]
    assert same < 1e-10
    assert turned > 1e-6  # so the number above could have been larger


def test_memory_holds_no_more_than_a_window(
    small_policy: Callable[..., PolicyModule],
    batch_for: Callable[..., Batch],
    observe: Callable[..., Observation],
) -> None:
    policy = small_policy("roboflamingo").eval()
    batch = batch_for(policy.config)
    history = policy.config.history
    frames = [*range(history), *range(history)]
    long = [policy.act(observe(batch, frame)) for frame in frames][-1]
    policy.reset(observe(batch).env_ids)
    short = [policy.act(observe(batch, frame)) for frame in range(history)][-1]
    assert torch.equal(long, short)
    policy.reset(observe(batch).env_ids)
    assert not policy._memory._windows


def test_two_cameras_are_told_apart(
    small_policy: Callable[..., PolicyModule],
    batch_for: Callable[..., Batch],
    observe: Callable[..., Observation],
) -> None:
    policy = small_policy("roboflamingo", cameras=("left", "right"), head=MLPHeadConfig(dims=(8,)))
    open_gates(policy)
    observation = observe(batch_for(policy.config))
    left, right = observation.image["left"], observation.image["right"]
    swapped = replace(observation, image={"left": right, "right": left})
    assert not torch.equal(policy.act(observation), policy.act(swapped))


def test_windows_of_another_length_are_refused(
    small_policy: Callable[..., PolicyModule],
    small_config: Callable[..., RoboFlamingoConfig],
    batch_for: Callable[..., Batch],
) -> None:
    policy = small_policy("roboflamingo")
    batch = batch_for(small_config("roboflamingo", history=6))
    with pytest.raises(InputError, match="windows have 6 frames, the policy was made for 4"):
        policy.loss(batch)


def test_a_long_sentence_of_another_robot_changes_no_bit(
    small_policy: Callable[..., PolicyModule],
    batch_for: Callable[..., Batch],
    observe: Callable[..., Observation],
) -> None:
    policy = small_policy("roboflamingo", head=MLPHeadConfig(dims=(8,))).eval()
    open_gates(policy)
    observation = observe(batch_for(policy.config))
    long = "please " * 15 + "now push the red puck"
    mixed = replace(observation, instruction=[*observation.instruction[:3], long])
    got, want = policy.act(mixed), policy.act(observation)
    assert torch.equal(got[:3], want[:3])
    assert not torch.equal(got[3], want[3])
    alone = replace(observation, instruction=[long] * 4)
    assert torch.equal(policy.act(alone)[3], got[3])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"vision": "efficientnet-lite"}, "Did you mean 'efficientnet-lite0'"),
        ({"every": 9}, "4 blocks; got 9"),
    ],
)
def test_configs_that_make_no_network_are_refused(
    changes: dict[str, Any], sentence: str, small_policy: Callable[..., PolicyModule]
) -> None:
    with pytest.raises(InputError, match=sentence):
        small_policy("roboflamingo", **changes)


def test_landmarks_of_padding_before_the_start_cost_nothing(
    small_policy: Callable[..., PolicyModule], batch_for: Callable[..., Batch]
) -> None:
    policy = small_policy("roboflamingo", landmarks=2).eval()
    batch = batch_for(policy.config)
    batch.history_mask[1, :-1] = False
    moved = torch.zeros_like(batch.landmarks)
    moved[~batch.history_mask] = 0.5
    still = replace(batch, landmarks=torch.zeros_like(moved))
    with torch.no_grad():
        want = policy.loss(still)["landmark"]
        assert torch.equal(policy.loss(replace(batch, landmarks=moved))["landmark"], want)
        everywhere = replace(still, history_mask=torch.ones_like(batch.history_mask))
        assert policy.loss(everywhere)["landmark"] > want


def test_the_landmark_loss_by_hand(
    small_policy: Callable[..., PolicyModule], batch_for: Callable[..., Batch]
) -> None:
    """Huber's loss with the threshold 0.1, divided by it, of every coordinate; and attention's."""
    policy = small_policy("roboflamingo", landmarks=2).eval()
    nn.init.zeros_(policy.to_landmarks.weight)
    nn.init.zeros_(policy.resampler.layers[0].attention.to_query.weight)
    with torch.no_grad():
        policy.to_landmarks.bias.copy_(torch.tensor([0.1, 0.2, -0.3, 0.4]))
    batch = batch_for(policy.config)
    landmarks = torch.zeros_like(batch.landmarks)
    landmarks[:, :, 1] = torch.tensor([-0.3, 0.45, 9.0])
    found = policy.loss(replace(batch, landmarks=landmarks))["landmark"]
    off = [0.1, 0.2, 0.0, 0.05]
    read = sum(x - 0.05 if x > 0.1 else 5 * x * x for x in off) / 4
    # Attention that asks for nothing is the same everywhere: one of 16 cells, for either landmark.
    torch.testing.assert_close(found, torch.tensor(read + 0.1 * math.log(16)))


@pytest.mark.parametrize("trained", ["head", "adapters", "all"])
def test_what_learns(
    small_policy: Callable[..., PolicyModule], batch_for: Callable[..., Batch], trained: str
) -> None:
    policy = small_policy("roboflamingo", trained=trained, landmarks=2)
    policy.loss(batch_for(policy.config))["loss"].backward()
    moved = {
        ".".join(name.split(".")[:2]) if name.startswith("language") else name.split(".")[0]
        for name, value in policy.named_parameters()
        if value.grad is not None and value.grad.any()
    }
    own = {"head", "to_landmarks"}
    if trained != "head":
        own |= {"vision", "to_token", "to_position", "resampler", "language.gates"}
    if trained == "all":
        own |= {"language.model"}
    assert moved == own
