"""Every tabular method on the grid world of the textbook, held against dynamic programming.

    python -m benchmarks.grid_world

Writes docs/benchmarks/grid_world.md with the errors, and into docs/images the pictures: values and
arrows of each method, learning curves, episodes of the path task, step sizes, linear values.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.svg_charts import Line, grid_panels, line_chart
from eyehand.envs.grid_world import BOOK_GRID, PATH_TASK, GridWorldEnv
from eyehand.files import software_versions
from eyehand.functional.bellman import action_values, projected_weights, solve
from eyehand.functional.decision_process import stationary_distribution
from eyehand.functional.value_features import (
    fourier_features,
    polynomial_features,
    tile_features,
)
from eyehand.rl.linear_values import lstd, semi_gradient_q_learning, semi_gradient_td
from eyehand.rl.monte_carlo import (
    monte_carlo_basic,
    monte_carlo_epsilon_greedy,
    monte_carlo_exploring_starts,
)
from eyehand.rl.policy_iteration import policy_iteration
from eyehand.rl.q_learning import off_policy_q_learning, q_learning
from eyehand.rl.sarsa import expected_sarsa, n_step_sarsa, sarsa
from eyehand.rl.stochastic_approximation import robbins_monro, step_sizes
from eyehand.rl.tabular import Learned, TabularConfig, Watch
from eyehand.rl.temporal_difference import n_step_td, td_0
from eyehand.rl.value_iteration import value_iteration

DOCS = Path(__file__).parents[1] / "docs"
SEEDS = (0, 1, 2)
EPSILON = 0.5
"""How often control methods explore."""
CURVE = 60
"""Points of a learning curve."""
PROCESS = BOOK_GRID.process(discount=0.9)
UNIFORM = PROCESS.uniform_policy()
BEST = action_values(PROCESS, policy_iteration(PROCESS).values)
"""Optimal values of the actions."""
SOFT = action_values(PROCESS, policy_iteration(PROCESS.soft(EPSILON)).values)
"""Those of acting epsilon-greedily, as well as that can be done."""
FOLLOWED = PROCESS.under(UNIFORM)
PREDICTED = solve(FOLLOWED)
"""Values of the uniform policy."""
NOISY = TabularConfig(epsilon=EPSILON, step_size=1.0, power=0.6, episodes=3000, length=100)
"""Where the target is a matter of chance: large steps at first, then 1 / n**0.6."""
CERTAIN = replace(NOISY, power=0.0)
"""Where it is not, because the world has no chance of its own: all of the way."""


@dataclass(frozen=True)
class Method:
    """A method that learns from steps, and what it should find."""

    wanted: np.ndarray
    config: TabularConfig
    learn: Callable[..., np.ndarray | Learned]

    def run(self, seed: int, watch: Watch | None = None) -> np.ndarray:
        """Return the table that it learns."""
        config = replace(self.config, seed=seed)
        found = self.learn(GridWorldEnv(BOOK_GRID), config=config, watch=watch)
        return found.values if isinstance(found, Learned) else found


METHODS: dict[str, Method] = {
    "Monte Carlo basic": Method(
        BEST, TabularConfig(length=80), partial(monte_carlo_basic, rounds=10)
    ),
    "exploring starts": Method(
        BEST,
        TabularConfig(step_size=1.0, episodes=3750, length=80),
        partial(monte_carlo_exploring_starts, tail=60),
    ),
    "Monte Carlo epsilon-greedy": Method(
        SOFT,
        replace(NOISY, power=0.8, episodes=2000, length=150),
        partial(monte_carlo_epsilon_greedy, tail=50),
    ),
    "TD(0)": Method(PREDICTED, NOISY, partial(td_0, policy=UNIFORM)),
    "5-step TD": Method(PREDICTED, NOISY, partial(n_step_td, policy=UNIFORM, n=5)),
    "Sarsa": Method(SOFT, NOISY, sarsa),
    "expected Sarsa": Method(SOFT, CERTAIN, expected_sarsa),
    "3-step Sarsa": Method(SOFT, NOISY, partial(n_step_sarsa, n=3)),
    "Q-learning": Method(BEST, CERTAIN, q_learning),
    "Q-learning, off policy": Method(
        BEST,
        TabularConfig(step_size=0.1, length=100_000),
        partial(off_policy_q_learning, behaviour=UNIFORM),
    ),
}
"""Each at its own settings; what is evaluated, and what acts off policy, is the uniform policy."""
LEARNS = {id(BEST): "optimal", id(SOFT): f"exploring, {EPSILON:g}", id(PREDICTED): "uniform"}


def error_of(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the largest difference."""
    return float(abs(found - wanted).max())


class Curve:
    """Watches a table; keeps its error at moments that lie ever farther apart."""

    def __init__(self, wanted: np.ndarray, last: int) -> None:
        self.wanted, self.steps = wanted, 0
        self.line: tuple[list[float], list[float]] = ([], [])
        self._moments = list(np.unique(np.geomspace(100, last, CURVE).astype(int)))[::-1]

    def __call__(self, steps: int, table: np.ndarray) -> None:
        """Look at the table after so many steps."""
        self.steps = steps
        if self._moments and steps >= self._moments[-1]:
            while self._moments and steps >= self._moments[-1]:
                self._moments.pop()
            self.line[0].append(steps)
            self.line[1].append(error_of(table, self.wanted))


@dataclass(frozen=True)
class Measured:
    """How a method did."""

    errors: tuple[float, ...]
    """Largest error in any entry, by seed."""
    steps: int
    seconds: float
    """Of one run without watching, the mean over seeds."""
    curve: Line
    table: np.ndarray
    """What the first seed found."""


def measure(method: Method, seeds: Sequence[int] = SEEDS) -> Measured:
    """Run a method with each seed, and once more with the first, watched."""
    began = time.perf_counter()
    tables = [method.run(seed) for seed in seeds]
    seconds = (time.perf_counter() - began) / len(seeds)
    curve = Curve(method.wanted, 300_000)
    method.run(seeds[0], curve)
    errors = tuple(error_of(table, method.wanted) for table in tables)
    return Measured(errors, curve.steps, seconds, curve.line, tables[0])


def planned() -> str:
    """Return the table of what is found without taking a step."""
    rows = ["| method | error | rounds | milliseconds |", "| --- | --- | --- | --- |"]
    best = BEST.max(axis=1)
    for name, solution in {
        "value iteration": lambda: value_iteration(PROCESS),
        "policy iteration, 2 sweeps": lambda: policy_iteration(PROCESS, sweeps=2),
        "policy iteration, 10 sweeps": lambda: policy_iteration(PROCESS, sweeps=10),
        "policy iteration, exact": lambda: policy_iteration(PROCESS),
    }.items():
        began = time.perf_counter()
        found = solution()
        spent = 1000 * (time.perf_counter() - began)
        rounds = len(found.history) - (name != "policy iteration, exact")
        rows.append(f"| {name} | {error_of(found.values, best):.0e} | {rounds} | {spent:.1f} |")
    return "\n".join(rows)


def learnt(measured: Mapping[str, Measured]) -> str:
    """Return the table of what is found by taking steps."""
    rows = [
        "| method | learns values of | step size | error, by seed | steps | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in measured.items():
        errors = ", ".join(f"{error:.2g}" for error in one.errors)
        method = METHODS[name]
        size = f"{method.config.step_size:g}"
        if name == "Monte Carlo basic":
            size = "mean"
        elif method.config.power:
            size += f" / n^{method.config.power:g}"
        rows.append(
            f"| {name} | {LEARNS[id(method.wanted)]} | {size} | {errors} | {one.steps:,} | "
            f"{one.seconds:.1f} |"
        )
    return "\n".join(rows)


def published(forbidden: float) -> str:
    """Return the first row of the values and the target's, as the book prints them."""
    world = replace(BOOK_GRID, forbidden_reward=forbidden)
    values = policy_iteration(world.process(discount=0.9)).values.reshape(5, 5)
    row = " ".join(f"{value:.1f}" for value in values[0])
    return f"{row}, target {values[world.target]:.1f}"


FEATURES: dict[str, dict[int, Callable[[np.ndarray], np.ndarray]]] = {
    "polynomials": {
        degree: lambda place, degree=degree: polynomial_features(2 * place - 1, degree=degree)
        for degree in range(5)
    },
    "Fourier": {
        order: lambda place, order=order: fourier_features(place, order=order)
        for order in range(1, 4)
    },
    "tiles, one grid": {
        tiles: lambda place, tiles=tiles: tile_features(place, tilings=1, tiles=tiles)
        for tiles in range(1, 6)
    },
}


def linear_values(steps: int) -> tuple[dict[str, Line], list[str]]:
    """Return the errors by number of features, exact and by LSTD, and the rows of a table."""
    share = stationary_distribution(FOLLOWED.transition)
    lines: dict[str, Line] = {}
    rows = [
        "| features | number | nearest | projected equation | LSTD |",
        "| --- | --- | --- | --- | --- |",
    ]

    def root_mean_square(values: np.ndarray) -> float:
        return float(np.sqrt(share @ (values - PREDICTED) ** 2))

    for name, kinds in FEATURES.items():
        xs: list[float] = []
        ys: list[float] = []
        for number, make in kinds.items():
            phi = make(BOOK_GRID.middles())
            phi = phi[:, phi.any(axis=0)]  # tiles on which no cell lies
            root = np.sqrt(share)[:, None]
            nearest = np.linalg.lstsq(root * phi, root[:, 0] * PREDICTED, rcond=None)[0]
            exact = projected_weights(FOLLOWED, phi, share=share)
            found = lstd(GridWorldEnv(BOOK_GRID), UNIFORM, phi, TabularConfig(length=steps))
            errors = [root_mean_square(phi @ weights) for weights in (nearest, exact, found)]
            xs.append(phi.shape[1])
            ys.append(errors[2])
            told = " | ".join(f"{error:.3f}" for error in errors)
            rows.append(f"| {name}, {number} | {phi.shape[1]} | {told} |")
        lines[name] = (xs, ys)
    return lines, rows


def approximations(steps: int) -> str:
    """Return what semi-gradient methods find, in one sentence each."""
    phi = fourier_features(BOOK_GRID.middles(), order=2)
    limit = phi @ projected_weights(
        FOLLOWED, phi, share=stationary_distribution(FOLLOWED.transition)
    )
    errors, lost = [], []
    tiles = tile_features(BOOK_GRID.middles(), tilings=2, tiles=5)
    for seed in SEEDS:
        config = TabularConfig(step_size=0.25, power=0.55, length=steps, seed=seed)
        weights = semi_gradient_td(GridWorldEnv(BOOK_GRID), UNIFORM, phi, config)
        errors.append(error_of(phi @ weights, limit))
        config = replace(NOISY, step_size=0.2, power=0.0, episodes=steps // 100, seed=seed)
        weights = semi_gradient_q_learning(GridWorldEnv(BOOK_GRID), tiles, config)
        policy = np.eye(5)[(tiles @ weights.T).argmax(axis=1)]
        lost.append(error_of(solve(PROCESS.under(policy)), BEST.max(axis=1)))
    return (
        f"Semi-gradient TD with {phi.shape[1]} Fourier features comes within "
        f"{', '.join(f'{one:.2g}' for one in errors)} of the projected equation (three seeds, "
        f"{steps:,} steps). The greedy policy of Q-learning with {tiles.shape[1]} tiles in two "
        f"grids loses at most {', '.join(f'{one:.3f}' for one in lost)} of the optimal value in "
        "any cell."
    )


def path_lines(episodes: int) -> dict[str, Line]:
    """Return the returns of the path task, each the mean of ten runs and of ten episodes."""
    lines = {}
    for name, method in {
        "Sarsa": sarsa,
        "expected Sarsa": expected_sarsa,
        "Q-learning": q_learning,
    }.items():
        returns = np.mean([
            method(
                GridWorldEnv(PATH_TASK),
                TabularConfig(step_size=0.1, episodes=episodes, length=1000, seed=seed),
            ).returns
            for seed in range(10)
        ], axis=0)  # fmt: skip
        smooth = returns.reshape(-1, 10).mean(axis=1)
        lines[name] = (list(range(10, episodes + 1, 10)), smooth.tolist())
    return lines


def step_size_lines(steps: int, runs: int) -> dict[str, Line]:
    """Return the typical errors of finding the root of w - 1 from 3, with noise of size 1."""
    random, lines = np.random.default_rng(0), {}
    noise = random.normal(size=(steps, runs))
    moments = np.unique(np.geomspace(1, steps, CURVE).astype(int))
    for name, (scale, power) in {
        "1/k": (1.0, 1.0),
        "1/k, a quarter of it": (0.25, 1.0),
        "1/k^0.7": (1.0, 0.7),
        "1/k^2, half of it": (0.5, 2.0),
        "constant, 0.1": (0.1, 0.0),
    }.items():
        path = robbins_monro(
            lambda w, k: w - 1 + noise[k],
            np.full(runs, 3.0),
            step_sizes(steps, scale=scale, power=power),
        )
        error = np.sqrt(((path - 1) ** 2).mean(axis=1))
        lines[name] = (moments.tolist(), error[moments].tolist())
    return lines


def panels(measured: Mapping[str, Measured]) -> str:
    """Draw values and arrows: exact ones, then what each method found."""

    def panel(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if table.ndim == 1:  # values of the uniform policy; the arrows are greedy on them
            actions = action_values(PROCESS, table).argmax(axis=1)
            return table.reshape(5, 5), actions.reshape(5, 5)
        return table.max(axis=1).reshape(5, 5), table.argmax(axis=1).reshape(5, 5)

    dear = replace(BOOK_GRID, forbidden_reward=-10.0).process(discount=0.9)
    shown = {
        "exact": panel(BEST),
        "exact, forbidden -10": panel(action_values(dear, policy_iteration(dear).values)),
        f"exact, exploring {EPSILON:g}": panel(SOFT),
    }
    shown |= {name: panel(one.table) for name, one in measured.items()}
    return grid_panels(shown, forbidden=BOOK_GRID.forbidden, target=BOOK_GRID.target)


def page(measured: Mapping[str, Measured], rows: Sequence[str], approximated: str) -> str:
    """Return the page."""
    versions = ", ".join(f"{name} {of}" for name, of in software_versions().items())
    linear = "\n".join(rows)
    return f"""# Grid world

<!-- Written by `python -m benchmarks.grid_world`. -->

The 5 x 5 world of Zhao, 2025 (`src/eyehand/envs/grid_world.py`): forbidden cells and the boundary
cost 1, the target pays 1 for every step, discount 0.9. First row of the optimal values, to one
decimal as the book prints them: {published(-1.0)}. Where forbidden cells cost 10:
{published(-10.0)}.

## Planning

Error: the largest distance of any state's value from the closed form.

{planned()}

## Learning

Error: the largest distance of any entry of the table from the exact answer, for the seeds
{", ".join(map(str, SEEDS))}. "Optimal" is the answer of dynamic programming; "exploring" that of
the best policy which takes a random action {EPSILON:.0%} of the time, exploration included;
"uniform" the values of the uniform policy. Seconds: one run on one core of {platform.machine()}.

{learnt(measured)}

The world has no chance of its own; n counts the visits of an entry. Where the target of a method
holds no drawn action either, the whole step is best, and the answer comes out within 1e-9, or, for
Monte Carlo, up to the rewards beyond its episodes. Off policy is the run of the book: one episode,
step size 0.1. The others average over the chance of what they do.

![Largest error over steps](../images/grid_world_curves.svg)

![Values and greedy actions](../images/grid_world_values.svg)

## The path task

From the upper left to the target, forbidden cells and boundary cost 10, other steps 1; step size
and exploration 0.1. Mean of ten runs.

![Return over episodes](../images/grid_world_path.svg)

## Step sizes

The root of w - 1, measured with noise of standard deviation 1; root mean square error of 300 runs.

![Error over steps](../images/grid_world_step_sizes.svg)

## Linear values

Root mean square error of the uniform policy's values, weighted by how often it is in each cell:
the nearest linear values there are, the solution of the projected equation, and LSTD.

{linear}

![Error over features](../images/grid_world_linear.svg)

{approximated}

```bash
python -m benchmarks.grid_world
```

{versions}.
"""


def main() -> None:
    """Run everything, write the page and the pictures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    measured = {}
    for name, method in METHODS.items():
        measured[name] = measure(method)
        print(json.dumps({"method": name, "errors": measured[name].errors}))
    lines, rows = linear_values(100_000)
    pictures = {
        "values": panels(measured),
        "curves": line_chart(
            {name: one.curve for name, one in measured.items()},
            title="Largest error of any entry, first seed",
            labels=("steps", "error"),
            log=(True, True),
            heights=(1e-3, 30),
        ),
        "path": line_chart(
            path_lines(500),
            title="Sum of rewards of an episode, exploring",
            labels=("episode", "return"),
            heights=(-120, -10),
        ),
        "step_sizes": line_chart(
            step_size_lines(10_000, 300),
            title="How far from the root, typically",
            labels=("step", "error"),
            log=(True, True),
        ),
        "linear": line_chart(
            lines,
            title="LSTD: error of the uniform policy's values",
            labels=("features", "error"),
        ),
    }
    for name, drawn in pictures.items():
        (DOCS / "images" / f"grid_world_{name}.svg").write_text(drawn)
    text = page(measured, rows, approximations(100_000))
    (DOCS / "benchmarks" / "grid_world.md").write_text(text)


if __name__ == "__main__":
    main()
