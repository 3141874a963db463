from typing import NamedTuple

import torch
from torch import Tensor

from eyehand.inspection.nested import map_tensors, tensors


class Pair(NamedTuple):
    first: Tensor
    second: str


def test_tensors_are_found_in_nested_outputs() -> None:
    a, b = torch.zeros(1), torch.ones(2)
    assert [x.shape for x in tensors([{"x": a}, (b, None, "text"), 3])] == [(1,), (2,)]


def test_tensors_are_changed_where_they_stand() -> None:
    made = map_tensors(lambda x: x + 1, [Pair(torch.tensor(1), "a"), {"b": torch.tensor(2)}])
    assert made == [Pair(torch.tensor(2), "a"), {"b": torch.tensor(3)}]
