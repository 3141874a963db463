"""One run of an algorithm in a Gymnasium environment or a world of ours: learn, then measure."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t

from eyehand.checksums import load_tensors
from eyehand.envs.gymnasium_environments import GymnasiumEnvironments
from eyehand.envs.mazes import Mazes, MazesConfig
from eyehand.envs.rough_ground import RoughGround, RoughGroundConfig
from eyehand.files import replace_text
from eyehand.functional.start_seed import start_seed
from eyehand.models.checkpoint import WEIGHTS, read_config
from eyehand.rl.experience import Act, Turn, measure
from eyehand.rl.off_policy import OffPolicyConfig
from eyehand.rl.registry import find_algorithm
from eyehand.training.config import TrainConfig
from eyehand.training.loop import torch_threads, train
from eyehand.types import LARGEST_SEED, Environments, InputError, check_ranges

WORLDS: dict[str, tuple[Any, Any]] = {
    "mazes": (Mazes, MazesConfig),
    "rough-ground": (RoughGround, RoughGroundConfig),
}
"""Name of a world of ours to its environments and their config."""
MEASURED_FROM = 2_000_000_000
"""First seed of the episodes that are measured; those that are learnt from have smaller ones."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentRun:
    """What is learnt, how long, and how it is measured."""

    environment: str
    """Id of a Gymnasium environment, such as CartPole-v1, or mazes or rough-ground."""
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
    name: str,
    run: EnvironmentRun,
    config: Any,
    out: Path,
    *,
    world: Any = None,
    resume: bool,
    threads: int | None,
) -> dict[str, Any]:
    """Learn by the algorithm called ``name``, measure, write ``results.json``; return its content.

    Args:
        name: Of the algorithm.
        run: What is learnt, how long, and how it is measured.
        config: Of the algorithm.
        out: Folder of checkpoints and results.
        world: Config of a world of `WORLDS`; left out, as it comes.
        resume: Go on from the latest checkpoint in ``out``.
        threads: Of torch; left out, one.

    Raises:
        InputError: If algorithm or environment do not exist or do not fit each other, or ``out``
            holds another run.
    """
    algorithm, _ = find_algorithm(name)
    replays = isinstance(config, OffPolicyConfig)
    count = run.environments or (1 if replays else 8)
    each, final = config.steps * count, run.final_learning_rate
    if world is None and run.environment in WORLDS:
        world = WORLDS[run.environment][1]()
    training = TrainConfig(
        steps=math.ceil(run.steps / each),
        seed=run.seed,
        warmup=0.0,
        learning_rate=config.learning_rate,
        final_learning_rate=(0.999 if replays else 0.0) if final is None else final,
        precision="fp32",
        threads=1 if threads is None else threads,  # a second one costs small networks more
    )
    description: dict[str, Any] = {
        "algorithm": {"name": name, **asdict(config)},
        "environment": run.environment,
        "environments": count,
    }
    if world is not None:
        description["world"] = asdict(world)

    def turns(start: int) -> Iterator[Turn]:
        return repeat(Turn(each))

    with torch_threads(training.threads):  # a world's physics takes as many
        torch.manual_seed(run.seed)
        environments = make_environments(run.environment, count, world, learning=True)
        seed = start_seed(name, run.seed) % MEASURED_FROM // 2
        update = algorithm(environments, config, seed=seed)
        trained = train(
            update, turns, config=training, folder=out, description=description, resume=resume
        )
        environments.close()
        measured = make_environments(run.environment, min(count, run.episodes), world)
        seeds = range(MEASURED_FROM, MEASURED_FROM + run.episodes)
        episodes = measure(lambda seen: update.best(seen.to(update.device)), measured, seeds)
        measured.close()
    results = {
        **{title: mean_and_interval([one[title] for one in episodes]) for title in episodes[0]},
        "episodes": episodes,
        "environment_steps": trained.steps * each,
        "seconds": trained.seconds,
    }
    replace_text(out / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def load_environment_policy(folder: Path) -> Act:
    """Return the policy that a run left: its best actions for what is seen.

    Raises:
        InputError: If the folder holds no such run.
    """
    described = read_config(folder)
    if "algorithm" not in described:
        raise InputError(f"{folder} holds no run of an algorithm in an environment.")
    weights = load_tensors(folder / WEIGHTS)
    try:
        settings, environment = dict(described["algorithm"]), described["environment"]
        algorithm, config = find_algorithm(settings.pop("name"))
        world = None
        if environment in WORLDS:
            world = WORLDS[environment][1](**_tuples(described["world"]))
        environments = make_environments(environment, 1, world)
        update = algorithm(environments, config(**_tuples(settings)))
        environments.close()
        title = update.published.removesuffix("weights/").removesuffix("/")
        update.learners[title].network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder} does not describe a run that can be built ({error!s:.200})."
        ) from error
    act: Act = update.best
    return act


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as a config takes them: JSON has lists where it has tuples."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}


def make_environments(
    name: str, count: int, world: Any = None, *, learning: bool = False
) -> Environments:
    """Return environments side by side.

    Args:
        name: Of a world of `WORLDS`, or the id of a Gymnasium environment.
        count: How many.
        world: Config of a world; left out, as it comes.
        learning: Whether a world may begin easy.

    Raises:
        InputError: If there is none of this name, or an algorithm could not act in it.
    """
    if name in WORLDS:
        kind, config = WORLDS[name]
        made: Environments = kind(config() if world is None else world, count, learning=learning)
        return made
    return GymnasiumEnvironments.make(name, count)


def mean_and_interval(values: Sequence[float]) -> dict[str, float | list[float]]:
    """Return the mean of independent episodes, with its 95 % interval by Student's t.

    Example:
        >>> mean_and_interval([1.0, 1.0])
        {'mean': 1.0, 'interval': [1.0, 1.0]}
    """
    mean, count = float(np.mean(values)), len(values)
    half = float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count))
    return {"mean": mean, "interval": [mean - half, mean + half]}
