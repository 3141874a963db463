"""The loss of heads that regress actions: Huber on the motion, cross-entropy on the gripper.

As RoboFlamingo trains (Li et al., 2023, sec. 4.3, https://arxiv.org/abs/2311.01378). The last
number of an action is the gripper, in [-1, 1]; its label may lie between (a soft target).
"""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


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
