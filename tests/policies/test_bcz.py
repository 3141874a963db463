from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from eyehand.models.vision.patch_encoder import Maps
from eyehand.policies.bcz import BCZ, BCZConfig, SentenceKeypoints
from eyehand.policies.contract import PolicyModule
from eyehand.policies.normalization import blank_statistics
from eyehand.types import Batch, InputError, Observation


def test_only_the_language_model_is_frozen(small_policy: Callable[..., PolicyModule]) -> None:
    policy = small_policy("bcz")
    frozen = {
        name.split(".")[0] for name, value in policy.named_parameters() if not value.requires_grad
    }
    trained = {
        name.split(".")[0] for name, value in policy.named_parameters() if value.requires_grad
    }
    assert frozen == {"sentence"}
    assert trained == {
        "blocks", "encoder", "film", "head", "keypoints", "reduce", "to_context"
    }  # fmt: skip


def test_it_learns_to_tell_sentences_apart(
    small_policy: Callable[..., PolicyModule],
    batch_for: Callable[..., Batch],
    observe: Callable[..., Observation],
) -> None:
    """The same picture, two sentences, opposite actions: only the words can tell."""
    policy = small_policy("bcz", horizon=1)
    batch = batch_for(policy.config, size=8)
    same = {camera: image[:1].expand_as(image) for camera, image in batch.image.items()}
    sign = torch.tensor([1.0, -1.0]).repeat(4)
    batch = replace(
        batch,
        image=same,
        state=batch.state[:1].expand_as(batch.state),
        instruction=["open the drawer", "close the drawer"] * 4,
        action=0.4 * sign[:, None, None, None].expand(8, 1, 1, 4),
    )
    optimizer = torch.optim.Adam((v for v in policy.parameters() if v.requires_grad), lr=1e-2)
    for _ in range(150):
        loss = policy.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    action = policy.act(observe(batch))
    torch.testing.assert_close(action[:2, 0, :3], batch.action[:2, 0, 0, :3], rtol=0, atol=0.1)


def test_keypoints_are_the_modulated_map_projected() -> None:
    """One bmm per map gives what FiLM and a 1x1 convolution would, up to a constant per map."""
    torch.manual_seed(0)
    layer = SentenceKeypoints(2, dims=(3, 5), context_dim=4).double()
    maps = Maps(*(torch.randn(1, d, s, s).double() for d, s in ((3, 8), (5, 4), (6, 2))))
    context = torch.randn(1, 4).double()
    got = layer(maps, context)
    fine_query = layer.to_queries[0](context).view(3, 2)
    middle_query = layer.to_queries[1](context).view(5, 2)
    fine = torch.einsum("chw,ck->khw", maps.fine[0], fine_query)
    middle = torch.einsum("chw,ck->khw", maps.middle[0], middle_query)
    logits = fine + middle.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    heat = logits.flatten(1).softmax(dim=-1).view(2, 8, 8)
    line = torch.linspace(-1, 1, 8, dtype=torch.float64)
    want = torch.stack([(heat.sum(dim=1) * line).sum(-1), (heat.sum(dim=2) * line).sum(-1)], dim=-1)
    torch.testing.assert_close(got[0], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 100}, "multiple of 16; got 100"),
        ({"image_size": 0}, "multiple of 16; got 0"),
        ({"cameras": ()}, "at least one camera"),
    ],
)
def test_configs_that_make_no_network_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        BCZConfig(**changes)


def test_default_size() -> None:
    policy = BCZ(BCZConfig(), statistics=blank_statistics(state_dim=4, action_dim=4))
    trained = sum(value.numel() for value in policy.parameters() if value.requires_grad)
    assert 3e6 < trained < 4e6
