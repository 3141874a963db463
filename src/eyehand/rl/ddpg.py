"""Deep deterministic policy gradient: an action that a network says, improved along its value.

Lillicrap et al., 2016, https://arxiv.org/abs/1509.02971. It is what TD3 becomes without its three
changes, and is written so. The noise that explores is drawn anew at every step here; the paper has
noise that drifts (an Ornstein-Uhlenbeck process), which later work found to make no difference.
"""

from dataclasses import dataclass

from eyehand.rl.td3 import TD3, TD3Config


@dataclass(frozen=True, kw_only=True)
class DDPGConfig(TD3Config):
    """How DDPG learns."""

    target_noise: float = 0.0
    """Deviation of the noise on the target's action."""
    critics: int = 1
    """Values, of which the smallest is believed."""
    policy_every: int = 1
    """Gradients of the value for one of the policy."""


class DDPG(TD3):
    """DDPG; the arguments are those of `OffPolicy`."""

    config: DDPGConfig
