from typing import Any

import pytest
import torch
from torch import Tensor

from eyehand.policies.heads.contract import ActionHead, FrameHead
from eyehand.policies.heads.fast import FASTHeadConfig
from eyehand.policies.heads.mlp import MLPHeadConfig
from eyehand.types import InputError


class Loud(FrameHead):
    """Says nine times its feature's first number, and keeps what it is shown."""

    def row_loss(self, feature: Tensor, chunk: Tensor, mask: Tensor) -> dict[str, Tensor]:
        self.rows = (feature, chunk, mask)
        return {"loss": feature.sum()}

    def row_act(self, feature: Tensor, seed: Tensor) -> Tensor:
        return 9 * feature[:, :1, None].expand(-1, 2, 1) + 0 * seed[:, None, None]


def test_a_head_that_reads_one_frame_is_shown_frames_and_clipped() -> None:
    head, feature = Loud(), torch.tensor([[[5.0], [-0.1]], [[7.0], [0.05]]])
    mask = torch.tensor([[True, True], [False, True]])
    seed = torch.tensor([0, 1])
    assert head.act(feature, history_mask=mask, seed=seed)[:, 0, 0].tolist() == [
        pytest.approx(-0.9), pytest.approx(0.45)
    ]  # fmt: skip
    assert head.act(10 * feature, history_mask=mask, seed=seed)[:, 0, 0].tolist() == [-1, 1]
    action, ones = torch.zeros(2, 2, 2, 1), torch.ones(2, 2, 2, dtype=torch.bool)
    head.loss(feature, action, action_mask=ones, history_mask=mask)
    rows, chunk, rows_mask = head.rows
    assert rows.tolist() == [[5.0], [pytest.approx(-0.1)], [7.0], [pytest.approx(0.05)]]
    assert chunk.shape == (4, 2, 1)
    assert rows_mask.all(dim=1).tolist() == [True, True, False, True]


def test_a_head_without_its_methods_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ActionHead()  # type: ignore[abstract]


@pytest.mark.parametrize("config", [MLPHeadConfig(), FASTHeadConfig(vocabulary=64)])
def test_a_head_says_for_which_chunks_there_is_none(config: Any) -> None:
    config.check_horizon(4)
    if config.name == "fast":
        with pytest.raises(InputError, match=r"vocabulary must be above 81.*got 64"):
            config.check_horizon(16)
