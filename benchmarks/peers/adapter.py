"""A policy of LeRobot behind eyehand's Actor protocol: it lives in a process of its own Python.

That process answers every observation with the one action that the policy does now, because a
policy of LeRobot looks at every step: it has its own queue of planned actions and its own history.
Roll it out with ``Execution(steps=1)``.
"""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np
import torch

from benchmarks.peers.wire import receive, send
from eyehand.envs.metaworld import METAWORLD
from eyehand.types import ActionChunk, InputError, Observation

ROOT = Path(__file__).resolve().parents[2]
"""Where ``python -m benchmarks.peers...`` is found."""


class LeRobotPolicy:
    """A served policy, told its task by a one-hot after the state, as it was trained.

    Args:
        command: Starts the process, which reads and writes messages of `benchmarks.peers.wire`.
        tasks: What it was trained on, in the order of the one-hot; with one task there is none.
        log: File for what the process prints.
    """

    def __init__(self, command: Sequence[str], *, tasks: Sequence[str], log: Path) -> None:
        self._number = {
            METAWORLD.instructions(task).canonical: place for place, task in enumerate(tasks)
        }
        self._log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
            )
        self._to = cast("BinaryIO", self._process.stdin)
        self._from = cast("BinaryIO", self._process.stdout)

    def __enter__(self) -> "LeRobotPolicy":
        """Return the policy, whose process ends with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._from.close()
        with suppress(BrokenPipeError):  # by a message that the dead process did not read
            self._to.close()

    def act(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        """Return what every robot does now, a chunk of one action.

        Raises:
            InputError: If a sentence is not the one of a task that it was trained on.
            RuntimeError: If the process has ended.
        """
        (picture,) = observation.image.values()
        state = torch.cat([observation.state, self._one_hot(observation.instruction)], dim=1)
        env_ids = np.array(observation.env_ids, np.int64)
        try:
            send(self._to, env_ids, picture.numpy(), state.numpy())
            (actions,) = receive(self._from)
        except (BrokenPipeError, EOFError) as error:
            raise self._ended() from error
        return torch.from_numpy(actions.copy())

    def reset(self, env_ids: Sequence[int]) -> None:
        """Let the process forget what these robots saw and planned."""
        try:
            send(self._to, np.array(env_ids, np.int64))
        except BrokenPipeError as error:
            raise self._ended() from error

    def _one_hot(self, sentences: Sequence[str]) -> torch.Tensor:
        unknown = [sentence for sentence in sentences if sentence not in self._number]
        if unknown:
            raise InputError(
                f"a policy without language knows {sorted(self._number)} alone, one sentence a "
                f"task. Got {unknown[0]!r}."
            )
        if len(self._number) == 1:
            return torch.zeros(len(sentences), 0)
        return torch.eye(len(self._number))[[self._number[sentence] for sentence in sentences]]

    def _ended(self) -> RuntimeError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return RuntimeError(
            f"the process of the served policy ended with code {self._process.wait()}: "
            f"{lines[-1] if lines else 'it said nothing'} (all of it: {self._log})"
        )
