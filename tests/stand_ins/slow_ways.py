"""Two ways, slow enough to be killed in the middle, and a policy; as a program it drives them.

python slow_ways.py evaluate|record FOLDER ADDRESS-OF-A-RAY-CLUSTER
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from eyehand.collection.record import RecordConfig, record
from eyehand.envs.execution import Execution
from eyehand.envs.two_ways import CAMERA, TWO_WAYS, TwoWaysEnv
from eyehand.evaluation.protocol import EvalConfig, EvaluatedPolicy, evaluate


class SlowWaysEnv(TwoWaysEnv):
    """Thinks before every episode."""

    def reset(self, **arguments):
        time.sleep(0.1)
        return super().reset(**arguments)


SLOW_WAYS = replace(TWO_WAYS, make=SlowWaysEnv)
PIXELS = 16


class Wanderer:
    """Random weights that react to the picture, the state and their own memory."""

    def __init__(self, before_acting=lambda call: None):
        random = torch.Generator().manual_seed(0)
        self.weights = torch.randn(PIXELS * PIXELS * 3 + 2 + 1, 4 * 2, generator=random)
        self.before_acting, self.calls, self.memory = before_acting, 0, {}

    def reset(self, env_ids):
        self.memory |= dict.fromkeys(env_ids, 0)

    def act(self, observation, *, generator=None):
        self.calls += 1
        self.before_acting(self.calls)
        for env_id in observation.env_ids:
            self.memory[env_id] = self.memory.get(env_id, 0) + 1
        told = torch.tensor([[self.memory[env_id]] for env_id in observation.env_ids])
        seen = observation.image[CAMERA].flatten(1).float() / 255
        features = torch.cat([seen, observation.state, told], 1)
        ahead = torch.tensor([0.0, 1.0] * 4)
        return (features @ self.weights / 50 + ahead).tanh().unflatten(1, (4, 2))


def evaluation(out, suite, ray):
    config = EvalConfig(out, suite, episodes=1000, execution=Execution(steps=4), films=0, ray=ray)
    cameras = {CAMERA: PIXELS}
    return evaluate(Wanderer(), config, EvaluatedPolicy("wanderer", "0", cameras, words=()))


def recording(out, suite, ray):
    return record(
        RecordConfig(out=out, suite=suite, tasks="all", episodes=400, image_size=PIXELS, ray=ray)
    )


if __name__ == "__main__":
    work, out, address = sys.argv[1:]
    {"evaluate": evaluation, "record": recording}[work](Path(out), "slow_ways:SLOW_WAYS", address)
