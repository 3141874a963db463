"""Answer observations on stdin with actions on stdout, by a policy that LeRobot trained.

Runs in LeRobot's Python, started by `benchmarks.peers.adapter`:

    python -m benchmarks.peers.lerobot_serve CHECKPOINT [--executed 4]

Every robot has a copy of the policy that shares its weights and has its own queues, so LeRobot's
own ``select_action`` keeps each robot's history and plan. One robot is asked at a time, and the
noise is drawn from a seed that its observation decides: what a robot does depends neither on the
others nor on the order.
"""

import argparse
import copy
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.pretrained import PreTrainedPolicy

from benchmarks.peers.wire import receive, send


class Robots:
    """One policy for many robots.

    Args:
        checkpoint: Folder that lerobot_train.py wrote.
        executed: Actions of a plan that are executed before the next; None is as it was trained.
    """

    def __init__(self, checkpoint: Path, *, executed: int | None) -> None:
        config = PreTrainedConfig.from_pretrained(checkpoint)
        if executed is not None:
            config.n_action_steps = executed
        policy_class = get_policy_class(config.type)
        self.policy = policy_class.from_pretrained(checkpoint, config=config).eval()
        self.preprocess, self.postprocess = make_pre_post_processors(
            config, pretrained_path=str(checkpoint)
        )
        (self.camera,) = config.image_features
        self.memory: dict[int, PreTrainedPolicy] = {}

    def forget(self, env_ids: np.ndarray) -> None:
        """Drop the history and the plan of these robots."""
        for env_id in env_ids.tolist():
            self.memory.pop(env_id, None)

    def act(self, env_ids: np.ndarray, picture: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Return (robot, 1, action): what each does now; zeros where ``env_ids`` is -1."""
        width = self.policy.config.action_feature.shape[0]
        actions = np.zeros((len(env_ids), 1, width), np.float32)
        for row, env_id in enumerate(env_ids.tolist()):
            if env_id >= 0:
                actions[row] = self._act(env_id, picture[row], state[row])
        return actions

    @torch.inference_mode()
    def _act(self, env_id: int, picture: np.ndarray, state: np.ndarray) -> np.ndarray:
        if env_id not in self.memory:
            self.memory[env_id] = copy.copy(self.policy)
            self.memory[env_id].reset()
        torch.manual_seed(zlib.crc32(picture.tobytes() + state.tobytes()))
        seen = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        told = torch.from_numpy(state.copy())[None]
        batch = self.preprocess({self.camera: seen, "observation.state": told})
        return self.postprocess(self.memory[env_id].select_action(batch)).numpy()


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--executed", type=int)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between the arrays
    robots = Robots(options.checkpoint, executed=options.executed)
    while True:
        try:
            message = receive(sys.stdin.buffer)
        except EOFError:
            return
        if len(message) == 1:
            robots.forget(message[0])
        else:
            send(answers, robots.act(*message))


if __name__ == "__main__":
    main()
