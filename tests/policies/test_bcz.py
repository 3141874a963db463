import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from eyehand.functional.picture import scale_image
from eyehand.models.vision.patch_encoder import Maps
from eyehand.nn.keypoint import heat_map_loss, spatial_soft_argmax
from eyehand.policies.bcz import BCZ, BCZConfig, SentenceKeypoints
from eyehand.policies.check import _rows as rows
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
    for _ in range(100):
        loss = policy.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    action = policy.act(observe(batch))
    torch.testing.assert_close(action[:2, 0, :3], batch.action[:2, 0, 0, :3], rtol=0, atol=0.1)


def test_keypoints_are_the_modulated_map_projected() -> None:
    """One bmm per map gives what FiLM and a 1x1 convolution would, up to a constant per map."""
    torch.manual_seed(0)
    layer = SentenceKeypoints(2, dims=(3, 5, 6), context_dim=4).double()
    maps = Maps(*(torch.randn(1, d, s, s).double() for d, s in ((3, 8), (5, 4), (6, 2))))
    context = torch.randn(1, 4).double()
    got = layer(maps, context)
    logits = torch.zeros(2, 8, 8).double()
    for feature, to_query, times in zip(maps, layer.to_queries, (1, 2, 4), strict=True):
        query = to_query(context).view(-1, 2)
        part = torch.einsum("chw,ck->khw", feature[0], query)
        logits = logits + part.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
    torch.testing.assert_close(got[0], logits, rtol=0, atol=1e-12)
    heat = logits.flatten(1).softmax(dim=-1).view(2, 8, 8)
    line = torch.linspace(-1, 1, 8, dtype=torch.float64)
    want = torch.stack([(heat.sum(dim=1) * line).sum(-1), (heat.sum(dim=2) * line).sum(-1)], dim=-1)
    torch.testing.assert_close(spatial_soft_argmax(got)[0], want, rtol=0, atol=1e-12)


def test_the_first_heat_maps_of_the_first_camera_are_taught(
    small_policy: Callable[..., PolicyModule], batch_for: Callable[..., Batch]
) -> None:
    policy = small_policy("bcz", landmarks=2, landmark_weight=0.7, cameras=("left", "right"))
    batch = batch_for(policy.config)
    losses = policy.loss(batch)
    context = policy.to_context(policy.sentence(batch.instruction))
    maps = policy.encoder(scale_image(batch.image["left"][:, -1]))
    coarse = policy.film(maps.coarse, context).relu()
    for block in policy.blocks:
        coarse = block(coarse, context)
    heat = policy.keypoints(maps._replace(coarse=coarse), context)
    want = heat_map_loss(heat[:, :2], batch.landmarks[:, -1, :, :2]).mean()
    torch.testing.assert_close(losses["landmark"], want)
    (gradient,) = torch.autograd.grad(losses["landmark"], policy.keypoints.to_queries[0].bias)
    taught = gradient.view(-1, policy.config.keypoints).any(dim=0)
    assert taught.tolist() == [True, True, False]


def test_landmarks_are_learnt(
    small_policy: Callable[..., PolicyModule], batch_for: Callable[..., Batch]
) -> None:
    """A white square on black: its heat map finds it in pictures that were not trained on."""
    policy = small_policy("bcz", landmarks=1, landmark_weight=1.0)
    batch = batch_for(policy.config, size=32)
    corner = torch.randint(2, 23, (32, 2), generator=torch.Generator().manual_seed(2))
    image = torch.zeros(32, 1, 32, 32, 3, dtype=torch.uint8)
    for window, (column, row) in zip(image, corner.tolist(), strict=True):
        window[0, row : row + 6, column : column + 6] = 255
    landmarks = torch.zeros(32, 1, 1, 3)
    landmarks[:, 0, 0, :2] = (corner + 3) / 16 - 1
    batch = replace(batch, image={"corner4": image}, landmarks=landmarks)
    optimizer = torch.optim.Adam((v for v in policy.parameters() if v.requires_grad), lr=1e-2)
    for _ in range(80):
        loss = policy.loss(rows(batch, list(range(24))))["landmark"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unseen = policy.loss(rows(batch, list(range(24, 32))))["landmark"]
    blind = math.log(8 * 8)  # every cell as likely as any other
    assert unseen < blind - 1.5


def test_more_landmarks_than_heat_maps_are_refused() -> None:
    with pytest.raises(InputError, match=r"landmarks must be at most keypoints=32; got 33"):
        BCZConfig(landmarks=33)


def test_default_size() -> None:
    policy = BCZ(BCZConfig(), statistics=blank_statistics(state_dim=4, action_dim=4))
    trained = sum(value.numel() for value in policy.parameters() if value.requires_grad)
    assert 5e6 < trained < 5.5e6
