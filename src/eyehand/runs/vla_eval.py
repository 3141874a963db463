"""A checkpoint of ours as a model server of AllenAI's vla-eval harness.

    pip install eyehand[vla-eval]
    python -m eyehand.runs.vla_eval mt50 --port 8000
    vla-eval run --config BENCHMARK.yaml --server-url ws://127.0.0.1:8000

The harness (https://github.com/allenai/vla-evaluation-harness, 0.8.0) brings its own benchmarks and
robots; the checkpoint must have been trained for the one that is run. It has no token: everybody
who reaches the port can ask for actions.
"""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from vla_eval.model_servers.base import SessionContext
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import serve
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW, DimSpec

from eyehand.envs.execution import Execution
from eyehand.envs.rollout import POLICY_THREADS
from eyehand.policies.registry import find_checkpoint, load_policy
from eyehand.runs.serve import interface_of, warm_up
from eyehand.serving.observation import (
    PROMPT,
    STATE,
    Bounds,
    CheckedObservation,
    read_observation,
    stack,
)
from eyehand.types import InputError

MOST_ROBOTS = 16
"""Robots in one call of the policy, at most."""


class CheckpointServer(PredictModelServer):  # type: ignore[misc]
    """Answers the harness; what it sends is checked as the policy server checks its clients.

    Arguments are those of `main`; cameras are in the order of the policy's.

    Raises:
        InputError: If the checkpoint is broken.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        cameras: Sequence[str] = (),
        executed: int = Execution().steps,
    ) -> None:
        super().__init__(chunk_size=executed, max_batch_size=MOST_ROBOTS)
        folder = find_checkpoint(checkpoint)
        self.policy, self.cameras = load_policy(folder), cameras
        self.interface = interface_of(self.policy, folder)
        self._numbers, self._robots = count(), dict[str, int]()
        self._low = np.array(self.interface.action_low, np.float32)
        self._high = np.array(self.interface.action_high, np.float32)
        torch.set_num_threads(POLICY_THREADS)  # as in rollouts
        warm_up(self.policy)

    def predict_batch(
        self, observations: list[dict[str, Any]], contexts: list[SessionContext]
    ) -> list[dict[str, Any]]:
        """Return the chunks of several robots.

        Raises:
            InputError: If an observation does not fit the policy, or actions are not finite.
        """
        seen = [self._seen(observation) for observation in observations]
        robots = [self._robot(context) for context in contexts]
        with torch.inference_mode():
            chunks = self.policy.act(stack(seen, robots)).to("cpu", torch.float32).numpy()
        if not np.isfinite(chunks).all():
            raise InputError("the policy returned actions that are not finite.")
        return [{"actions": np.clip(chunk, self._low, self._high)} for chunk in chunks]

    async def on_episode_start(self, config: dict[str, Any], context: SessionContext) -> None:
        """Forget what the robot saw."""
        self.policy.reset([self._robot(context)])
        await super().on_episode_start(config, context)

    def get_action_spec(self) -> dict[str, DimSpec]:
        """Return that actions are in the units of the robot's data."""
        return {"actions": RAW}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """Return which observations are read."""
        return {"image": IMAGE_RGB, "state": RAW, "language": LANGUAGE}

    def get_observation_params(self) -> dict[str, Any]:
        """Ask for the state, which benchmarks send on request only."""
        return {"send_state": True}

    def _robot(self, context: SessionContext) -> int:
        if context.session_id not in self._robots:
            self._robots[context.session_id] = next(self._numbers)
        return self._robots[context.session_id]

    def _seen(self, observation: dict[str, Any]) -> CheckedObservation:
        keys = self.interface.picture_keys
        pictures = observation.get("images", {})
        names = self.cameras or list(pictures)
        if len(names) < len(keys) or not set(names) <= set(pictures):
            raise InputError(
                f"the policy reads {len(keys)} cameras, as {list(names)}; the harness sends "
                f"{sorted(pictures)}."
            )
        state = observation.get("states", observation.get("state"))
        message = {
            PROMPT: observation.get("task_description"),
            STATE: None if state is None else np.asarray(state, np.float32),
        }
        for key, name in zip(keys.values(), names, strict=False):
            message[key] = np.asarray(pictures[name])
        return read_observation(message, self.interface, Bounds())


def main(
    checkpoint: tyro.conf.Positional[Path],
    cameras: tuple[str, ...] = (),
    executed: int = Execution().steps,
    host: str = "127.0.0.1",
    port: int = 8000,
) -> None:
    """Serve a checkpoint to the harness until Ctrl-C.

    Args:
        checkpoint: Folder of a trained policy, or the name of a released one.
        cameras: The harness' name of every camera of the policy; left out, in the order of arrival.
        executed: Actions of a chunk that are executed before the next.
        host: Address to listen at; there is no token.
        port: Port to listen at.
    """
    serve(CheckpointServer(checkpoint, cameras=cameras, executed=executed), host=host, port=port)


if __name__ == "__main__":
    tyro.cli(main)
