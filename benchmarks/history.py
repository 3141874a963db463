"""Does a memory help a policy that sees single frames?

    python benchmarks/history.py --checkpoint POLICY --data DEMONSTRATIONS --out outputs/history

Heads with history are trained on the features of a policy that stays as it is
(`eyehand.runs.history`). They begin as the policy's own head. One more head without history is
trained in the same way: what it gains comes from training on, not from memory. Writes
docs/benchmarks/history.md.
"""

import argparse
from pathlib import Path

import torch

from eyehand.envs.execution import Execution
from eyehand.evaluation.comparison import difference_by_seed
from eyehand.evaluation.protocol import EvalConfig
from eyehand.evaluation.results import Results, percent_range
from eyehand.functional.sign_flip import sign_flip_p_value
from eyehand.policies.heads.gpt import GPTHeadConfig
from eyehand.policies.heads.lstm import LSTMHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.policies.heads.mlp_history import MLPHistoryHeadConfig
from eyehand.runs.history import RegressionHeadConfig, train_history
from eyehand.runs.measure import measure
from eyehand.training.config import TrainConfig

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "history.md"
HEADS: dict[str, RegressionHeadConfig] = {
    "mlp, no history": MLPHeadConfig(),
    "mlp_history": MLPHistoryHeadConfig(),
    "lstm": LSTMHeadConfig(huber_delta=0.1, gripper_weight=0.1),  # as the other heads have it
    "gpt": GPTHeadConfig(),
}
HISTORY, EXECUTED, EPISODES, FIRST = 8, 4, 20, 2_040_000


def page(found: dict[str, Results], losses: dict[str, float], minutes: float) -> str:
    """Return the page."""
    begun, *_ = found.values()
    rows = [
        "| head | loss | tier mean, % | 50 tasks, % | successes more | p |",
        "| --- |" + " --- |" * 5,
    ]
    for name, own in found.items():
        assert own.score is not None
        difference = difference_by_seed(own.episodes, begun.episodes)
        test = "" if own is begun else f"{sign_flip_p_value(difference):.2g}"
        means = [
            f"{100 * m.value:.1f} ({percent_range(m.interval)})" for m in (own.score, own.task_mean)
        ]
        loss = f"{losses[name]:.4f}" if name in losses else ""
        rows.append(f"| {name} | {loss} | {' | '.join(means)} | {difference.sum():+d} | {test} |")
    table = "\n".join(rows)
    return f"""# A memory behind an eye that stays as it is

<!-- Written by benchmarks/history.py. -->

BC-Z on the fifty tasks of Meta-World before corrections, whose features of all frames are computed
once. Each head is trained on them for {minutes:g} minutes with {torch.get_num_threads()} thread(s),
on windows of {HISTORY} frames that lie {EXECUTED} steps apart (the head without history on the last
of them), and begins as the policy's own head. `successes more` are of {EPISODES * 50:,} episodes,
and p is the exact sign-flip test by seed, not corrected for the number of tests. {EPISODES}
episodes a task, seeds from {FIRST:,}, looked at once; in brackets 95 % intervals of one training.
The loss is that of the last steps of training.

{table}

```bash
python benchmarks/history.py --minutes {minutes:g} --checkpoint outputs/mt50/policy-0 \\
    --data outputs/mt50/demonstrations --out outputs/history
```
"""


def main() -> None:
    """Train every head, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="policy of single frames")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="what it learnt from")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, per head")
    wanted = parser.parse_args()

    def evaluation(name: str) -> EvalConfig:
        return EvalConfig(
            out=wanted.out / f"evaluation-{name}",
            episodes=EPISODES,
            seed=FIRST,
            execution=Execution(steps=EXECUTED),
        )

    found, losses = {"as it is": measure(wanted.checkpoint, evaluation("begun"))}, {}
    for name, head in HEADS.items():
        out = wanted.out / head.name
        losses[name] = train_history(
            wanted.checkpoint,
            wanted.data,
            out,
            head=head,
            history=HISTORY if head.needs_history else 1,
            history_stride=EXECUTED,
            training=TrainConfig(minutes=wanted.minutes),
        ).final_loss
        found[name] = measure(out, evaluation(head.name))
    PAGE.write_text(page(found, losses, wanted.minutes))


if __name__ == "__main__":
    main()
