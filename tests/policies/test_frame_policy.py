"""What policies of one feature a frame share: choosing heads, grippers, noise, old checkpoints."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from eyehand.policies.bcz import BCZConfig
from eyehand.policies.frame_policy import WINDOW
from eyehand.policies.heads.bins import BinsHeadConfig
from eyehand.policies.heads.diffusion import DiffusionHeadConfig
from eyehand.policies.heads.fast import FASTHeadConfig
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.policies.heads.vq import VQHeadConfig
from eyehand.policies.inputs import row_seeds
from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.types import Batch, InputError, Observation

Make = Callable[..., Any]
DRAWING = (
    DiffusionHeadConfig(dim=16, steps=3),
    FlowHeadConfig(dim=16, steps=3),
    VQHeadConfig(codes=8),
)


def twins(batch: Batch) -> Observation:
    """Return two robots in the same state that see and are told the same."""
    return Observation(
        image={camera: image[[0, 0], -1] for camera, image in batch.image.items()},
        state=batch.state[[0, 0], -1],
        instruction=[batch.instruction[0]] * 2,
        env_ids=[-1, -1],
    )


@pytest.mark.parametrize("head", DRAWING, ids=lambda head: head.name)
def test_noise_comes_from_the_generator_or_from_the_state(
    head: Any, small_policy: Make, batch_for: Make
) -> None:
    policy = small_policy("bcz", head=head).eval()
    observation = twins(batch_for(policy.config))

    def drawn(seed: int) -> torch.Tensor:
        return policy.act(observation, generator=torch.Generator().manual_seed(seed))

    assert any(not torch.allclose(*drawn(seed)) for seed in range(5))
    assert torch.equal(drawn(3), drawn(3))
    assert any(not torch.equal(drawn(3), drawn(seed)) for seed in range(3))
    plain = policy.act(observation)
    torch.testing.assert_close(plain[0], plain[1])
    with torch.inference_mode():
        feature, _ = policy._features(
            observation.image, observation.state, observation.instruction, apart=True
        )
        want = policy.head.act(
            feature[:, None],
            history_mask=torch.ones(2, 1, dtype=torch.bool),
            seed=row_seeds(observation.state),
        )
    assert torch.equal(plain, policy.units.restore_action(want))


@pytest.mark.parametrize("config", [BCZConfig, RoboFlamingoConfig])
def test_a_chosen_head_gets_the_frames_that_it_needs(config: Any) -> None:
    single, window = config(history=1, head=BinsHeadConfig()), config(history=5)
    assert single.choose("head", "lstm").history == WINDOW
    assert window.choose("head", "gpt").history == 5
    assert window.choose("head", "flow").history == 1
    assert window.choose("head", "flow").head == FlowHeadConfig()
    with pytest.raises(InputError, match=r"no head 'flwo'.*'flow'"):
        single.choose("head", "flwo")
    with pytest.raises(InputError, match="has no eye to choose; it got 'left'"):
        single.choose("eye", "left")


@pytest.mark.parametrize("config", [BCZConfig, RoboFlamingoConfig])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gripper": 5}, "gripper must be at least 0 and at most action_dim=4; got 5"),
        ({"gripper": -1}, "gripper must be at least 0 .*; got -1"),
        ({"history": 0}, "history must be 1 to 1,000; got 0"),
        ({"cameras": ()}, "cameras must name at least one camera; got none"),
        ({"image_size": 100}, "multiple of 16 for the small vision encoder; got 100"),
        ({"history": 1, "head": FASTHeadConfig(vocabulary=64)}, "vocabulary must be above 81"),
    ],
)
def test_numbers_out_of_range_are_named(
    config: Any, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        config(**changes)


def test_a_robot_without_a_gripper(name: str, small_policy: Make, batch_for: Make) -> None:
    policy = small_policy(name, gripper=0)
    losses = policy.loss(batch_for(policy.config))
    assert "gripper" not in losses
    assert torch.equal(losses["loss"], losses["motion"])


def test_chunks_are_shown_to_the_head_in_units_of_the_network(small_policy: Make) -> None:
    head = BinsHeadConfig(bins=8, tail=0.0, dim=8, heads=2, head_dim=4)
    policy = small_policy("bcz", head=head)
    ends = torch.stack([policy.units.action_minimum, policy.units.action_maximum])
    policy.fit(ends[:, None].expand(-1, 5, -1))
    torch.testing.assert_close(policy.head.quantizer.low, -torch.ones(4))
    torch.testing.assert_close(policy.head.quantizer.high, torch.ones(4))
    small_policy("bcz").fit(ends[:, None].expand(-1, 5, -1))  # a head that learns nothing from it


def test_stages_are_parts_that_run(
    name: str, small_policy: Make, batch_for: Make, observe: Make
) -> None:
    """The eye has run for the last time before the head begins."""
    policy, order = small_policy(name), []
    stages = policy.stages()
    stages.perceive.register_forward_hook(lambda *_: order.append("seen"))
    for part in stages.act.modules():
        part.register_forward_pre_hook(lambda *_: order.append("acts"))
    policy.act(observe(batch_for(policy.config)))
    assert order[0] == "seen"
    assert order.index("acts") == order.count("seen")
