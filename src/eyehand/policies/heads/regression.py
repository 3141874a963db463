"""What heads that regress actions end with: Huber on the motion, cross-entropy on the gripper.

As RoboFlamingo trains (Li et al., 2023, sec. 4.3, https://arxiv.org/abs/2311.01378). The last
number of an action is the gripper, in [-1, 1]; its label may lie between (a soft target).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class RegressionConfig:
    """The loss of a head that regresses."""

    huber_delta: float = 0.1
    """Where the motion's loss turns from square to linear, in normalised units; small is L1,
    published 1."""
    gripper_weight: float = 0.1
    """Weight of the gripper's cross-entropy beside the motion's loss; published 0.01."""


def regression_loss(
    motion: Float[Tensor, "batch history horizon motion"],
    gripper: Float[Tensor, "batch history horizon"],
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
    over processes is the loss of the global batch.

    Args:
        motion: Predicted motion, in units of the network.
        gripper: Logit that the gripper closes.
        action: Labels in [-1, 1].
        mask: False where a label is padding.
        huber_delta: Where Huber's loss turns from square to linear, > 0.
        gripper_weight: Weight of the gripper's loss, >= 0.

    Example:
        >>> import torch
        >>> zero = torch.zeros(1, 1, 1, 2)
        >>> mask = torch.ones(1, 1, 1, dtype=torch.bool)
        >>> losses = regression_loss(
        ...     zero[..., :1], zero[..., 0], zero + 3, mask, huber_delta=1.0, gripper_weight=0.0
        ... )
        >>> losses["loss"]
        tensor(2.5000)
    """
    weight = mask.float()
    huber = F.smooth_l1_loss(motion.float(), action[..., :-1], beta=huber_delta, reduction="none")
    closed = (action[..., -1] + 1) / 2
    entropy = F.binary_cross_entropy_with_logits(gripper.float(), closed, reduction="none")
    motion_loss = (huber * weight[..., None]).mean()
    gripper_loss = (entropy * weight).mean()
    return {
        "loss": motion_loss + gripper_weight * gripper_loss,
        "motion": motion_loss,
        "gripper": gripper_loss,
    }


class RegressionOutput(nn.Linear):
    """The last linear layer of a head that regresses: motion as it is, the gripper as a logit.

    Args:
        dim: Width of a frame's memory.
        config: The loss.
        horizon: Actions per chunk.
        action_dim: Numbers per action; the last is the gripper.
        tanh: Keep the motion in (-1, 1) by tanh, as RoboFlamingo does; else only acting clips it.
    """

    def __init__(
        self, dim: int, *, config: RegressionConfig, horizon: int, action_dim: int, tanh: bool
    ) -> None:
        super().__init__(dim, horizon * action_dim)
        self.config = config
        self.horizon = horizon
        self.tanh = tanh

    def loss(
        self,
        memory: Float[Tensor, "batch history dim"],
        action: Float[Tensor, "batch history horizon action"],
        mask: Bool[Tensor, "batch history horizon"],
    ) -> dict[str, Tensor]:
        """Return :func:`regression_loss` of the chunks that begin at each frame."""
        motion, gripper = self.split(memory)
        return regression_loss(
            motion,
            gripper,
            action,
            mask,
            huber_delta=self.config.huber_delta,
            gripper_weight=self.config.gripper_weight,
        )

    def act(self, memory: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch horizon action"]:
        """Return the chunks that begin at one frame each, in [-1, 1]."""
        motion, gripper = self.split(memory)
        return torch.cat([motion.clamp(-1, 1), 2 * gripper.sigmoid()[..., None] - 1], dim=-1)

    def split(
        self, memory: Float[Tensor, "*batch dim"]
    ) -> tuple[Float[Tensor, "*batch horizon motion"], Float[Tensor, "*batch horizon"]]:
        """Return the motion and the logit that the gripper closes."""
        output = rearrange(self(memory).float(), "... (h a) -> ... h a", h=self.horizon)
        motion = output[..., :-1]
        return motion.tanh() if self.tanh else motion, output[..., -1]
