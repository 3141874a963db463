"""The deep algorithms by name, each with its config."""

from importlib import import_module
from typing import Any

from eyehand.functional.names import unknown_name
from eyehand.types import InputError

ALGORITHMS = {
    "a2c": ("eyehand.rl.a2c", "A2C", "A2CConfig"),
    "ddpg": ("eyehand.rl.ddpg", "DDPG", "DDPGConfig"),
    "dqn": ("eyehand.rl.dqn", "DQN", "DQNConfig"),
    "ppo": ("eyehand.rl.ppo", "PPO", "PPOConfig"),
    "reinforce": ("eyehand.rl.reinforce", "Reinforce", "ReinforceConfig"),
    "sac": ("eyehand.rl.sac", "SAC", "SACConfig"),
    "td3": ("eyehand.rl.td3", "TD3", "TD3Config"),
}
"""Name to module, class and config."""


def find_algorithm(name: str) -> tuple[Any, Any]:
    """Return the class of an algorithm, and that of its config.

    Raises:
        InputError: If there is no such algorithm.
    """
    if name not in ALGORITHMS:
        raise InputError(unknown_name("algorithm", name, ALGORITHMS))
    module, algorithm, config = ALGORITHMS[name]
    found = import_module(module)
    return getattr(found, algorithm), getattr(found, config)
