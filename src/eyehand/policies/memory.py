"""What a policy remembers of each robot: the features of the last frames."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class FeatureMemory:
    """Windows of features, one per robot, padded at their start as in training.

    Args:
        history: Frames in a window.

    Example:
        >>> memory = FeatureMemory(history=3)
        >>> _ = memory.remember(torch.tensor([[1.0]]), [7])
        >>> window, mask = memory.remember(torch.tensor([[2.0]]), [7])
        >>> window[0, :, 0], mask[0]
        (tensor([1., 1., 2.]), tensor([False,  True,  True]))
    """

    def __init__(self, history: int) -> None:
        self.history = history
        self._windows: dict[int, list[Tensor]] = {}

    def remember(
        self, feature: Float[Tensor, "batch dim"], env_ids: Sequence[int]
    ) -> tuple[Float[Tensor, "batch history dim"], Bool[Tensor, "batch history"]]:
        """Add a frame of every robot; return windows, and where they are not padding.

        A row whose env_id is negative is nobody's, and leaves nothing behind.
        """
        windows, seen = [], []
        for row, env_id in zip(feature, env_ids, strict=True):
            past = [] if env_id < 0 else self._windows.get(env_id, [])
            window = [*past, row][-self.history :]
            if env_id >= 0:
                self._windows[env_id] = window
            seen.append(len(window))
            windows.append(torch.stack([window[0]] * (self.history - len(window)) + window))
        first = self.history - torch.tensor(seen, device=feature.device)
        time = torch.arange(self.history, device=feature.device)
        return torch.stack(windows), time >= first[:, None]

    def forget(self, env_ids: Sequence[int]) -> None:
        """Drop what was seen of these robots."""
        for env_id in env_ids:
            self._windows.pop(env_id, None)
