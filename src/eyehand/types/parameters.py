"""Groups of a network's weights that learn with a rate or weight decay of their own."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ParameterGroup:
    """Weights that learn at a rate or with a weight decay of their own.

    A network that wants this has a method ``parameter_groups() -> dict[str, ParameterGroup]``, the
    groups by name. Weights that it names in none learn by the run's own settings.
    """

    parameters: Sequence[str]
    """Their names, as ``named_parameters`` gives them."""
    rate_scale: float = 1.0
    """Their learning rate as a multiple of the run's."""
    decay_scale: float = 1.0
    """Their weight decay as a multiple of the run's; only matrices and filters decay at all."""
