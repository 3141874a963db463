"""The battery over every policy of frames; and each of its promises, broken, is noticed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from eyehand.policies.check import check_policy
from eyehand.policies.contract import PolicyModule
from eyehand.policies.frame_policy import FramePolicyConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.registry import HEADS
from eyehand.policies.registry import policy_configs
from eyehand.types import Batch, Observation

Make = Callable[..., Any]
FRAME_POLICIES = [one.name for one in policy_configs() if issubclass(one, FramePolicyConfig)]


@pytest.mark.parametrize(
    ("name", "changes", "language"),
    [
        *((name, {"landmarks": 2}, "tiny_bert") for name in FRAME_POLICIES),
        *((name, {}, "tiny_llama") for name in FRAME_POLICIES),
        ("bcz", {"cameras": ("left", "right"), "blocks": 2, "octaves": 0}, "tiny_bert"),
        ("roboflamingo", {"cameras": ("left", "right"), "every": 3}, "tiny_llama"),
        ("roboflamingo", {"head": MLPHeadConfig(dims=(8,)), "history": 2}, "tiny_bert"),
    ],
)
def test_every_policy_passes(
    name: str,
    changes: dict[str, Any],
    language: str,
    small_policy: Make,
    batch_for: Make,
    observe: Make,
    request: pytest.FixtureRequest,
) -> None:
    folder: Path = request.getfixturevalue(language)
    policy = small_policy(name, language=f"transformers:{folder}", **changes)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    batch = batch_for(policy.config)
    check_policy(policy, batch, observe(batch))
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())


def test_a_pretrained_vision_encoder_passes(
    tiny_vit: Path, small_policy: Make, batch_for: Make, observe: Make
) -> None:
    policy = small_policy("roboflamingo", vision=f"transformers:{tiny_vit}")
    batch = batch_for(policy.config)
    check_policy(policy, batch, observe(batch))


@pytest.mark.parametrize(("name", "vision"), [("bcz", "mobilenet"), ("roboflamingo", "lenet5")])
def test_a_vision_network_by_its_name_is_an_eye(
    name: str, vision: str, small_policy: Make, batch_for: Make, observe: Make
) -> None:
    policy = small_policy(name, vision=vision)
    batch = batch_for(policy.config)
    check_policy(policy, batch, observe(batch))


SMALL_HEADS: dict[str, dict[str, Any]] = {
    "fast": {"vocabulary": 64, "dim": 16, "heads": 2, "head_dim": 8},
    "bins": {"bins": 64, "dim": 16, "heads": 2, "head_dim": 8},
    "diffusion": {"dim": 16, "steps": 3},
    "flow": {"dim": 16, "steps": 3},
    "vq": {"codes": 2},  # more than a batch has rows would be equal codes, and ties
}


@pytest.mark.parametrize(
    ("name", "head"), [*(("bcz", head) for head in HEADS), ("roboflamingo", "flow")]
)
def test_every_head_passes_on_a_policy(
    name: str, head: str, small_policy: Make, batch_for: Make, observe: Make
) -> None:
    config = HEADS[head](**SMALL_HEADS.get(head, {}))
    policy = small_policy(name, head=config, history=3 if config.needs_history else 1)
    batch = batch_for(policy.config)
    policy.fit(batch.action.flatten(0, 1))
    check_policy(policy, batch, observe(batch))


def break_masks(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = type(policy).loss

    def without_masks(self: PolicyModule, batch: Batch) -> Any:
        return loss(self, replace(batch, action_mask=torch.ones_like(batch.action_mask)))

    monkeypatch.setattr(type(policy), "loss", without_masks)


def break_sentence(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    act = type(policy).act

    def deaf(self: PolicyModule, observation: Observation, **_: Any) -> Any:
        return act(self, replace(observation, instruction=["open"] * len(observation.env_ids)))

    monkeypatch.setattr(type(policy), "act", deaf)


def break_reset(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(policy), "reset", lambda *_: None)


def break_rows(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    act = type(policy).act
    monkeypatch.setattr(
        type(policy), "act", lambda self, seen, **_: act(self, seen) * seen.state.mean().cos()
    )


def break_units(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    act = type(policy).act
    monkeypatch.setattr(type(policy), "act", lambda self, seen, **_: act(self, seen).double())


def break_generator(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    act = type(policy).act

    def noisy(self: PolicyModule, seen: Observation, *, generator: Any = None) -> Any:
        chunk = act(self, seen)
        return chunk if generator is None else chunk + torch.rand(())

    monkeypatch.setattr(type(policy), "act", noisy)


def break_twins(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    act = type(policy).act

    def alike(self: PolicyModule, seen: Observation, *, generator: Any = None) -> Any:
        chunk = act(self, seen)
        return chunk if generator is None else chunk + torch.rand((), generator=generator)

    monkeypatch.setattr(type(policy), "act", alike)


def break_darkness(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    act = type(policy).act

    def bright(self: PolicyModule, seen: Observation, **arguments: Any) -> Any:
        lightness = torch.stack([one.float().mean() for one in seen.image.values()]).mean()
        return act(self, seen, **arguments) * (lightness / lightness)

    monkeypatch.setattr(type(policy), "act", bright)


def break_gradients(policy: PolicyModule, monkeypatch: pytest.MonkeyPatch) -> None:
    policy.register_parameter("forgotten", torch.nn.Parameter(torch.zeros(2)))


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (break_masks, "padded actions change the loss"),
        (break_sentence, "the sentence changes nothing"),
        (break_reset, "two equal observations, two chunks"),
        (break_rows, "depends on what other rows see"),
        (break_units, "the chunk is torch.float64, not float32"),
        (break_generator, "two generators with the same seed give two chunks"),
        (break_twins, "with a generator two rows of one state draw the same"),
        (break_darkness, "zeros or an empty sentence make a chunk that is not finite"),
        (break_gradients, "no gradient reaches forgotten"),
    ],
)
def test_a_broken_promise_is_noticed(
    broken: Callable[[PolicyModule, pytest.MonkeyPatch], None],
    sentence: str,
    small_policy: Make,
    batch_for: Make,
    observe: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = small_policy("roboflamingo")
    batch = batch_for(policy.config)
    broken(policy, monkeypatch)
    with pytest.raises(AssertionError, match=sentence):
        check_policy(policy, batch, observe(batch))
