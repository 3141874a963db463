"""Several processes that train one network: accelerate is underneath.

One process as it is; several, or FSDP, by ``accelerate launch`` and its own config.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor, nn

from eyehand.training.config import TrainBatch
from eyehand.training.profile import Precision
from eyehand.types import InputError


def make_accelerator(precision: Precision, folder: Path) -> Accelerator:
    """Return what the processes of this run share; TensorBoard's files go into ``folder``.

    Raises:
        InputError: If the run was launched under DeepSpeed.
    """
    # One process may train several times, and accelerate keeps the first precision otherwise.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision="bf16" if precision == "bf16" else "no",
        log_with="tensorboard",
        project_dir=folder,
    )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise InputError(
            "a run under DeepSpeed cannot be resumed, its state is pickled; share the weights out "
            "by FSDP: accelerate launch --use_fsdp --fsdp_version 2."
        )
    return accelerator


def seed_step(*numbers: int) -> None:
    """Seed torch's generators from (seed, batch, process), so that no two steps draw alike."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


def agree(
    accelerator: Accelerator, figures: Mapping[str, float], *, seconds: float, stop: bool
) -> tuple[dict[str, float], float, bool]:
    """Return the means of the processes' figures, the first one's clock, whether any must stop."""
    if accelerator.num_processes == 1:
        return dict(figures), seconds, stop
    mine = [seconds, float(stop), *figures.values()]
    table = accelerator.gather(torch.tensor([mine], dtype=torch.float64, device=accelerator.device))
    _, stops, *means = table.mean(dim=0).tolist()
    return dict(zip(figures, means, strict=True)), table[0, 0].item(), stops > 0


def is_replicated(accelerator: Accelerator) -> bool:
    """Tell whether every process holds the whole network: DDP, where weights must all be used."""
    return accelerator.num_processes > 1 and accelerator.distributed_type != DistributedType.FSDP


def has_unused_weights(network: nn.Module, batch: TrainBatch, accelerator: Accelerator) -> bool:
    """Tell whether a weight that trains has no part in the loss: DDP must then look for it."""
    network.to(accelerator.device)
    buffers = [buffer.clone() for buffer in network.buffers()]
    loss = cast("Callable[[TrainBatch], dict[str, Tensor]]", network.loss)
    with accelerator.autocast():
        value = loss(batch.to(accelerator.device))["loss"]
    trainable = [p for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(value, trainable, allow_unused=True)
    for buffer, held in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(held)  # such as running statistics, which one batch must not move twice
    unused = torch.tensor([any(g is None for g in gradients)], device=accelerator.device)
    return bool(accelerator.gather(unused).any())
