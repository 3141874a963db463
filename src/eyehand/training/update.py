"""What the loop asks of a way to learn, and a check of it.

The loop (:mod:`eyehand.training.loop`) resumes, saves, measures, logs and schedules; what a batch
does to the weights is an `Update`'s alone. Supervised learning is one
(:mod:`eyehand.training.supervised`); a GAN is another, with two learners that step in turn. An
algorithm that fits here needs no loop of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor

from eyehand.training.config import TrainBatch
from eyehand.training.distributed import seed_step
from eyehand.training.learner import Learner


class Update(ABC):
    """One way to learn from batches.

    The loop calls `prepare` once, then `load_state_dict` where a run goes on, then `step` for each
    batch. Before each call of `step` it has set the rates of all optimizers and seeded torch's
    generators, so that what is drawn depends on seed, batch and process alone.

    Whatever else decides the next step, such as a state that batches hand on or the weights of a
    teacher, goes into `state_dict` too: then a run that was killed ends as if it had not been.
    """

    learners: Mapping[str, Learner]
    """Every network that learns, by name; the state's names begin with it."""
    published: ClassVar[str] = "averages/"
    """Beginning of the names of the state that others load, as model.safetensors."""

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device, and share the work out over the processes.

        The first batch is for what must be known of it; the first step gets it again.
        """
        for learner in self.learners.values():
            learner.prepare(accelerator)

    @abstractmethod
    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Learn from one batch.

        Returns:
            Single numbers to log, ``"loss"`` among them. Other names may come in some steps only;
            each is averaged over the steps that gave it. A ``loss`` or ``gradient_norm`` that is
            not finite stops the run.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that decides the next steps; whole in the first process."""
        return {
            _join(title, name): tensor
            for title, learner in self.learners.items()
            for name, tensor in learner.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; called after `prepare`.

        Raises:
            InputError: If it is of another network.
        """
        for title, learner in self.learners.items():
            start = _join(title, "")
            learner.load_state_dict(
                {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
            )


def _join(title: str, name: str) -> str:
    """A learner whose name is empty gives its state no further beginning."""
    return f"{title}/{name}" if title else name


def check_update(
    make: Callable[[], Update],
    batches: Callable[[int], Iterator[TrainBatch]],
    *,
    steps: int = 4,
    accelerator: Accelerator | None = None,
) -> None:
    """Raise ``AssertionError`` with a sentence if an update breaks the contract.

    Checked are: losses are finite single numbers; weights move; a state of float or integer tensors
    holds what is published; and after half of the steps a new update with the state of the old one
    goes on as the old one does, to the bit.

    Args:
        make: Makes the update, always with the same weights.
        batches: As for :func:`eyehand.training.loop.train`.
        steps: How many to take in all, at least 2; as many as it takes for everything to move.
        accelerator: What the updates are prepared with; the default is this process alone.
    """
    accelerator = accelerator or Accelerator(cpu=True)

    def started(start: int) -> tuple[Update, Iterator[TrainBatch]]:
        update = make()
        update.prepare(accelerator, next(batches(start)))
        return update, batches(start)

    def go(update: Update, source: Iterator[TrainBatch], first: int, last: int) -> None:
        for step in range(first, last):
            seed_step(0, step, 0)
            found = update.step(next(source))
            assert "loss" in found, f"step returns {', '.join(found)}; `loss` must be among them."
            for name, value in found.items():
                number = torch.as_tensor(value)
                assert number.numel() == 1, f"{name} has the shape {tuple(number.shape)}."
                assert number.isfinite().all(), f"{name} is {value}, not finite."

    half = steps // 2
    one, source = started(0)
    before = one.state_dict()
    go(one, source, 0, half)
    middle = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    assert any(name.startswith(one.published) for name in middle), (
        f"no name of the state begins with {one.published!r}, which is to be published."
    )
    for title in one.learners:
        names = [n for n in before if n.startswith(_join(title, "weights/"))]
        moved = any(not torch.equal(before[name], middle[name]) for name in names)
        assert moved, f"no weight of learner {title!r} moved in {half} steps."
    go(one, source, half, steps)
    other, source = started(half)
    other.load_state_dict(middle)
    go(other, source, half, steps)
    wanted, got = one.state_dict(), other.state_dict()
    assert wanted.keys() == got.keys(), f"lost or new: {sorted(wanted.keys() ^ got.keys())}."
    for name, tensor in wanted.items():
        assert torch.equal(tensor, got[name]), f"{name} differs after going on from a state."
