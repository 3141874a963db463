"""Returns and speed of our deep algorithms beside Stable-Baselines3's.

    python -m benchmarks.gymnasium_returns --out outputs/gymnasium-returns

Every case is learnt by both with the same settings, steps and seeds, each run alone in a process
with one thread; two processes run at a time. The means of the best actions are measured on the same
start states, by the same code. What is done is kept in the folder, and skipped by the next call.
Writes docs/benchmarks/gymnasium_returns.md.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from scipy.stats import t
from torch import Tensor

from eyehand.envs.gymnasium_environments import GymnasiumEnvironments
from eyehand.files import replace_text
from eyehand.rl.experience import measure
from eyehand.rl.registry import find_algorithm
from eyehand.runs.environment_run import MEASURED_FROM, EnvironmentRun, learn_environment

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "gymnasium_returns.md"
SEEDS, EPISODES = range(5), 20


@dataclass(frozen=True)
class Case:
    """One algorithm in one environment."""

    algorithm: str
    environment: str
    steps: int
    environments: int
    settings: dict[str, Any]
    """Of our config."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.algorithm}-{self.environment}"


PPO_NUMBERS = {"steps": 512, "epochs": 10, "minibatch": 64, "learning_rate": 3e-4}
REPLAY = {"steps": 1, "gradients": 1, "first": 1000, "minibatch": 256, "dims": (256, 256)}
CASES = [
    Case("ppo", "CartPole-v1", 50_000, 8, {
        "steps": 32, "epochs": 20, "minibatch": 256, "learning_rate": 1e-3, "discount": 0.98,
        "trace": 0.8,
    }),
    Case("a2c", "CartPole-v1", 50_000, 8, {"steps": 8, "learning_rate": 7e-4}),
    Case("dqn", "CartPole-v1", 50_000, 1, {
        "steps": 4, "gradients": 2, "first": 1000, "minibatch": 64, "learning_rate": 2.3e-3,
        "copy_every": 64, "explore": 8000, "double": False,
    }),
    Case("ppo", "Pendulum-v1", 100_000, 4, {
        "steps": 1024, "epochs": 10, "minibatch": 64, "learning_rate": 1e-3, "discount": 0.9,
    }),
    Case("sac", "Pendulum-v1", 10_000, 1, REPLAY | {"learning_rate": 1e-3}),
    Case("td3", "Pendulum-v1", 10_000, 1, REPLAY | {"learning_rate": 1e-3}),
    Case("ddpg", "Pendulum-v1", 10_000, 1, REPLAY | {"learning_rate": 1e-3}),
    Case("ppo", "HalfCheetah-v5", 200_000, 4, PPO_NUMBERS),
    Case("sac", "HalfCheetah-v5", 20_000, 1, REPLAY | {"learning_rate": 3e-4}),
]  # fmt: skip


def ours(case: Case, seed: int, out: Path) -> dict[str, Any]:
    """Learn with our algorithm."""
    _, config = find_algorithm(case.algorithm)
    found = learn_environment(
        case.algorithm,
        EnvironmentRun(
            environment=case.environment,
            steps=case.steps,
            environments=case.environments,
            episodes=EPISODES,
            seed=seed,
            final_learning_rate=0.999,  # theirs stays as it is
        ),
        config(**case.settings),
        out / "run",
        resume=(out / "run").exists(),
        threads=1,
    )
    return {"episodes": found["episodes"], "seconds": found["seconds"]}


def theirs(case: Case, seed: int, out: Path) -> dict[str, Any]:
    """Learn with Stable-Baselines3's algorithm, told the same settings."""
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv

    made = [partial(make_scaled, case.environment) for _ in range(case.environments)]
    model = getattr(stable_baselines3, case.algorithm.upper())(
        "MlpPolicy", DummyVecEnv(made), seed=seed, device="cpu", **their_settings(case)
    )
    start = time.perf_counter()
    model.learn(case.steps)
    seconds = time.perf_counter() - start

    def act(observation: Tensor) -> Tensor:
        return torch.as_tensor(model.predict(observation.numpy(), deterministic=True)[0])

    seeds = range(MEASURED_FROM, MEASURED_FROM + EPISODES)
    episodes = measure(act, GymnasiumEnvironments.make(case.environment, 1), seeds)
    return {"episodes": episodes, "seconds": seconds}


def make_scaled(environment: str) -> Any:
    """Return an environment whose actions are in [-1, 1], as our algorithms see every one."""
    made = gymnasium.make(environment)
    if isinstance(made.action_space, gymnasium.spaces.Box):
        return gymnasium.wrappers.RescaleAction(made, np.float32(-1), np.float32(1))
    return made


def their_settings(case: Case) -> dict[str, Any]:
    """Return our config in Stable-Baselines3's words."""
    config = asdict(find_algorithm(case.algorithm)[1](**case.settings))
    common = {
        "learning_rate": config["learning_rate"],
        "gamma": config["discount"],
        "policy_kwargs": {"net_arch": list(config["dims"])},
    }
    if case.algorithm in ("ppo", "a2c"):
        common |= {
            "n_steps": config["steps"],
            "gae_lambda": config["trace"],
            # Their loss of the value has no factor of a half, ours has.
            "vf_coef": config["value_weight"] / 2,
            "ent_coef": config["entropy_weight"],
            "max_grad_norm": config["gradient_clip"],
        }
        if case.algorithm == "ppo":
            return common | {
                "batch_size": config["minibatch"],
                "n_epochs": config["epochs"],
                "clip_range": config["clip"],
            }
        return common | {"use_rms_prop": False}
    common |= {
        "buffer_size": config["buffer"],
        "learning_starts": config["first"],
        "batch_size": config["minibatch"],
        "train_freq": config["steps"],
        "gradient_steps": config["gradients"],
    }
    if case.algorithm == "dqn":
        # Theirs counts the steps of environments between copies, ours gradients.
        between = config["copy_every"] * config["steps"] // config["gradients"]
        return common | {
            "target_update_interval": between,
            "exploration_fraction": config["explore"] / case.steps,
            "exploration_initial_eps": config["epsilon"],
            "exploration_final_eps": config["final_epsilon"],
            "max_grad_norm": config["gradient_clip"],
        }
    common |= {"tau": config["follow"]}
    if case.algorithm == "sac":
        return common
    from stable_baselines3.common.noise import NormalActionNoise

    dim = int(np.prod(gymnasium.make(case.environment).action_space.shape or ()))
    return common | {"action_noise": NormalActionNoise(np.zeros(dim), np.full(dim, 0.1))}


def run(side: str, case: Case, seed: int, folder: Path) -> None:
    """Learn once and keep what was found."""
    torch.set_num_threads(1)
    out = folder / f"{case.name}-{side}-{seed}"
    kept = out / "found.json"
    if not kept.exists():
        found = {"ours": ours, "theirs": theirs}[side](case, seed, out)
        out.mkdir(parents=True, exist_ok=True)
        replace_text(kept, json.dumps(found) + "\n")


def mean_of_seeds(found: list[dict[str, Any]], name: str, digits: int = 0) -> str:
    """Return the mean over trainings of what episodes came to, with its interval."""
    means = [float(np.mean([episode[name] for episode in one["episodes"]])) for one in found]
    half = t.ppf(0.975, len(means) - 1) * np.std(means, ddof=1) / math.sqrt(len(means))
    low, mean, high = (np.mean(means) + part for part in (-half, 0.0, half))
    return f"{mean:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def page(folder: Path) -> str:
    """Return the page of what is kept."""
    rows, distances = [], []
    for case in CASES:
        found = {
            side: [
                json.loads((folder / f"{case.name}-{side}-{seed}" / "found.json").read_text())
                for seed in SEEDS
            ]
            for side in ("ours", "theirs")
        }
        speed = {
            side: case.steps * len(own) / sum(one["seconds"] for one in own)
            for side, own in found.items()
        }
        title = f"| {case.algorithm} | {case.environment} | {case.steps:,} "
        returns = [mean_of_seeds(own, "return") for own in found.values()]
        if "x_position" in found["ours"][0]["episodes"][0]:
            metres = [mean_of_seeds(own, "x_position", digits=1) for own in found.values()]
            distances.append(title + f"| {' | '.join(metres)} |")
        rows.append(
            title + f"| {' | '.join(returns)} "
            f"| {speed['ours']:,.0f} | {speed['theirs']:,.0f} "
            f"| {speed['ours'] / speed['theirs']:.2f} |"
        )
    table, ran = "\n".join(rows), "\n".join(distances)
    settings = "\n".join(
        f"- {case.algorithm}, {case.environment}: {case.environments} environments, "
        + ", ".join(f"{name} {value}" for name, value in case.settings.items())
        for case in CASES
    )
    return f"""# Learning by doing beside Stable-Baselines3

<!-- Written by `python -m benchmarks.gymnasium_returns`. -->

The same settings, steps and training seeds (0 to {SEEDS[-1]}), one thread each; two runs at a time
on two cores. Return: the mean over {len(SEEDS)} trainings of {EPISODES} episodes of the best
actions, seeds from 2,000,000,000, and its 95 % interval over trainings (Student's t). Steps a
second count acting and learning. Stable-Baselines3 {version("stable-baselines3")}, torch
{torch.__version__}.

| algorithm | environment | steps | return, ours | return, SB3 | steps/s, ours | SB3 | ratio |
| --- | --- | --- | --- | --- | --- | --- | --- |
{table}

How far the robots ran in an episode (HalfCheetah: 50 seconds), metres:

| algorithm | environment | steps | ours | SB3 |
| --- | --- | --- | --- | --- |
{ran}

Settings, where they differ from our defaults; SB3 is told the same numbers, and numbers as actions
are in [-1, 1] for both:

{settings}

The optimiser of A2C is Adam on both sides. Their PPO and A2C give the value of the state that was
reached where an episode is cut short, as ours do.

```bash
python -m benchmarks.gymnasium_returns --out outputs/gymnasium-returns
```
"""


def main() -> None:
    """Learn everything that is not kept yet, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    wanted = parser.parse_args()
    jobs: list[Callable[[], None]] = [
        partial(run, side, case, seed, wanted.out)
        for seed in SEEDS
        for case in CASES
        for side in ("ours", "theirs")
    ]
    with ProcessPoolExecutor(wanted.workers, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()
    replace_text(PAGE, page(wanted.out))


if __name__ == "__main__":
    main()
