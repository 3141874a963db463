"""What heads that regress actions share: Huber on the motion, cross-entropy on the gripper.

As RoboFlamingo trains (Li et al., 2023, sec. 4.3, https://arxiv.org/abs/2311.01378). The last
numbers of an action may be grippers, in [-1, 1]; a label may lie between (a soft target).
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.functional.noise import gaussian_log_prob
from eyehand.nn.perceptron import Perceptron
from eyehand.policies.heads.chunk import row_noise
from eyehand.policies.heads.contract import (
    ActionHeadConfig,
    Chunk,
    ChunkMask,
    Chunks,
    DrawingHead,
    Features,
    FrameMask,
    Memory,
    RowMask,
    Seeds,
)


@dataclass(frozen=True)
class RegressionConfig(ActionHeadConfig):
    """The loss of a head that regresses."""

    huber_delta: float = 0.1
    """Where the motion's loss turns from square to linear, in normalised units; small is L1,
    published 1."""
    gripper_weight: float = 0.1
    """Weight of the gripper's cross-entropy beside the motion's loss; published 0.01."""
    shortcut: tuple[int, ...] | None = None
    """Widths of a second perceptron, which reads the present frame alone; what it says is added, so
    that the head is a correction of one without history."""


def regression_loss(
    motion: Float[Tensor, "batch history horizon motion"],
    gripper: Float[Tensor, "batch history horizon gripper"],
    action: Float[Tensor, "batch history horizon action"],
    mask: Bool[Tensor, "batch history horizon"],
    *,
    huber_delta: float,
    gripper_weight: float,
) -> dict[str, Tensor]:
    r"""Return the losses ``motion``, ``gripper`` and ``loss``, their weighted sum, in float32.

    .. math:: L = \frac{1}{N}\sum m \, \mathrm{Huber}_\delta(\hat a - a) / \delta
                + w \frac{1}{N'}\sum m \, \mathrm{BCE}(\hat g, (g + 1) / 2)

    Huber's loss is divided by its threshold: 1 gives the published loss, a small one gives L1.
    What is masked counts as zero, and the means are over the full size (N, N'), so that the mean
    over processes is the loss of the global batch. A robot without a gripper has no such part, and
    one that is nothing but a gripper has no motion.

    Args:
        motion: Predicted motion, in units of the network.
        gripper: Logits that the grippers close; none is allowed.
        action: Labels in [-1, 1], those of the grippers last.
        mask: False where a label is padding.
        huber_delta: Where Huber's loss turns from square to linear, > 0.
        gripper_weight: Weight of the gripper's loss, >= 0.

    Example:
        >>> import torch
        >>> zero = torch.zeros(1, 1, 1, 2)
        >>> mask = torch.ones(1, 1, 1, dtype=torch.bool)
        >>> losses = regression_loss(
        ...     zero[..., :1], zero[..., 1:], zero + 3, mask, huber_delta=1.0, gripper_weight=0.0
        ... )
        >>> losses["loss"]
        tensor(2.5000)
    """
    weight = mask.float()[..., None]
    moved, closed = action.split([motion.shape[-1], gripper.shape[-1]], dim=-1)
    losses, total = {}, torch.zeros((), device=action.device)
    if motion.shape[-1]:
        huber = F.smooth_l1_loss(motion.float(), moved, beta=huber_delta, reduction="none")
        losses["motion"] = (huber * weight).mean()
        total = total + losses["motion"]
    if gripper.shape[-1]:
        entropy = F.binary_cross_entropy_with_logits(
            gripper.float(), (closed + 1) / 2, reduction="none"
        )
        losses["gripper"] = (entropy * weight).mean()
        total = total + gripper_weight * losses["gripper"]
    return {"loss": total, **losses}


class RegressionOutput(nn.Linear):
    """The last linear layer of a head that regresses: motion as it is, grippers as logits.

    Args:
        dim: Width of a frame's memory.
        horizon: Actions per chunk.
        action_dim: Numbers per action.
        gripper: How many of them, the last ones, are grippers; 0 for a robot without.
        tanh: Keep the motion in (-1, 1) by tanh, as RoboFlamingo does; else only acting clips it.
    """

    def __init__(
        self,
        dim: int,
        *,
        horizon: int,
        action_dim: int,
        gripper: int = 1,
        tanh: bool,
    ) -> None:
        super().__init__(dim, horizon * action_dim)
        self.horizon = horizon
        self.parts = [action_dim - gripper, gripper]
        self.tanh = tanh

    def split(
        self, memory: Float[Tensor, "*batch dim"]
    ) -> tuple[Float[Tensor, "*batch horizon motion"], Float[Tensor, "*batch horizon gripper"]]:
        """Return the motion, and the logits that the grippers close."""
        output = rearrange(self(memory).float(), "... (h a) -> ... h a", h=self.horizon)
        motion, gripper = output.split(self.parts, dim=-1)
        return motion.tanh() if self.tanh else motion, gripper


class Shortcut(nn.Module):
    """A perceptron on the present frame: the head `mlp` without a loss of its own.

    Args:
        dim: Width of a frame's feature.
        widths: Of the hidden layers.
        chunk: As of `ActionHeadConfig.build`.
    """

    def __init__(self, dim: int, widths: tuple[int, ...], **chunk: int) -> None:
        super().__init__()
        self.layers = Perceptron(dim, widths)
        self.to_action = RegressionOutput(widths[-1], tanh=False, **chunk)

    def forward(
        self, feature: Float[Tensor, "*batch dim"]
    ) -> tuple[Float[Tensor, "*batch horizon motion"], Float[Tensor, "*batch horizon gripper"]]:
        """Return the motion, and the logits that the grippers close."""
        return self.to_action.split(self.layers(feature))


class RegressionHead(DrawingHead):
    """A head that regresses: a memory of every frame, layers, and a :class:`RegressionOutput`.

    Arguments are those of `ActionHeadConfig.build`, and the config itself.
    """

    layers: nn.Module
    """From a frame's memory to what ``to_action`` reads."""
    to_action: RegressionOutput

    randomness = 0.1
    """A tenth of the largest action: the standard deviation of every number."""

    def __init__(self, dim: int, *, config: RegressionConfig, **chunk: int) -> None:
        super().__init__()
        self.config = config
        self.shortcut = Shortcut(dim, config.shortcut, **chunk) if config.shortcut else None

    @abstractmethod
    def remember(self, feature: Features, history_mask: FrameMask) -> Memory:
        """Return what is known at each frame."""

    def loss(
        self, feature: Features, action: Chunks, *, action_mask: ChunkMask, history_mask: FrameMask
    ) -> dict[str, Tensor]:
        """Return the losses of the chunks that begin at each frame; actions in [-1, 1]."""
        return regression_loss(
            *self._say(feature, self.remember(feature, history_mask)),
            action,
            action_mask & history_mask[..., None],
            huber_delta=self.config.huber_delta,
            gripper_weight=self.config.gripper_weight,
        )

    def act(self, feature: Features, *, history_mask: FrameMask, seed: Seeds) -> Chunk:
        """Return the chunk that begins at the last frame, in [-1, 1]."""
        return self._mean(feature, history_mask).clamp(-1, 1)

    def draw(
        self, feature: Features, *, history_mask: FrameMask, seed: Seeds, randomness: float
    ) -> tuple[Chunk, Tensor]:
        """Draw from a Gaussian about what the head says, grippers too; see `DrawingHead.draw`."""
        mean = self._mean(feature, history_mask)
        noise = row_noise(seed, horizon=mean.shape[1], action_dim=mean.shape[2])
        drawn = mean + randomness * noise
        return drawn.clamp(-1, 1), drawn

    def log_prob(
        self,
        feature: Features,
        sample: Tensor,
        *,
        history_mask: FrameMask,
        executed: RowMask,
        randomness: float,
    ) -> Float[Tensor, " batch"]:
        """Return the log-density of the executed actions before they were clipped."""
        mean = self._mean(feature, history_mask)
        every = gaussian_log_prob(sample, mean, deviation=randomness).sum(dim=-1)
        return (every * executed).sum(dim=-1)

    def _mean(self, feature: Features, history_mask: FrameMask) -> Chunk:
        """Return what the head says at the last frame, unclipped."""
        memory = self.remember(feature, history_mask)[:, -1]
        motion, gripper = self._say(feature[:, -1], memory)
        return torch.cat([motion, 2 * gripper.sigmoid() - 1], dim=-1)

    def _say(
        self, feature: Float[Tensor, "*batch dim"], memory: Float[Tensor, "*batch memory"]
    ) -> tuple[Float[Tensor, "*batch horizon motion"], Float[Tensor, "*batch horizon gripper"]]:
        """Return the motion, and the logits that the grippers close."""
        motion, gripper = self.to_action.split(self.layers(memory))
        if self.shortcut is None:
            return motion, gripper
        alone = self.shortcut(feature)
        return motion + alone[0], gripper + alone[1]
