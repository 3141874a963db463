"""Of two episodes from one start the one that succeeded becomes more probable."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from eyehand.rl.experience import Turn
from eyehand.rl.trajectory_dpo import TrajectoryDPO, TrajectoryDPOConfig, pairs_of
from eyehand.training.distributed import seed_step
from eyehand.types import InputError

Make = Callable[..., Any]


def test_pairs_make_the_better_one_more_probable(make_policy: Make, practise_once: Make) -> None:
    config = TrajectoryDPOConfig(randomness=0.3, learning_rate=3e-3, beta=1.0, pairs=32)
    update = TrajectoryDPO(make_policy(), config, practise_once)
    update.prepare(Accelerator(cpu=True), Turn(1))
    losses = []
    for step in range(40):
        seed_step(0, step, 0)
        losses.append(float(update.step(Turn(1))["loss"]))
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    assert np.mean(losses[-5:]) < 0.63
    practice = update.practice
    assert practice is not None
    good, bad = pairs_of(practice)
    assert (practice.group[good] == practice.group[bad]).all()
    assert practice.success[good].all()
    assert not practice.success[bad].any()


def test_pairs_need_a_success_and_a_failure(make_policy: Make, practise_once: Make) -> None:
    practice = practise_once(make_policy(), 0)
    practice.success[:] = False
    update = TrajectoryDPO(make_policy(), TrajectoryDPOConfig(), lambda *_: practice)
    update.prepare(Accelerator(cpu=True), Turn(1))
    with pytest.raises(InputError, match="no start of the practice has an episode that succeeded"):
        update.step(Turn(1))
