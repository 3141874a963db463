"""Supervised learning: one network with ``loss(batch)``, AdamW, and a moving average."""

from collections.abc import Mapping

from accelerate import Accelerator
from torch import Tensor, nn

from eyehand.training.config import TrainBatch, TrainConfig
from eyehand.training.distributed import has_unused_weights, is_replicated
from eyehand.training.learner import Learner
from eyehand.training.optimizer import build_optimizer
from eyehand.training.update import Update


class SupervisedUpdate(Update):
    """Lower ``loss(batch)["loss"]`` by AdamW.

    Args:
        network: Has ``loss(batch)``, which returns scalars, ``"loss"`` among them; left in training
            mode. It may say how its parts are to be learnt (:mod:`eyehand.training.optimizer`).
        config: Rates, weight decay, clipping, average and accumulation.

    Raises:
        InputError: If nothing trains.
    """

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        optimizer = build_optimizer(
            network, learning_rate=config.learning_rate, weight_decay=config.weight_decay
        )
        self.learner = Learner(
            network.train(),
            optimizer,
            method="loss",
            gradient_clip=config.gradient_clip,
            average_decay=config.ema_decay,
        )
        self.learners = {"": self.learner}
        self.accumulate = config.accumulate
        self.held = 0
        """Batches whose gradients wait for the step; 0 whenever a state is saved."""

    def prepare(self, accelerator: Accelerator, batch: TrainBatch) -> None:
        """Move to the device, and share the work out over the processes."""
        unused = is_replicated(accelerator) and has_unused_weights(
            self.learner.network, batch, accelerator
        )
        self.learner.prepare(accelerator, unused=unused)

    def step(self, batch: TrainBatch) -> Mapping[str, Tensor | float]:
        """Add up the batch's gradient; move the weights at every ``accumulate``-th batch."""
        learner = self.learner
        if self.held == 0:
            learner.zero_grad()
        self.held = (self.held + 1) % self.accumulate
        with learner.held_back(self.held > 0):
            losses: dict[str, Tensor] = learner(batch)
            learner.backward(losses["loss"] / self.accumulate)
        return losses if self.held else {**losses, "gradient_norm": learner.step()}
