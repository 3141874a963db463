"""An arm that counts: what tests of workers need of a simulator, and no more."""

import os
import time

import numpy as np

from eyehand.types import InputError


class StandIn:
    """Counts its actions in the state; the task's name is what goes wrong."""

    made = 0

    def __init__(self, task, *, cameras, render_observations):
        if task == "unknown":
            raise InputError("no task 'unknown'. Did you mean 'known'?")
        StandIn.made += 1
        self.task, self.cameras = task, cameras

    def reset(self, *, seed):
        self.seed, self.count = seed, 0
        return self.observe(), {}

    def observe(self):
        return {"state": np.array([self.seed, self.count, StandIn.made, os.getpid()], np.float32)}

    def pictures(self):
        return {
            name: np.full((size, size, 3), number + self.count + self.seed, np.uint8)
            for number, (name, size) in enumerate(self.cameras.items())
        }

    def step(self, action):
        if self.task == "broken":
            raise ZeroDivisionError("the arm fell off")
        if self.task == "deadly":
            os._exit(1)
        if self.task == "slow":
            time.sleep(60)
        self.count += 1
        success, crash = bool(action[0] > 0.5), bool(action[0] < -0.5)
        over = self.count == 5
        return self.observe(), 0.5 * self.count, success or crash, over, {"success": success}

    def close(self):
        pass


def die(folder, *, times):
    """Leave a file and die, the first times that it is called."""
    if len(list(folder.iterdir())) < times:
        (folder / str(os.getpid())).touch()
        os._exit(1)
    return "alive"
