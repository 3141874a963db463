"""One rise and fall of the learning rate, and what happens to it when a run is made longer."""

from dataclasses import dataclass
from typing import Literal

from eyehand.functional.schedule import warmup_cosine
from eyehand.training.config import TrainConfig


@dataclass(frozen=True)
class Cycle:
    """A stretch of a run over which the rate rises to its peak and falls to the end.

    A run that is resumed with the same length goes on in its cycle. With another length a new cycle
    begins where the run stands: over ``warmup`` of what is left the rate rises from where it was
    to the peak, and falls by half a cosine to the new end. So the rate never jumps, unless
    ``warmup`` is 0, which asks for the peak at once.

    Example:
        >>> ten = Cycle.of(TrainConfig(minutes=10.0))
        >>> twenty = TrainConfig(minutes=20.0, warmup=0.1)
        >>> more = ten.resumed(twenty, step=800, seconds=600.0)
        >>> [round(more.share(60.0 * minute, twenty), 3) for minute in (10, 10.5, 11, 15.5, 20)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    unit: Literal["steps", "seconds"]
    """What its length is counted in."""
    begin: float
    """Where in the run it begins."""
    end: float
    """Where in the run it ends."""
    start: float = 0.0
    """Share of the peak rate that it begins at, in [0, 1]."""

    @classmethod
    def of(cls, config: TrainConfig) -> "Cycle":
        """Return the cycle of a run that is never made longer."""
        if config.steps is not None:
            return cls("steps", 0.0, float(config.steps))
        assert config.minutes is not None  # one of the two is there
        return cls("seconds", 0.0, 60 * config.minutes)

    def resumed(self, config: TrainConfig, *, step: int, seconds: float) -> "Cycle":
        """Return the cycle in which a run goes on that stands at ``step``, after ``seconds``."""
        asked = Cycle.of(config)
        place = {"steps": float(step), "seconds": seconds}
        if (asked.unit, asked.end) == (self.unit, self.end) or asked.end <= place[asked.unit]:
            return self
        return Cycle(asked.unit, place[asked.unit], asked.end, self.share(place[self.unit], config))

    def share(self, position: float, config: TrainConfig) -> float:
        """Return the rate at a position in the run, as a share of its peak."""
        done = (position - self.begin) / (self.end - self.begin)
        return warmup_cosine(
            min(1.0, done),
            warmup=config.warmup,
            final=config.final_learning_rate,
            start=self.start,
        )
