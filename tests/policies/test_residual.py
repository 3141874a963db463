"""A residual policy is its base at first, moves actions by alpha at most, and is a checkpoint."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from eyehand.policies import check
from eyehand.policies.bcz import BCZConfig
from eyehand.policies.heads.diffusion import DiffusionHeadConfig
from eyehand.policies.heads.flow import FlowHeadConfig
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.vq import VQHeadConfig
from eyehand.policies.registry import describe_policy, restore_config
from eyehand.policies.residual import ResidualConfig, ResidualPolicy
from eyehand.types import Batch, InputError, Observation

Make = Callable[..., Any]
EXECUTED, ALPHA = 3, 0.1


@pytest.fixture
def make(small_policy: Make) -> Make:
    """From a base's name and how far its correction is from zero to a residual policy."""

    def make(name: str = "bcz", *, spread: float = 0.0, **changes: Any) -> ResidualPolicy:
        base = small_policy(name, **changes).eval()
        config = ResidualConfig.over(base.config, executed=EXECUTED, alpha=ALPHA, dims=(8,))
        policy = ResidualPolicy(config, statistics={}, base=base).eval()
        with torch.no_grad():
            for weight in policy.correction.parameters():
                weight.add_(spread * torch.randn_like(weight))
        return policy

    return make


def many(batch: Batch, rows: int) -> Observation:
    """Return as many robots in the same state that see and are told the same."""
    return Observation(
        image={one: image[:1, -1].expand(rows, -1, -1, -1) for one, image in batch.image.items()},
        state=batch.state[:1, -1].expand(rows, -1),
        instruction=batch.instruction[:1] * rows,
        env_ids=[-1] * rows,
    )  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"head": MLPHeadConfig(dims=(8,))},
        {"head": LSTMHeadConfig(dim=16, depth=1, dims=(8,)), "history": 3},
        {"head": DiffusionHeadConfig(dim=16, steps=3)},
        {"head": FlowHeadConfig(dim=16, steps=3)},
        {"head": VQHeadConfig(codes=2)},
    ],
    ids=lambda changes: changes["head"].name,
)
def test_at_first_it_acts_as_its_base_to_the_bit(
    changes: dict[str, Any], make: Make, batch_for: Make, observe: Make
) -> None:
    policy = make(**changes)
    seen = observe(batch_for(policy.config.base))
    policy.base.head.fit(torch.rand(32, 5, 4) - 0.5)
    for seed in (None, 3):
        chunks = []
        for one in (policy.base, policy):
            policy.reset(seen.env_ids)
            generator = None if seed is None else torch.Generator().manual_seed(seed)
            chunks.append([one.act(seen, generator=generator) for _ in range(3)])
        for wanted, found in zip(*chunks, strict=True):
            assert torch.equal(wanted, found)


def test_a_correction_is_bounded_and_of_executed_actions_alone(
    make: Make, batch_for: Make, observe: Make
) -> None:
    policy = make(spread=3.0)
    seen = observe(batch_for(policy.config.base))
    base = policy.units.normalize_action(policy.base.act(seen))
    drawn, _ = policy.draw(seen, seed=torch.arange(len(base)), randomness=1.0)
    for chunk in (policy.act(seen), drawn):
        moved = policy.units.normalize_action(chunk) - base
        assert 0.5 * ALPHA < moved.abs().max() <= ALPHA + 1e-6
        torch.testing.assert_close(moved[:, EXECUTED:], torch.zeros_like(moved[:, EXECUTED:]))
        assert (policy.units.normalize_action(chunk).abs() <= 1 + 1e-6).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_as_many_decisions_are_corrected_as_wanted(
    share: float, make: Make, batch_for: Make
) -> None:
    policy = make()
    seen = many(batch_for(policy.config.base), 200)
    chunk, drawn = policy.draw(seen, seed=torch.arange(200), randomness=share)
    base, residual = drawn.sample.chunk(2, dim=1)
    is_corrected = (residual != 0).any(dim=1)
    assert abs(float(is_corrected.float().mean()) - share) < 0.1 * (0 < share < 1) + 1e-9
    alone = policy.base.act(seen)
    assert torch.equal(chunk[~is_corrected], alone[~is_corrected])
    # Where it is corrected, the Gaussian is a whole one: its mean is not shifted by the choice.
    if share:
        assert residual[is_corrected].mean().abs() < 0.1
    wanted = policy.units.restore_action(
        (base + ALPHA * residual).clamp(-1, 1).unflatten(1, (EXECUTED, 4))
    )
    torch.testing.assert_close(chunk[:, :EXECUTED], wanted)


def test_what_is_drawn_does_not_depend_on_who_is_beside(make: Make, batch_for: Make) -> None:
    policy = make()
    batch = batch_for(policy.config.base)
    both, _ = policy.draw(many(batch, 2), seed=torch.tensor([5, 6]), randomness=1.0)
    alone, _ = policy.draw(many(batch, 1), seed=torch.tensor([6]), randomness=1.0)
    torch.testing.assert_close(both[1:], alone)
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize("name", ["bcz", "roboflamingo"])
def test_the_promises_of_policies_are_kept(
    name: str, make: Make, batch_for: Make, observe: Make
) -> None:
    """Those of acting and of checkpoints; the losses are the base's."""
    policy = make(name, spread=1.0)
    batch = batch_for(policy.config.base)
    seen = observe(batch)
    for part in (
        check.check_act, check.check_nothing, check.check_memory, check.check_rows,
        check.check_draws, check.check_checkpoint,
    ):  # fmt: skip
        policy.reset(seen.env_ids)
        part(policy, seen)
    assert torch.equal(policy.loss(batch)["loss"], policy.base.loss(batch)["loss"])
    assert policy.get_submodule(policy.eye_name) is policy.base.get_submodule(policy.base.eye_name)
    assert policy.look(observe(batch_for(policy.config.base, size=1))) is not None
    assert policy.stages() == policy.base.stages()


def test_its_config_comes_back_from_json() -> None:
    config = ResidualConfig.over(BCZConfig(horizon=8, head=FlowHeadConfig(steps=3)), alpha=0.05)
    description = json.loads(json.dumps(describe_policy(config)))
    assert (description["name"], description["base"]["name"]) == ("residual", "bcz")
    assert restore_config(description) == config
    assert ResidualConfig().base == BCZConfig()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"executed": 17}, r"ResidualConfig\.executed must be 1 to 16; got 17"),
        ({"alpha": 0.0}, r"ResidualConfig\.alpha must be 1e-06 to 2; got 0\.0"),
        ({"dims": ()}, r"ResidualConfig\.dims must name one width or more; got none"),
        ({"horizon": 8}, r"ResidualConfig\.horizon must be that of its base, 16; got 8"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ResidualConfig(**changes)


@pytest.mark.parametrize("base", [{}, {"name": "bzc"}, describe_policy(ResidualConfig())])
def test_a_base_that_is_none_is_refused(base: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="policy"):
        restore_config({**describe_policy(ResidualConfig()), "base": base})
