import pytest
import torch
from torch.nn import functional as F

from eyehand.policies.heads.check import check_head
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HEADS
from eyehand.policies.heads.regression import regression_loss


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    motion, gripper = 2 * torch.randn(2, 3, 4, 3), torch.randn(2, 3, 4, 1)
    return motion, gripper, 2 * torch.rand(2, 3, 4, 4) - 1, torch.rand(2, 3, 4) > 0.4


@pytest.mark.parametrize("delta", [1.0, 0.1])
def test_matches_torch_entry_by_entry(delta: float) -> None:
    motion, gripper, action, mask = example()
    got = regression_loss(motion, gripper, action, mask, huber_delta=delta, gripper_weight=0.3)
    motion_total, gripper_total = 0.0, 0.0
    for place in mask.nonzero().tolist():
        where = tuple(place)
        huber = F.huber_loss(motion[where], action[where][:3], delta=delta, reduction="sum")
        motion_total += huber.item() / delta
        target = (action[where][3] + 1) / 2
        close = gripper[where][0].sigmoid()
        gripper_total -= (target * close.log() + (1 - target) * (1 - close).log()).item()
    assert got["motion"].item() == pytest.approx(motion_total / (2 * 3 * 4 * 3), rel=1e-5)
    assert got["gripper"].item() == pytest.approx(gripper_total / (2 * 3 * 4), rel=1e-5)
    assert got["loss"].item() == pytest.approx(
        got["motion"].item() + 0.3 * got["gripper"].item(), rel=1e-6
    )


def test_the_mean_over_processes_is_the_loss_of_the_batch() -> None:
    *predictions, mask = example()
    mask[0] = True  # so that the halves differ in what they mask
    parts = (*predictions, mask)
    settings = {"huber_delta": 1.0, "gripper_weight": 0.3}
    whole = regression_loss(*parts, **settings)["loss"]
    halves = [
        regression_loss(*(part[row : row + 1] for part in parts), **settings)["loss"]
        for row in range(2)
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)


def test_the_best_gripper_is_the_label_itself() -> None:
    """A soft label in the middle is answered by its own probability: 2p - 1 gives it back."""
    label = torch.tensor(0.6)
    logit = torch.zeros(1, 1, 1, 1, requires_grad=True)
    optimizer = torch.optim.SGD([logit], lr=2.0)
    action = torch.stack([torch.tensor(0.0), label])[None, None, None]
    for _ in range(200):
        loss = regression_loss(
            torch.zeros(1, 1, 1, 1), logit, action, torch.ones(1, 1, 1, dtype=torch.bool),
            huber_delta=1.0, gripper_weight=1.0,
        )["loss"]  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(2 * logit.sigmoid().squeeze() - 1, label, rtol=0, atol=1e-3)


@pytest.mark.parametrize("gripper", [0, 2, 4])
def test_as_many_numbers_are_grippers_as_said(gripper: int) -> None:
    torch.manual_seed(0)
    config = MLPHeadConfig(dims=(8,), gripper_weight=0.3)
    head = config.build(3, horizon=2, action_dim=4, gripper=gripper)
    feature, action = torch.randn(1, 1, 3), 2 * torch.rand(1, 1, 2, 4) - 1
    said = head.to_action(head.layers(feature)).view(1, 1, 2, 4)
    moves, closes = said[..., : 4 - gripper], said[..., 4 - gripper :]
    parts = {
        "motion": F.smooth_l1_loss(moves, action[..., : 4 - gripper], beta=0.1),
        "gripper": F.binary_cross_entropy_with_logits(closes, (action[..., 4 - gripper :] + 1) / 2),
    }
    mask = torch.ones(1, 1, 2, dtype=torch.bool)
    losses = head.loss(feature, action, action_mask=mask, history_mask=mask[..., 0])
    there = {"motion": gripper < 4, "gripper": gripper > 0}
    for name, part in parts.items():
        assert (name in losses) == there[name]
        if there[name]:
            torch.testing.assert_close(losses[name], part)
    whole = there["motion"] * parts["motion"].nan_to_num()
    whole = whole + 0.3 * there["gripper"] * parts["gripper"].nan_to_num()
    torch.testing.assert_close(losses["loss"], whole)
    want = torch.cat([moves.clamp(-1, 1), 2 * closes.sigmoid() - 1], dim=-1)
    got = head.act(feature, history_mask=mask[..., 0], seed=torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(got, want[:, 0])


@pytest.mark.parametrize("name", ["mlp", "mlp_history", "lstm", "gpt"])
def test_a_shortcut_adds_what_the_head_of_single_frames_says(name: str) -> None:
    torch.manual_seed(0)
    config = HEADS[name](shortcut=(6,))
    alone = MLPHeadConfig(dims=(6,)).build(5, horizon=2, action_dim=4)
    head = config.build(5, horizon=2, action_dim=4).eval()
    check_head(head, dim=5, horizon=2, action_dim=4)
    head.shortcut.load_state_dict(alone.state_dict())
    feature, mask = torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.bool)
    given = {"history_mask": mask, "seed": torch.zeros(3, dtype=torch.int64)}
    assert not torch.allclose(head.act(feature, **given), alone.act(feature, **given))
    for weight in head.to_action.parameters():
        torch.nn.init.zeros_(weight)
    torch.testing.assert_close(head.act(feature, **given), alone.act(feature, **given))


def test_half_precision_predictions_give_a_float32_loss() -> None:
    motion, gripper, action, mask = example()
    got = regression_loss(
        motion.bfloat16(), gripper.bfloat16(), action, mask, huber_delta=1.0, gripper_weight=0.3
    )
    assert {value.dtype for value in got.values()} == {torch.float32}


def test_what_is_drawn_has_the_density_of_a_gaussian() -> None:
    torch.manual_seed(0)
    head = MLPHeadConfig(dims=(8,)).build(3, horizon=2, action_dim=4).eval()
    feature, mask = torch.randn(5, 1, 3), torch.ones(5, 1, dtype=torch.bool)
    with torch.no_grad():
        middle = head.act(feature, history_mask=mask, seed=torch.arange(5))
        chunk, trace = head.draw(feature, history_mask=mask, seed=torch.arange(5), randomness=0.2)
        executed = torch.tensor([[True, False]]).expand(5, 2)
        found = head.log_prob(feature, trace, history_mask=mask, executed=executed, randomness=0.2)
    wanted = torch.distributions.Normal(middle, 0.2).log_prob(trace).sum(dim=-1)
    torch.testing.assert_close(found, wanted[:, 0])  # nothing it says is beyond [-1, 1]
    assert torch.equal(chunk, trace.clamp(-1, 1))
