"""One evaluation: a checkpoint, the protocol, and the report."""

from pathlib import Path

from rich.console import Console

from eyehand.evaluation.protocol import EvalConfig, evaluate
from eyehand.evaluation.report import write_report
from eyehand.evaluation.results import Results, results_table
from eyehand.policies.inputs import only_camera
from eyehand.policies.registry import load_policy


def measure(checkpoint: Path, config: EvalConfig) -> Results:
    """Measure ``checkpoint``, write ``results.json`` and ``report.html`` into ``config.out``.

    Raises:
        InputError: If the checkpoint is broken, or ``config.out`` holds another evaluation.
    """
    policy = load_policy(checkpoint)
    results = evaluate(
        policy,
        config,
        checkpoint=checkpoint,
        camera=only_camera(policy.config.cameras),
        image_size=policy.config.image_size,
    )
    report = write_report(config.out, training=checkpoint)
    console = Console(highlight=False)
    console.print(results_table(results))
    console.print(f"films, curves and a table: {report}", soft_wrap=True)
    return results
