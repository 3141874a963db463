"""Small policies of every kind on a tiny language model, and batches and observations for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eyehand.policies.bcz import BCZConfig
from eyehand.policies.contract import PolicyConfig, PolicyModule
from eyehand.policies.frame_policy import FramePolicyConfig
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.registry import build_policy, policy_configs
from eyehand.policies.roboflamingo import RoboFlamingoConfig
from eyehand.types import Batch, Observation, Statistics

CONFIGS: dict[str, Callable[..., PolicyConfig]] = {
    "bcz": BCZConfig,
    "roboflamingo": RoboFlamingoConfig,
}
SMALL: dict[str, dict[str, Any]] = {
    "bcz": {
        "dims": (6, 8, 10),
        "context_dim": 8,
        "keypoints": 3,
        "map_dim": 4,
        "head": MLPHeadConfig(dims=(12,)),
    },
    "roboflamingo": {
        "history": 4,
        "vision_dims": (6, 8, 10),
        "dim": 12,
        "latents": 3,
        "heads": 2,
        "head_dim": 4,
        "every": 3,
        "head": LSTMHeadConfig(dim=16, depth=2, dims=(12,)),
    },
}
SENTENCES = ["open the red drawer", "close the box", "push the green puck", "open the window"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=[one.name for one in policy_configs() if issubclass(one, FramePolicyConfig)])
def name(request: pytest.FixtureRequest) -> str:
    """Each policy that makes a feature of every frame; the test of another one builds its own."""
    found: str = request.param
    return found


@pytest.fixture
def statistics() -> dict[str, Statistics]:
    def numbers(*values: float) -> np.ndarray:
        return np.array(values, np.float32)

    return {
        "state": Statistics(
            mean=numbers(0.1, 0.6, 0.2, 0.5),
            std=numbers(0.1, 0.1, 0.05, 0.3),
            minimum=numbers(-0.4, 0.2, 0.0, 0.0),
            maximum=numbers(0.4, 0.9, 0.4, 1.0),
            quantile_01=numbers(-0.3, 0.3, 0.0, 0.0),
            quantile_99=numbers(0.3, 0.8, 0.3, 1.0),
        ),
        "action": Statistics(
            mean=numbers(0.0, 0.1, -0.1, 0.0),
            std=numbers(0.5, 0.5, 0.5, 0.8),
            minimum=numbers(-1.0, -0.8, -2.0, -1.0),
            maximum=numbers(1.0, 0.9, 0.5, 1.0),
            quantile_01=numbers(-1.0, -0.7, -1.5, -1.0),
            quantile_99=numbers(1.0, 0.8, 0.4, 1.0),
        ),
    }


@pytest.fixture
def small_config(tiny_bert: Path) -> Callable[..., PolicyConfig]:
    """From a policy's name, and what should differ, to a small config."""

    def make(name: str, **changes: Any) -> PolicyConfig:
        settings = {"image_size": 32, "horizon": 5, "language": f"transformers:{tiny_bert}"}
        return CONFIGS[name](**(settings | SMALL[name] | changes))

    return make


@pytest.fixture
def small_policy(
    small_config: Callable[..., PolicyConfig], statistics: dict[str, Statistics]
) -> Callable[..., PolicyModule]:
    """From a policy's name, and what should differ, to a small policy."""

    def make(name: str, **changes: Any) -> PolicyModule:
        torch.manual_seed(0)
        return build_policy(small_config(name, **changes), statistics=statistics)

    return make


def make_batch(config: PolicyConfig, statistics: dict[str, Statistics], size: int = 4) -> Batch:
    """A random batch, with as many landmarks as the config has, in the picture and out of it."""
    generator = torch.Generator().manual_seed(1)
    shape = (size, config.history)
    low, high = (
        torch.tensor(limit)
        for limit in (statistics["action"].minimum, statistics["action"].maximum)
    )
    unit = torch.rand(*shape, config.horizon, config.action_dim, generator=generator)
    landmarks = 2.4 * torch.rand(*shape, config.landmarks, 3, generator=generator) - 1.2
    return Batch(
        image={
            camera: torch.randint(
                0, 256, (*shape, config.image_size, config.image_size, 3),
                dtype=torch.uint8, generator=generator,
            )
            for camera in config.cameras
        },
        state=torch.rand(*shape, config.state_dim, generator=generator),
        action=low + unit * (high - low),
        action_mask=torch.ones(*shape, config.horizon, dtype=torch.bool),
        history_mask=torch.ones(shape, dtype=torch.bool),
        instruction=[SENTENCES[row % 4] for row in range(size)],
        landmarks=landmarks if config.landmarks else None,
    )  # fmt: skip


def make_observation(batch: Batch, frame: int = -1) -> Observation:
    return Observation(
        image={camera: image[:, frame] for camera, image in batch.image.items()},
        state=batch.state[:, frame],
        instruction=batch.instruction,
        env_ids=list(range(10, 10 + len(batch))),
    )


@pytest.fixture
def batch_for(statistics: dict[str, Statistics]) -> Callable[..., Batch]:
    """From a config to a random batch that fits it."""
    return lambda config, **settings: make_batch(config, statistics, **settings)


@pytest.fixture
def observe() -> Callable[..., Observation]:
    """From a batch, and the index of a frame, to the observation at that frame."""
    return make_observation
