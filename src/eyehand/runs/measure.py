"""One evaluation: a checkpoint or a server, the protocol, and the report."""

import hashlib
from pathlib import Path

from rich.console import Console

from eyehand.envs.rollout import Start
from eyehand.envs.suite import find_suite
from eyehand.evaluation.chain import chains_table, evaluate_chains
from eyehand.evaluation.journal import load_actions
from eyehand.evaluation.protocol import EvalConfig, EvaluatedPolicy, evaluate
from eyehand.evaluation.report import write_report
from eyehand.evaluation.rerun_recording import AttentionFunction, check_recording, record_episodes
from eyehand.evaluation.results import Results, results_table
from eyehand.functional.wire import pack
from eyehand.policies.registry import load_policy
from eyehand.serving.client import MOST_PIXELS, RemotePolicy
from eyehand.types import Actor, InputError


def measure(checkpoint: Path, config: EvalConfig, *, rerun: Path | None = None) -> Results:
    """Measure ``checkpoint``, write ``results.json`` and ``report.html`` into ``config.out``.

    Where ``config`` asks for chains, ``chains.json`` is written, too. ``rerun`` names a file for a
    recording of the filmed episodes.

    Raises:
        InputError: If the checkpoint is broken, or ``config.out`` holds another evaluation.
    """
    if rerun is not None:
        check_recording(rerun)
    policy = load_policy(checkpoint)
    executed = getattr(policy.config, "executed", config.execution.steps)
    if executed != config.execution.steps:
        raise InputError(
            f"{checkpoint} corrects {executed} actions of a chunk: measure it with "
            f"--execution.steps {executed}."
        )
    evaluated = EvaluatedPolicy.checkpoint(checkpoint, cameras=policy.cameras)
    results = _measure(policy, config, evaluated, training=checkpoint)
    if rerun is not None:
        _record(rerun, results, config, evaluated, look=policy.look)
    return results


def measure_server(
    address: str,
    config: EvalConfig,
    *,
    token: str | None,
    camera: str | None,
    image_size: int,
    rerun: Path | None = None,
) -> Results:
    """Measure the policy on a server, as `measure` does with a checkpoint.

    Args:
        address: Such as ``ws://127.0.0.1:8000``; any server that speaks openpi's protocol and takes
            our names of the fields (docs/serving.md).
        config: What is measured.
        token: The server's token, if it asks for one.
        camera: Camera for a server that does not name its own; None is the suite's usual one.
        image_size: Height and width of that server's pictures, pixels.
        rerun: As of `measure`.

    Raises:
        InputError: If no policy server answers, its policy does not fit the robot, or
            ``config.out`` holds another evaluation.
    """
    if rerun is not None:
        check_recording(rerun)
    suite = find_suite(config.suite)
    numbers = len(suite.action)
    policy = RemotePolicy(address, token=token, action_dim=numbers)
    try:
        told = policy.metadata
        if told.get("action_dim", numbers) != numbers:
            raise InputError(
                f"the policy at {address} has actions of {told['action_dim']} numbers; this robot "
                f"takes {numbers}."
            )
        names = tuple(told.get("cameras", [camera or suite.camera]))
        suite.check_cameras(names)
        image_size = told.get("image_size", image_size)
        if not 1 <= image_size <= MOST_PIXELS:
            raise InputError(f"a picture has 1 to {MOST_PIXELS} pixels a side. Got {image_size}.")
        words = ("--server", address, "--camera", names[0], "--image-size", str(image_size))
        digest = told.get("checkpoint_sha256") or hashlib.sha256(pack(told)).hexdigest()
        cameras = dict.fromkeys(names, image_size)
        evaluated = EvaluatedPolicy(address, digest, cameras, words=words)
        results = _measure(policy, config, evaluated, training=None)
        if rerun is not None:
            _record(rerun, results, config, evaluated, look=None)
        return results
    finally:
        policy.close()


def _measure(
    policy: Actor, config: EvalConfig, evaluated: EvaluatedPolicy, *, training: Path | None
) -> Results:
    results = evaluate(policy, config, evaluated)
    chains = evaluate_chains(policy, config, evaluated) if config.chains else None
    report = write_report(config.out, training=training)
    console = Console(highlight=False)
    console.print(results_table(results))
    if chains is not None:
        console.print(chains_table(chains))
    console.print(f"films, curves and a table: {report}", soft_wrap=True)
    return results


def _record(
    file: Path,
    results: Results,
    config: EvalConfig,
    evaluated: EvaluatedPolicy,
    *,
    look: AttentionFunction | None,
) -> None:
    """Write the filmed episodes into a recording."""
    suite, episodes = find_suite(config.suite), []
    for film in results.films:
        start = Start(film.task, film.seed, suite.instructions(film.task).canonical)
        episodes.append((start, load_actions(config.out, film.task, film.seed)))
    record_episodes(
        file,
        suite,
        episodes,
        cameras=evaluated.cameras,
        look=look,
        every=config.execution.steps,
    )
