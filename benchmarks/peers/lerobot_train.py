"""Train LeRobot's ACT or Diffusion Policy for a wall time, or measure how fast they are.

Runs in LeRobot's Python and imports nothing of eyehand:

    python -m benchmarks.peers.lerobot_train train act --data DIR --tasks reach,push \
        --minutes 30 --cores 2 --out DIR
    python -m benchmarks.peers.lerobot_train speed act --data DIR --tasks reach,push --cores 2 \
        --seconds 10 --out FILE

Data set, loader, policy, normalisation, optimizer, gradient clipping and schedule are LeRobot's own
with its defaults, as its ``lerobot-train`` puts them together. ``changes`` says what is not.
"""

import argparse
import platform
import resource
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.datasets.sampler import EpisodeAwareSampler
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from lerobot.utils.random_utils import set_seed

try:  # 0.5 and later, for Python 3.12 and later
    from lerobot.utils.constants import IMAGENET_STATS
    from lerobot.utils.feature_utils import dataset_to_policy_features
    from lerobot.utils.utils import cycle
except ImportError:  # 0.4
    from lerobot.datasets.factory import IMAGENET_STATS
    from lerobot.datasets.utils import cycle, dataset_to_policy_features

from benchmarks.peers.command import run_command
from benchmarks.peers.timing import seconds_of

STATE, ACTION = "observation.state", "action"
BATCH_SIZE = 8
"""LeRobot's default."""
TICKS = 10_000
"""Steps that LeRobot's schedule is built for; it goes on with the clock, not with the steps. Its
500 steps of warm-up are then a twentieth of the run."""


def changes(name: str, denoising_steps: int | None) -> dict[str, Any]:
    """Return the fields of the policy's config that are not the default of this LeRobot.

    ImageNet's weights would have to be downloaded; without them Diffusion Policy has the group
    normalisation of its authors. A picture of 96 pixels forces nothing.
    """
    wanted: dict[str, Any] = {"pretrained_backbone_weights": None}
    if name == "diffusion":
        wanted["use_group_norm"] = True
    if denoising_steps is not None:
        wanted |= {"noise_scheduler_type": "DDIM", "num_inference_steps": denoising_steps}
    default = make_policy_config(name)
    return {field: value for field, value in wanted.items() if getattr(default, field) != value}


class Learner:
    """A policy of LeRobot with its data and its optimizer.

    Args:
        name: act or diffusion.
        folder: A data set that eyehand recorded.
        tasks: Tasks whose episodes are learned from; several are told apart by a one-hot that is
            appended to the state.
        workers: Processes that load.
        seed: Seeds weights, order and noise.
        changed: Fields of the policy's config that are not LeRobot's default.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        tasks: list[str],
        *,
        workers: int,
        seed: int,
        changed: dict[str, Any],
    ) -> None:
        set_seed(seed)
        meta = LeRobotDatasetMetadata("eyehand/peers", root=folder)
        names = meta.episodes["eyehand/task"]
        self.task_number = torch.tensor([tasks.index(n) if n in tasks else -1 for n in names])
        self.tasks = tasks
        extra = len(tasks) if len(tasks) > 1 else 0
        self.config = make_config(name, meta.features, extra=extra, changed=changed)
        (self.camera,) = self.config.image_features
        self.backend = video_backend()
        self.dataset = LeRobotDataset(
            "eyehand/peers",
            root=folder,
            delta_timestamps=resolve_delta_timestamps(self.config, meta),
            video_backend=self.backend,
        )
        sampler = EpisodeAwareSampler(
            meta.episodes["dataset_from_index"],
            meta.episodes["dataset_to_index"],
            episode_indices_to_use=[i for i, n in enumerate(names) if n in tasks],
            drop_n_last_frames=getattr(self.config, "drop_n_last_frames", 0),
            shuffle=True,
        )
        self.frames = len(sampler)
        self.loader = torch.utils.data.DataLoader(
            self.dataset, BATCH_SIZE, sampler=sampler, num_workers=workers
        )
        self.preprocess, self.postprocess = make_pre_post_processors(
            self.config, dataset_stats=self._statistics()
        )
        self.policy = get_policy_class(name)(self.config)
        preset = self.config.get_optimizer_preset()
        self.clip = preset.grad_clip_norm
        self.optimizer = preset.build(self.policy.get_optim_params())
        schedule = self.config.get_scheduler_preset()
        self.schedule = None if schedule is None else schedule.build(self.optimizer, TICKS)

    def batches(self) -> Iterator[dict[str, Any]]:
        """Yield batches for ever, of what the policy may read and nothing else."""
        for item in cycle(self.loader):
            batch = {name: item[name] for name in (self.camera, STATE, ACTION, "action_is_pad")}
            batch[STATE] = self._tell_task(item[STATE], item["episode_index"])
            yield batch

    def step(self, batch: dict[str, Any], *, progress: float) -> float:
        """Take one optimizer step; return the loss.

        Args:
            batch: One of ``batches``.
            progress: Share of the run that is done, in [0, 1].
        """
        self.policy.train()
        loss, _ = self.policy.forward(self.preprocess(batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        while self.schedule is not None and self.schedule.last_epoch < int(TICKS * progress):
            self.schedule.step()
        return loss.item()

    def act(self, picture: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Plan anew for one robot and return what it does now."""
        self.policy.reset()
        batch = self.preprocess({self.camera: picture[None], STATE: state[None]})
        return self.postprocess(self.policy.select_action(batch))

    def save(self, folder: Path) -> None:
        """Write what lerobot_serve.py reads."""
        for part in (self.policy, self.preprocess, self.postprocess):
            part.save_pretrained(folder)

    def _tell_task(self, state: torch.Tensor, episode: torch.Tensor) -> torch.Tensor:
        """Append the one-hot of the task to (batch, state) or (batch, time, state)."""
        if len(self.tasks) == 1:
            return state
        mark = torch.eye(len(self.tasks))[self.task_number[episode]]
        if state.ndim == 3:
            mark = mark[:, None].expand(-1, state.shape[1], -1)
        return torch.cat([state, mark], dim=-1)

    def _statistics(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return statistics of the chosen episodes; pictures get ImageNet's, LeRobot's default."""
        columns = [STATE, ACTION, "episode_index"]
        table = self.dataset.hf_dataset.with_format("torch", columns=columns)[:]
        chosen = self.task_number[table["episode_index"]] >= 0
        state = self._tell_task(table[STATE][chosen], table["episode_index"][chosen])
        found = {
            name: {
                "mean": values.mean(dim=0),
                "std": values.std(dim=0),
                "min": values.amin(dim=0),
                "max": values.amax(dim=0),
            }
            for name, values in ((STATE, state), (ACTION, table[ACTION][chosen]))
        }
        picture = {name: torch.tensor(values) for name, values in IMAGENET_STATS.items()}
        return found | {self.camera: picture}


def make_config(
    name: str, features: dict[str, Any], *, extra: int, changed: dict[str, Any]
) -> PreTrainedConfig:
    """Return LeRobot's config for these features and ``extra`` numbers after the state.

    Raises:
        ValueError: If anything but one picture and the state would be an input.
    """
    found = dataset_to_policy_features(features)
    outputs = {key: found.pop(key) for key in [ACTION]}
    cameras = [key for key, feature in found.items() if feature.type is FeatureType.VISUAL]
    if len(cameras) != 1 or set(found) != {*cameras, STATE}:
        raise ValueError(f"the inputs must be one picture and {STATE}. Got {sorted(found)}.")
    width = found[STATE].shape[0] + extra
    found[STATE] = PolicyFeature(type=FeatureType.STATE, shape=(width,))
    return make_policy_config(
        name,
        input_features=found,
        output_features=outputs,
        device="cpu",
        push_to_hub=False,
        **changed,
    )


def video_backend() -> str:
    """Return torchcodec, LeRobot's default, where it finds an FFmpeg, and PyAV otherwise."""
    try:
        import torchcodec  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return "pyav"
    return "torchcodec"


def make_learner(options: argparse.Namespace) -> Learner:
    """Return what the command line asks for."""
    return Learner(
        options.name,
        options.data,
        options.tasks.split(","),
        workers=options.cores,
        seed=options.seed,
        changed=changes(options.name, options.denoising_steps),
    )


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Train, save, and return what came of it."""
    began = perf_counter()
    learner = make_learner(options)
    preparation = perf_counter() - began
    began, limit, losses = perf_counter(), 60 * options.minutes, []
    batches = learner.batches()
    while (passed := perf_counter() - began) < limit:
        losses.append(learner.step(next(batches), progress=passed / limit))
        if not np.isfinite(losses[-1]):
            raise RuntimeError(f"the loss is {losses[-1]} at step {len(losses)}")
    learner.save(options.out)
    parameters = sum(value.numel() for value in learner.policy.parameters())
    return {
        "tasks": learner.tasks,
        "frames": learner.frames,
        "seconds": passed,
        "preparation_seconds": preparation,
        "steps": len(losses),
        "samples": BATCH_SIZE * len(losses),
        "batch_size": BATCH_SIZE,
        "first_loss": losses[0],
        "final_loss": float(np.mean(losses[-20:])),
        "parameters_trained": parameters,
        "parameters_frozen": 0,
        "precision": "fp32",
        "peak_resident_main": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "inputs": sorted(learner.config.input_features),
        "changes": changes(options.name, options.denoising_steps),
        "loader": f"DataLoader, {options.cores} workers, {learner.backend}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("lerobot", "torch", "torchvision")},
        },
    }


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Measure loader, optimizer step and call of the policy, each alone, for some seconds."""
    learner = make_learner(options)
    loading = seconds_of(learner.batches().__next__, options.seconds)
    batch = next(learner.batches())
    stepping = seconds_of(lambda: learner.step(batch, progress=0.5), options.seconds)
    torch.set_num_threads(1)
    picture = batch[learner.camera].reshape(-1, *batch[learner.camera].shape[-3:])[0]
    state = batch[STATE].reshape(-1, batch[STATE].shape[-1])[0]
    with torch.inference_mode():
        calling = seconds_of(lambda: learner.act(picture, state), options.seconds)
    return {
        "loader_samples_per_second": BATCH_SIZE * len(loading) / sum(loading),
        "step_samples_per_second": BATCH_SIZE * len(stepping) / sum(stepping),
        "call_milliseconds": [1000 * value for value in calling],
    }


if __name__ == "__main__":
    run_command(__doc__.splitlines()[0], ["act", "diffusion"], train=train, speed=speed)
