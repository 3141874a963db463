"""What is shared by algorithms that learn from the present policy: judging and scaling."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from eyehand.functional.returns import gae
from eyehand.rl.a2c import A2C, A2CConfig
from eyehand.rl.experience import Turn

Make = Callable[..., Any]


def started(make_update: Make, **settings: Any) -> Any:
    update = make_update(A2C, A2CConfig(dims=(16,), steps=20, **settings), discrete=True)
    update.prepare(Accelerator(), Turn(4))
    return update


def test_judging_is_advantage_estimation_by_the_network(make_update: Make) -> None:
    update = started(make_update, discount=0.9, trace=0.8)
    experience, _ = update.collector.collect(update._act, 20)
    rollout = update.judge(experience)
    with torch.no_grad():
        value = update.network.values(experience.observation.flatten(0, 1)).view(20, 4)
        following = update.network.values(experience.next_observation.flatten(0, 1)).view(20, 4)
    wanted = gae(
        experience.reward, value, following, experience.terminated, experience.truncated,
        discount=0.9, trace=0.8,
    )  # fmt: skip
    torch.testing.assert_close(rollout.advantage, wanted.flatten())
    torch.testing.assert_close(rollout.target, (wanted + value).flatten())


def test_scaled_rewards_are_divided_by_the_deviation_of_their_sum(make_update: Make) -> None:
    update = started(make_update, discount=0.5, scale_rewards=True)
    experience, _ = update.collector.collect(update._act, 20)
    scaled = update._scaled(experience)
    sums, running = [], np.zeros(4)
    ended = (experience.terminated | experience.truncated).numpy()
    for step in range(20):
        running = 0.5 * running + experience.reward[step].numpy()
        sums.append(running)
        running = running * ~ended[step]
    wanted = experience.reward / float(np.std(np.stack(sums)))
    torch.testing.assert_close(scaled, wanted.float(), rtol=1e-4, atol=1e-6)
