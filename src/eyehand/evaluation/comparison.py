"""Many policies on the same start states: a table, a plot, and which differences are real."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from eyehand.evaluation.page import fill
from eyehand.evaluation.results import Rate, percent, percent_range, rate_of_starts
from eyehand.files import replace_text
from eyehand.functional.sign_flip import sign_flip_p_value
from eyehand.types import InputError

SIGNIFICANT = 0.05
"""A difference is called real if its adjusted p-value is at most this."""


@dataclass(frozen=True)
class ComparedRun:
    """One policy of a comparison; the field names are keys of ``comparison.json``."""

    changes: dict[str, str]
    """What sets it apart: values by dotted field."""
    episodes: list[tuple[str, int, bool, int]]
    """Task, seed, success and steps of every episode."""
    loss: float
    """Training loss at the end; those of different heads cannot be compared."""
    parameters: int
    """Trained numbers."""
    samples_per_second: float
    """Training speed, windows, over the whole run."""
    training_steps: int
    """Optimizer steps."""
    median_ms: float
    """Median time of one chunk for one robot on one core."""
    p99_ms: float
    """99th percentile of that time."""
    passes: float
    """Runs of the head's network for one chunk: denoising steps, or tokens."""
    chain_length: int = 0
    """Tasks of a chain, where chains were told and every place in them is an episode; else 0."""

    @property
    def name(self) -> str:
        """The values that set it apart."""
        return ", ".join(f"{field}={value}" for field, value in self.changes.items())

    @property
    def rate(self) -> Rate:
        """Successes among all episodes."""
        return rate_of_starts([(task, seed, success) for task, seed, success, _ in self.episodes])


@dataclass(frozen=True)
class Difference:
    """Two policies of a comparison, the better one first."""

    better: ComparedRun
    worse: ComparedRun
    p_value: float
    """Of the exact sign-flip test by seed, adjusted by Holm's method for the number of pairs."""

    @property
    def is_real(self) -> bool:
        """Whether chance in the start states is an unlikely explanation."""
        return self.p_value <= SIGNIFICANT


def differences(runs: Sequence[ComparedRun]) -> list[Difference]:
    """Return every pair of ``runs``, with p-values that may be read together.

    Raises:
        InputError: If two runs were not measured on the same start states.

    References:
        The test: `eyehand.functional.sign_flip`. Holm, 1979, doi 10.2307/4615733, by statsmodels.
    """
    # Here, because it takes 0.4 s to import and most runs compare nothing.
    from statsmodels.stats.multitest import multipletests

    starts = [[episode[:2] for episode in run.episodes] for run in runs]
    for run, own in zip(runs, starts, strict=True):
        if own != starts[0]:
            raise InputError(f"{run.name} was not measured on the start states of {runs[0].name}.")
    pairs = list(combinations(runs, 2))
    more = [difference_by_seed(first.episodes, second.episodes) for first, second in pairs]
    p_values = [sign_flip_p_value(difference) for difference in more]
    adjusted = multipletests(p_values, method="holm")[1].tolist() if pairs else []
    found = []
    for (first, second), difference, p_value in zip(pairs, more, adjusted, strict=True):
        if difference.sum() < 0:
            first, second = second, first
        found.append(Difference(first, second, p_value))
    return found


def difference_by_seed(
    first: Sequence[tuple[str, int, bool, int]], second: Sequence[tuple[str, int, bool, int]]
) -> Integer[np.ndarray, " seed"]:
    """Return how many episodes of each seed the first policy won more than the second.

    Args:
        first: Task, seed, success and steps of every episode.
        second: The same of another policy, on the same start states.

    Example:
        >>> one = [("reach", 5, True, 40), ("push", 5, True, 60), ("reach", 6, False, 500)]
        >>> two = [("reach", 5, False, 500), ("push", 5, True, 70), ("reach", 6, True, 90)]
        >>> difference_by_seed(one, two)
        array([ 1, -1])
    """
    wins = Counter({seed: 0 for _, seed, _, _ in first})
    wins.update(seed for _, seed, success, _ in first if success)
    wins.subtract(seed for _, seed, success, _ in second if success)
    return np.array([wins[seed] for seed in sorted(wins)])


def differences_text(runs: Sequence[ComparedRun]) -> str:
    """Say which differences are real, and that no other was shown."""
    if len(runs) < 2:
        return ""
    found = differences(runs)
    seeds = len({seed for _, seed, _, _ in runs[0].episodes})
    same, together, kind = (
        ("places in chains", "chains begin alike", "starts")
        if runs[0].chain_length
        else ("start states", "the seed is the same", "seeds")
    )
    test = (
        f"exact sign-flip test on the same {runs[0].rate.episodes} {same}, flipped together "
        f"where {together} ({seeds} {kind}), Holm-corrected over {len(found)} "
        f"pair{'s' * (len(found) > 1)}"
    )
    real = sorted((one for one in found if one.is_real), key=lambda one: one.p_value)
    if not real:
        least = min(1.0, len(found) * 2.0 ** (1 - seeds))
        few = f" {seeds} {kind} are too few to show any." if least > SIGNIFICANT else ""
        return f"No difference shown ({test}, p <= {SIGNIFICANT}).{few}"
    lines = [f"Differences shown ({test}, p <= {SIGNIFICANT}):", ""]
    for one in real:
        points = 100 * (one.better.rate.success_rate - one.worse.rate.success_rate)
        lines.append(
            f"- {one.better.name} over {one.worse.name}: {points:+.1f} points, "
            f"p = {one.p_value:.2g}"
        )
    if len(real) < len(found):
        lines += ["", "Between all other pairs: no difference shown."]
    return "\n".join(lines)


def comparison_table(runs: Sequence[ComparedRun]) -> str:
    """Return the table in Markdown, best first."""
    fields = list(dict.fromkeys(field for run in runs for field in run.changes))
    chains = any(run.chain_length for run in runs)
    head = [
        *fields, *(["average length"] if chains else []), "success", "95 % interval", "episodes",
        "training loss", "steps", "parameters", "samples/s", "chunk p50, ms", "p99, ms",
        "passes/chunk",
    ]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for run in best_first(runs):
        rate = run.rate
        rows.append([
            *(run.changes.get(field, "") for field in fields),
            *([f"{run.chain_length * rate.success_rate:.2f}"] if chains else []),
            percent(rate.success_rate),
            percent_range(rate.interval),
            f"{rate.successes}/{rate.episodes}",
            f"{run.loss:.4f}",
            f"{run.training_steps:,}",
            f"{run.parameters:,}",
            f"{run.samples_per_second:,.0f}",
            f"{run.median_ms:.1f}",
            f"{run.p99_ms:.1f}",
            f"{run.passes:.3g}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def best_first(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """Return the runs by success; equals stay in their order."""
    return sorted(runs, key=lambda run: -run.rate.success_rate)


def comparison_plot(runs: Sequence[ComparedRun], *, title: str) -> str:
    """Draw success rates with their intervals as an SVG that follows the reader's light or dark."""
    return fill("comparison.svg", runs=best_first(runs), title=title)


def write_comparison(
    folder: Path,
    sections: Mapping[str, Sequence[ComparedRun]],
    verdicts: Mapping[str, str],
    *,
    title: str,
    lead: str,
) -> str:
    """Write ``comparison.md``, ``comparison.json`` and a plot per section into ``folder``.

    ``sections`` are runs by the title of their table; tables without runs are left out.
    ``verdicts`` say what each table shows, ``lead`` what was measured, and how. The page is
    returned.
    """
    parts, everything = [f"# {title}", lead], {}
    for name, runs in sections.items():
        if not runs:
            continue
        plot = folder / f"{name.lower().replace(' ', '-')}.svg"
        replace_text(plot, comparison_plot(runs, title=name))
        parts += [f"## {name}", comparison_table(runs), verdicts[name], f"![{name}]({plot.name})"]
        everything[name] = [asdict(run) for run in runs]
    text = "\n\n".join(part for part in parts if part) + "\n"
    replace_text(folder / "comparison.md", text)
    replace_text(folder / "comparison.json", json.dumps(everything) + "\n")
    return text
