"""AdamW over the trainable parameters, with weight decay where it belongs."""

from torch import nn
from torch.optim import AdamW

from eyehand.types import InputError


def build_optimizer(
    module: nn.Module, *, learning_rate: float, weight_decay: float, weight_decay_only: str = ""
) -> AdamW:
    """Build AdamW (Loshchilov and Hutter, 2019) over the parameters of ``module`` that train.

    Weight decay pulls on matrices and filters (two axes or more); biases, norms, gates and other
    vectors are left alone.

    Args:
        module: The network; parameters with ``requires_grad`` False are left out.
        learning_rate: Peak learning rate.
        weight_decay: Share of ``learning_rate * weight`` taken off at each step.
        weight_decay_only: Part of a parameter's name; only names with it get weight decay.

    Raises:
        InputError: If nothing trains, or no name of a matrix that trains has
            ``weight_decay_only`` in it.

    References:
        https://arxiv.org/abs/1711.05101

    Example:
        >>> optimizer = build_optimizer(nn.Linear(2, 3), learning_rate=1e-3, weight_decay=0.1)
        >>> [(group["weight_decay"], len(group["params"])) for group in optimizer.param_groups]
        [(0.1, 1), (0.0, 1)]
    """
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trainable:
        raise InputError(f"{type(module).__name__} has no parameter that trains.")
    decayed = {n: p for n, p in trainable.items() if p.ndim >= 2 and weight_decay_only in n}
    if weight_decay_only and not decayed:
        matrices = ", ".join(name for name, p in trainable.items() if p.ndim >= 2)
        raise InputError(
            f"no weight that trains has {weight_decay_only!r} in its name "
            f"(--training.weight-decay-only); there are {matrices}."
        )
    rest = [p for n, p in trainable.items() if n not in decayed]
    groups = [
        {"params": list(decayed.values()), "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    # Fused: one pass over memory; on a CPU many times as fast as the other two ways.
    return AdamW([g for g in groups if g["params"]], lr=learning_rate, fused=True)
