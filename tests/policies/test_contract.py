from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from eyehand.policies.contract import PolicyModule, evaluation_mode
from eyehand.types import Batch, Observation

MakePolicy = Callable[..., PolicyModule]
MakeBatch = Callable[..., Batch]


def test_the_mode_comes_back_after_an_error() -> None:
    layer = nn.Sequential(nn.Dropout())
    with pytest.raises(RuntimeError, match="stop"), evaluation_mode(layer):
        raise RuntimeError("stop")
    assert layer[0].training


def test_evaluation_mode_stays_evaluation_mode() -> None:
    layer = nn.Dropout().eval()
    with evaluation_mode(layer):
        assert not layer.training
    assert not layer.training


def test_a_policy_without_its_methods_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PolicyModule()  # type: ignore[abstract]


def test_landmarks_add_their_weighted_loss_and_are_no_input(
    name: str, small_policy: MakePolicy, batch_for: MakeBatch
) -> None:
    policy = small_policy(name, landmarks=2, landmark_weight=0.3).eval()
    batch = batch_for(policy.config)
    without = policy.loss(replace(batch, landmarks=None))
    assert "landmark" not in without
    losses = policy.loss(batch)
    assert losses["landmark"] > 0
    torch.testing.assert_close(losses["loss"], without["loss"] + 0.3 * losses["landmark"])
    for part in without.keys() - {"loss"}:
        assert torch.equal(losses[part], without[part])


def test_acting_does_not_read_landmarks(
    name: str,
    small_policy: MakePolicy,
    batch_for: MakeBatch,
    observe: Callable[..., Observation],
) -> None:
    """A policy that was taught them acts, to the bit, as one with its weights that was not."""
    assert "landmarks" not in {field.name for field in fields(Observation)}
    taught, plain = small_policy(name, landmarks=2), small_policy(name)
    weights = taught.state_dict()
    plain.load_state_dict({key: weights[key] for key in plain.state_dict()})
    observation = observe(batch_for(plain.config))
    assert torch.equal(taught.act(observation), plain.act(observation))


def test_a_policy_that_was_taught_none_ignores_landmarks(
    name: str, small_policy: MakePolicy, batch_for: MakeBatch
) -> None:
    policy = small_policy(name).eval()
    batch = batch_for(policy.config)
    told = replace(batch, landmarks=torch.zeros(*batch.history_mask.shape, 4, 3))
    assert policy.loss(told).keys() == policy.loss(batch).keys()
    assert torch.equal(policy.loss(told)["loss"], policy.loss(batch)["loss"])


def test_points_outside_the_picture_cost_nothing(
    name: str, small_policy: MakePolicy, batch_for: MakeBatch
) -> None:
    policy = small_policy(name, landmarks=2).eval()
    batch = batch_for(policy.config)
    landmarks = torch.zeros_like(batch.landmarks)
    landmarks[:, :, 1, 0] = -1.01  # beside the picture, on a level with it

    def loss(second_y: float, first_y: float = 0.0) -> torch.Tensor:
        landmarks[:, :, 1, 1], landmarks[:, :, 0, 1] = second_y, first_y
        return policy.loss(replace(batch, landmarks=landmarks))["landmark"]

    assert torch.equal(loss(0.5), loss(-0.8))
    assert not torch.equal(loss(0.5), loss(0.5, first_y=0.3))
    assert loss(0.5, first_y=1.2) == 0


def test_the_distance_of_a_landmark_is_not_taught(
    name: str, small_policy: MakePolicy, batch_for: MakeBatch
) -> None:
    policy = small_policy(name, landmarks=2).eval()
    batch = batch_for(policy.config)
    far = batch.landmarks.clone()
    far[..., 2] += 3
    assert torch.equal(
        policy.loss(replace(batch, landmarks=far))["loss"], policy.loss(batch)["loss"]
    )
