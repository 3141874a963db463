"""One run of an algorithm in a Gymnasium environment: learn by doing, then measure."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float32
from scipy.stats import t

from eyehand.files import replace_text
from eyehand.functional.start_seed import start_seed
from eyehand.rl.experience import Turn
from eyehand.rl.off_policy import OffPolicyConfig
from eyehand.rl.registry import find_algorithm
from eyehand.training.config import TrainConfig
from eyehand.training.loop import train
from eyehand.types import LARGEST_SEED, InputError, check_ranges

MEASURED_FROM = 2_000_000_000
"""First seed of the episodes that are measured; those that are learnt from have smaller ones."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentRun:
    """What is learnt, how long, and how it is measured."""

    environment: str
    """Id of a Gymnasium environment, such as CartPole-v1."""
    steps: int = 100_000
    """Steps of all environments together."""
    environments: int | None = None
    """Environments side by side; left out, 8, or 1 for algorithms that learn after every step."""
    episodes: int = 20
    """Episodes that are measured in the end."""
    seed: int = 0
    """Decides first weights, what is drawn, and the episodes that are learnt from."""
    final_learning_rate: float | None = None
    """Share of the learning rate that is left at the end; left out, none, or nearly all for
    algorithms that learn after every step."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_ranges(
            self,
            steps=(1, 10**12),
            environments=(1, 4096),
            episodes=(2, 10**6),
            seed=(0, LARGEST_SEED),
            final_learning_rate=(0, 0.999),
        )


def learn_environment(
    name: str, run: EnvironmentRun, config: Any, out: Path, *, resume: bool, threads: int | None
) -> dict[str, Any]:
    """Learn by the algorithm called ``name``, measure, write ``results.json``; return its content.

    Raises:
        InputError: If algorithm or environment do not exist or do not fit each other, or ``out``
            holds another run.
    """
    algorithm, _ = find_algorithm(name)
    torch.manual_seed(run.seed)
    replays = isinstance(config, OffPolicyConfig)
    count = run.environments or (1 if replays else 8)
    final = run.final_learning_rate
    environments = [make_environment(run.environment) for _ in range(count)]
    update = algorithm(environments, config, seed=start_seed(name, run.seed) % MEASURED_FROM // 2)
    each = config.steps * count

    def turns(start: int) -> Iterator[Turn]:
        while True:
            yield Turn(each)

    trained = train(
        update,
        turns,
        config=TrainConfig(
            steps=math.ceil(run.steps / each),
            seed=run.seed,
            warmup=0.0,
            learning_rate=config.learning_rate,
            final_learning_rate=(0.999 if replays else 0.0) if final is None else final,
            precision="fp32",
            threads=1
            if threads is None
            else threads,  # networks are small: a second thread costs more than it does
        ),
        folder=out,
        description={
            "algorithm": {"name": name, **asdict(config)},
            "environment": run.environment,
            "environments": count,
        },
        resume=resume,
    )
    update.collector.close()

    @torch.no_grad()
    def act(observation: Float32[np.ndarray, "1 observation"]) -> np.ndarray:
        seen = torch.from_numpy(observation).to(update.device)
        return np.asarray(update.collector.as_environments(update.best(seen)))

    returns = returns_of(act, run.environment, run.episodes)
    half = t.ppf(0.975, len(returns) - 1) * np.std(returns, ddof=1) / math.sqrt(len(returns))
    mean = float(np.mean(returns))
    results = {
        "mean_return": mean,
        "interval": [mean - float(half), mean + float(half)],
        "returns": returns,
        "environment_steps": trained.steps * each,
        "seconds": trained.seconds,
    }
    replace_text(out / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def make_environment(name: str) -> gymnasium.Env[np.ndarray, Any]:
    """Return a Gymnasium environment.

    Raises:
        InputError: If there is none of this name, or a package of it is missing.
    """
    try:
        return gymnasium.make(name)
    except (gymnasium.error.Error, ImportError) as error:
        raise InputError(f"the environment {name!r} cannot be made: {error}") from error


def returns_of(
    act: Callable[[Float32[np.ndarray, "1 observation"]], np.ndarray],
    environment: str,
    episodes: int,
) -> list[float]:
    """Return the sums of rewards of episodes, whose seeds begin at `MEASURED_FROM`.

    Args:
        act: Observation in, actions of the environment out, with one row each.
        environment: Its id.
        episodes: How many.
    """
    made, returns = make_environment(environment), []
    for number in range(episodes):
        observation, total, over = made.reset(seed=MEASURED_FROM + number)[0], 0.0, False
        while not over:
            action = act(np.asarray(observation, np.float32).ravel()[None])[0]
            observation, reward, terminated, truncated, _ = made.step(action)
            total += float(reward)
            over = terminated or truncated
        returns.append(total)
    made.close()
    return returns
