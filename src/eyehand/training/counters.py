"""What a run counts: where it stands, beside the tensors; state.json in a step folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dacite import Config as DaciteConfig
from dacite import DaciteError, from_dict

from eyehand.checksums import read_json
from eyehand.training.config import TrainConfig
from eyehand.training.cycle import Cycle
from eyehand.training.earlier import renewed_counters
from eyehand.types import InputError


@dataclass
class Counters:
    """What a run goes on from, beside the tensors."""

    cycle: Cycle
    """The cycle that the learning rate is in."""
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Of training."""
    flops_per_sample: float = 0.0
    """Floating-point operations, forward and backward."""
    sums: dict[str, float] = field(default_factory=dict)
    """Every figure, summed over the steps since the latest line of metrics."""
    counts: dict[str, int] = field(default_factory=dict)
    """How often each came."""
    final_loss: float | None = None
    """The loss of the latest line of metrics."""
    logged: int | None = None
    """The step of that line; None before the first, and in files of the version before."""

    @classmethod
    def read(cls, path: Path, training: Mapping[str, Any]) -> "Counters":
        """Return the counters in a state.json of this version, or of an earlier one.

        Args:
            path: The file.
            training: That section of the run's config.json.

        Raises:
            InputError: If the file is missing or damaged.
        """
        found = read_json(path)
        try:
            renewed = renewed_counters(found, training)
            return from_dict(cls, renewed, DaciteConfig(strict=True, cast=[float]))
        except (DaciteError, InputError, LookupError, TypeError, ValueError) as error:
            # Of an earlier version, which wrote no checksum.
            raise InputError(f"{path} does not say where the run stands ({error}).") from error

    def progress(self, config: TrainConfig) -> float:
        """Share of the run that is done, in [0, 1]."""
        if config.steps is not None:
            return self.step / config.steps
        assert config.minutes is not None  # one of the two is there
        return min(1.0, self.seconds / (60 * config.minutes))
