"""BC-Z beside LeRobot's ACT and Diffusion Policy: same data, same time, same cores, same starts.

Run, from the root of the repository:
    python -m benchmarks.peers.compare --minutes 30 --out outputs/peers

Stages, each with a file that says it is done: the data set, every training (its own process, in its
own Python), the speeds, every evaluation by eyehand's protocol, the table. A run that was
interrupted goes on where it was; a training that was cut short begins again.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.peers import table
from benchmarks.peers.adapter import ROOT, LeRobotPolicy
from eyehand.collection.record import RecordConfig, record
from eyehand.data.lerobot import Dataset
from eyehand.envs.execution import Execution
from eyehand.envs.metaworld import METAWORLD
from eyehand.evaluation.protocol import EvalConfig, EvaluatedPolicy, evaluate
from eyehand.evaluation.results import write_results
from eyehand.policies.registry import load_policy
from eyehand.types import Actor, InputError

EXECUTED = {"bcz": (4,), "bcz-landmarks": (4,), "act": (100, 4), "diffusion": (8,)}
"""Actions executed per plan: each policy's own default, ACT as often as BC-Z besides, and Diffusion
as many as its authors, the default of LeRobot 0.4 (0.6.1 has 32)."""
INSTALL = (
    (("lerobot[dataset,diffusion]==0.6.1",),)
    if sys.version_info >= (3, 12)
    else (("torch==2.9.1", "torchvision==0.24.1"), ("lerobot==0.4.4",))
)
"""LeRobot as it is compared, the newest for this Python; torch first, where the version matters."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--minutes", type=float, required=True, help="of every training")
    parser.add_argument("--data", type=Path, help="written by eyehand record; else recorded")
    parser.add_argument("--demonstrations", type=int, default=50, help="per task, if recorded")
    parser.add_argument("--camera", default="work_area", help="if recorded")
    parser.add_argument(
        "--sets", nargs="+", default=["drawer-open", "mt10"], help="tasks with commas, or mt10"
    )
    parser.add_argument(
        "--policies", nargs="+", choices=EXECUTED, default=["bcz", "act", "diffusion"]
    )
    parser.add_argument("--episodes", type=int, default=20, help="evaluated per task")
    parser.add_argument(
        "--diffusion-episodes", type=int,
        help="evaluated per task of diffusion, whose plans take seconds; else as many",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1_000_000, help="first start of every task")
    parser.add_argument("--training-seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument(
        "--denoising-steps", type=int, default=10,
        help="passes of diffusion at test, by DDIM; 0 is LeRobot's default, 100 by DDPM",
    )  # fmt: skip
    parser.add_argument("--speed-rounds", type=int, default=3)
    parser.add_argument("--speed-seconds", type=float, default=10.0)
    parser.add_argument(
        "--lerobot-python", default=os.environ.get("EYEHAND_LEROBOT_PYTHON"),
        help="Python with lerobot; else EYEHAND_LEROBOT_PYTHON; else one is installed",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    # The table is shown to others: of a folder on this machine only the name.
    words = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    options.command = shlex.join(["python", "-m", "benchmarks.peers.compare", *words])
    options.diffusion_episodes = options.diffusion_episodes or options.episodes
    options.out = options.out.resolve()
    options.data = (options.data or options.out / "data").resolve()
    options.sets = {name: METAWORLD.select_tasks(name) for name in options.sets}
    return options


def record_data(options: argparse.Namespace) -> None:
    """Record what is missing, if the data set is this comparison's own."""
    if options.data != options.out / "data":
        return
    tasks = dict.fromkeys(task for members in options.sets.values() for task in members)
    record(
        RecordConfig(
            out=options.data, tasks=",".join(tasks), episodes=options.demonstrations,
            workers=options.cores, perturbation=0.4, cameras=(options.camera,),
        )
    )  # fmt: skip


def check_data(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the figures depend on of the data set.

    Raises:
        InputError: If it has several cameras, pictures that are not square, or lacks a task.
    """
    dataset = Dataset(options.data)
    if len(dataset.cameras) != 1:
        raise InputError(f"{options.data} must have one camera. Got {sorted(dataset.cameras)}.")
    ((name, camera),) = dataset.cameras.items()
    if camera.height != camera.width:
        raise InputError(f"{options.data} must have square pictures. Got {camera}.")
    held = {row.task for row in dataset.episodes}
    for members in options.sets.values():
        missing = [task for task in members if task not in held]
        if missing:
            raise InputError(f"{options.data} has no episode of {missing}; it has {sorted(held)}.")
    frames = len(dataset)
    return {"data": str(options.data), "frames": frames, "camera": name, "picture": camera.height}


def keep_settings(options: argparse.Namespace, data: dict[str, Any]) -> dict[str, Any]:
    """Return what every figure depends on, and keep it beside the stages.

    Raises:
        InputError: If the folder holds stages of other settings.
    """
    names = (
        "minutes",
        "episodes",
        "diffusion_episodes",
        "seed",
        "training_seed",
        "cores",
        "denoising_steps",
    )
    settings = {name: getattr(options, name) for name in names} | data
    file = options.out / "settings.json"
    if file.is_file() and (found := json.loads(file.read_text())) != settings:
        raise InputError(
            f"{options.out} holds a comparison with {found}; this one has {settings}. Name another "
            "folder."
        )
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=1))
    return settings


def find_lerobot(options: argparse.Namespace) -> str:
    """Return the Python of an environment with LeRobot, making one (gigabytes) if none is named."""
    if options.lerobot_python:
        found = shutil.which(options.lerobot_python)
        if found is None:
            raise InputError(f"there is no Python at {options.lerobot_python!r}.")
        return str(Path(found).absolute())  # not resolved: a link leads out of its environment
    folder = options.out / "lerobot"
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        for packages in INSTALL:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "ready").touch()
    return str(python)


def command(verb: str, policy: str, tasks: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Return the command that trains a policy or measures its speed; ``--out`` is to be added."""
    ours = policy.startswith("bcz")
    python, module = (
        (sys.executable, "eyehand_train") if ours else (options.lerobot_python, "lerobot_train")
    )
    words = [python, "-m", f"benchmarks.peers.{module}", verb, policy]
    words += ["--data", str(options.data), "--tasks", ",".join(tasks)]
    words += ["--cores", str(options.cores), "--seed", str(options.training_seed)]
    words += ["--minutes", str(options.minutes), "--seconds", str(options.speed_seconds)]
    if policy == "diffusion" and options.denoising_steps:
        words += ["--denoising-steps", str(options.denoising_steps)]
    return words


def run(words: Sequence[str], *, log: Path) -> int:
    """Run a command to its end; return the most memory that it and its children held, bytes.

    Raises:
        RuntimeError: If it fails; the last line that it printed is in the message.
    """
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    peak = 0
    with log.open("wb") as stream:
        child = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
        try:
            while child.poll() is None:
                peak = max(peak, held_memory(child.pid))
                time.sleep(0.5)
        finally:
            child.kill()
            child.wait()
    if child.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"{' '.join(words)} failed: {lines[-1] if lines else ''} (see {log})")
    return peak


def held_memory(pid: int) -> int:
    """Return the bytes that a process and its children hold, pages of files aside.

    What several of them share is counted once, in equal shares (the kernel's ``Pss``).
    """
    total = 0
    try:
        members = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    for member in members:
        try:
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended between the list and the look
        for line in text.splitlines():
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                total += 1024 * int(line.split()[1])
    return total


def train(folder: Path, policy: str, tasks: Sequence[str], options: argparse.Namespace) -> None:
    """Train one policy on one set of tasks, unless that is done."""
    done = folder / "training.json"
    if done.is_file():
        return
    print(f"training {policy} on {folder.parent.name} for {options.minutes:g} minutes", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    words = [*command("train", policy, tasks, options), "--out", str(folder)]
    peak = run(words, log=log)
    found = json.loads((folder / "trained.json").read_text())
    write_json(done, found | {"peak_memory": peak, "command": words})


def measure(
    folder: Path, policy: str, options: argparse.Namespace, *, camera: str, picture: int
) -> None:
    """Evaluate one trained policy by eyehand's protocol, unless that is done."""
    tasks = json.loads((folder / "training.json").read_text())["tasks"]
    for executed in EXECUTED[policy]:
        out = folder / f"evaluation-{executed}"
        if (out / "results.json").is_file():
            continue
        print(
            f"evaluating {policy} on {folder.parent.name}, {executed} actions per plan", flush=True
        )
        ours = policy.startswith("bcz")
        episodes = options.diffusion_episodes if policy == "diffusion" else options.episodes
        config = EvalConfig(
            out=out, tasks=",".join(tasks), episodes=episodes, seed=options.seed,
            workers=options.cores, films=0, execution=Execution(steps=executed if ours else 1),
        )  # fmt: skip
        out.mkdir(exist_ok=True)
        with open_policy(folder, policy, tasks, executed, options) as acting:
            evaluated = EvaluatedPolicy.checkpoint(folder, cameras={camera: picture})
            results = evaluate(acting, config, evaluated)
        if not ours:
            results = replace(
                results,
                command=options.command,
                observation=results.observation | {"instruction": "none; one-hot of the task"},
                execution=results.execution | {"actions_per_plan": executed},
            )
            write_results(results, out / "results.json")


def open_policy(
    folder: Path, policy: str, tasks: Sequence[str], executed: int, options: argparse.Namespace
) -> AbstractContextManager[Actor]:
    """Return a trained policy that ends with its block."""
    if policy.startswith("bcz"):
        return nullcontext(load_policy(folder))
    words = [options.lerobot_python, "-m", "benchmarks.peers.lerobot_serve", str(folder)]
    words += ["--executed", str(executed)]
    return LeRobotPolicy(words, tasks=tasks, log=folder / f"serve-{executed}.log")


def measure_speeds(options: argparse.Namespace) -> None:
    """Measure loaders, steps and calls of all policies in alternating rounds, unless done."""
    done = options.out / "speed.json"
    found: dict[str, list[dict[str, Any]]] = json.loads(done.read_text()) if done.is_file() else {}
    missing = [policy for policy in options.policies if policy not in found]
    if not missing:
        return
    # Anew for all of them: a ratio comes from rounds in which both sides take turns.
    found = {policy: [] for policy in options.policies}
    tasks = max(options.sets.values(), key=len)
    file = options.out / "round.json"
    for number in range(options.speed_rounds):
        for policy in options.policies:
            print(f"speed of {policy}, round {number + 1} of {options.speed_rounds}", flush=True)
            words = [*command("speed", policy, tasks, options), "--out", str(file)]
            run(words, log=options.out / "speed.log")
            found[policy].append(json.loads(file.read_text()))
    file.unlink()
    write_json(done, found)


def write_json(file: Path, content: Any) -> None:
    """Write a file that says a stage is done: whole, or not at all."""
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(content, indent=1))
    new.replace(file)


def main(arguments: Sequence[str]) -> None:
    """Run the stages that are left and print the table."""
    options = parse(arguments)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    torch.set_num_threads(options.cores)
    # Refuses the start states of training before an hour is spent.
    EvalConfig(options.out, episodes=options.episodes, seed=options.seed, workers=options.cores)
    record_data(options)
    settings = keep_settings(options, check_data(options))
    if set(options.policies) & {"act", "diffusion"}:
        options.lerobot_python = find_lerobot(options)
    # First what depends on the clock, and so on nothing else running, and the rest after it.
    for name, tasks in options.sets.items():
        for policy in options.policies:
            train(options.out / name / policy, policy, tasks, options)
    measure_speeds(options)
    for name in options.sets:
        for policy in options.policies:
            folder = options.out / name / policy
            measure(folder, policy, options, camera=settings["camera"], picture=settings["picture"])
    file = table.write(options.out, settings=settings | {"command": options.command})
    print(file.read_text())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"compare: {error}")
