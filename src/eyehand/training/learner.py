"""A network that learns: with its optimizer, its moving average, and all its state by name.

Whether it is shared out over several processes (DDP, FSDP) shows nowhere else: names are the
network's own, tensors are whole.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from eyehand.training.ema import MovingAverage
from eyehand.types import InputError

_FULL = StateDictOptions(
    full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False
)
"""Whole tensors on the first process, however the model is wrapped or sharded."""
_PREFIX = "network."
"""What `_Call` puts before the network's own names."""


class Learner:
    """A network with its optimizer: call it, send a loss back through it, step.

    Args:
        network: Parameters with ``requires_grad`` False are neither trained nor saved.
        optimizer: Over its trainable parameters. The rate of each of its groups is the peak, which
            the loop scales over the run.
        method: The method that a call of the learner calls, such as ``"loss"``.
        gradient_clip: Largest norm of the gradient; a longer one is shortened to it.
        average_decay: Decay of the moving average of its weights; ``None`` keeps no average.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        *,
        method: str = "forward",
        gradient_clip: float = math.inf,
        average_decay: float | None = None,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.gradient_clip = gradient_clip
        self.average_decay = average_decay
        self.average: MovingAverage | None = None
        self.count = 0
        """Steps done; saved with the rest."""
        self._model: nn.Module = _Call(network, method)

    def prepare(self, accelerator: Accelerator, *, unused: bool = False) -> None:
        """Move to the device and share the work out over the processes; called once, at first.

        Args:
            accelerator: What the processes share.
            unused: Whether some trainable weights may have no part in a loss.
        """
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=unused)
        self._accelerator = accelerator
        self._model, self._prepared = accelerator.prepare(self._model, self.optimizer)
        self.optimizer = self._prepared.optimizer
        self._parameters = list(self._model.parameters())
        if self.average_decay is not None:
            trainable = [p for p in self._parameters if p.requires_grad]
            self.average = MovingAverage(trainable, decay=self.average_decay)

    def __call__(self, *inputs: Any) -> Any:
        """Call the network's method, under autocast and on this process's share of the weights."""
        return self._model(*inputs)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._prepared.zero_grad()

    def held_back(self, wanted: bool) -> AbstractContextManager[object]:
        """Where ``wanted``, processes do not exchange the gradients of what is computed inside."""
        return self._accelerator.no_sync(self._model) if wanted else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss`` to every weight that it depends on."""
        self._accelerator.backward(loss)

    def step(self) -> float:
        """Move the weights by their gradients; return the gradient's norm before clipping."""
        norm = self._accelerator.clip_grad_norm_(self._parameters, self.gradient_clip)
        self._prepared.step()
        self.count += 1
        if self.average is not None:
            self.average.update(self.count)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything that going on needs; whole in the first process.

        Keys are ``weights/NAME``, ``averages/NAME``, ``optimizer/FIELD/NAME`` and ``count``.
        """
        state = {f"weights/{name}": tensor for name, tensor in self._weights().items()}
        if self.average is not None:
            with self.average.applied():
                averages = self._weights()
            state |= {f"averages/{name}": tensor for name, tensor in averages.items()}
        if self.count:  # torch would fill in the state of an optimizer that has not moved yet
            found: dict[str, Any] = get_optimizer_state_dict(
                self._model, self.optimizer, options=_FULL
            )
            for name, fields in found.get("state", {}).items():  # in the first process alone
                for field, value in fields.items():
                    if isinstance(value, Tensor):
                        state[f"optimizer/{field}/{name.removeprefix(_PREFIX)}"] = value
        return state | {"count": torch.tensor(self.count)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: If it is of another network.
        """
        optimizer: dict[str, dict[str, Tensor]] = {}
        parts: dict[str, dict[str, Any]] = {"weights": {}, "averages": {}}
        for key, tensor in state.items():
            part, _, name = key.partition("/")
            if part == "optimizer":
                field, name = name.split("/", 1)
                optimizer.setdefault(_PREFIX + name, {})[field] = tensor
            elif part in parts:
                parts[part][_PREFIX + name] = tensor
        self._refuse_other_network(parts["weights"])
        if self.average is not None:
            with self.average.applied():
                set_model_state_dict(self._model, parts["averages"], options=_FULL)
        set_model_state_dict(self._model, parts["weights"], options=_FULL)
        if optimizer:
            self._set_optimizer(optimizer)
        # Earlier versions kept no count of their own; AdamW, which they all used, has one.
        counts = (fields["step"] for fields in optimizer.values() if "step" in fields)
        self.count = int(state["count"] if "count" in state else max(counts, default=0))

    def _weights(self) -> dict[str, Tensor]:
        """Every entry of the network's state but frozen parameters, whole, by its own names."""
        state: dict[str, Any] = get_model_state_dict(self._model, options=_FULL)
        # Copies: on a CPU the state is the parameters themselves, which averages pass through;
        # and safetensors refuses tied weights and channels-last ones.
        return {
            name.removeprefix(_PREFIX): tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in state.items()
        }

    def _set_optimizer(self, state: dict[str, dict[str, Tensor]]) -> None:
        # Not of _FULL, which gives the first process alone the settings of the groups.
        settings: dict[str, Any] = get_optimizer_state_dict(self._model, self.optimizer)
        restored = {**settings, "state": state}
        set_optimizer_state_dict(self._model, self.optimizer, restored, options=_FULL)
        for parameter, fields in self.optimizer.state.items():
            for field, value in fields.items():
                # The fused step walks all of a parameter's tensors in the order of memory, and the
                # file has lost that of channels-last filters.
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    fields[field] = torch.empty_like(parameter).copy_(value)

    def _refuse_other_network(self, weights: Mapping[str, Tensor]) -> None:
        ours: dict[str, Any] = get_model_state_dict(
            self._model, options=StateDictOptions(ignore_frozen_params=True)
        )
        for name, tensor in ours.items():
            there = weights.get(name)
            if there is None or there.shape != tensor.shape:
                found = "is not there" if there is None else f"is {tuple(there.shape)}"
                raise InputError(
                    f"the checkpoint is of another network: {name.removeprefix(_PREFIX)} {found} "
                    f"and must be {tuple(tensor.shape)}; name another folder."
                )


class _Call(nn.Module):
    """A method as the forward pass, which is what DDP, FSDP and autocast wrap."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network = network
        self.method = method

    def forward(self, *inputs: Any) -> Any:
        return getattr(self.network, self.method)(*inputs)
