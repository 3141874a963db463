"""Which of the processes of a run this is, before a training has begun."""

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def processes() -> PartialState:
    """Return the index of this process and the number of all, as the training will see them.

    accelerate counts processes on CPUs only if it is told that they are meant, which
    ``accelerate launch --cpu`` does by this variable.

    Example:
        >>> processes().num_processes
        1
    """
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
