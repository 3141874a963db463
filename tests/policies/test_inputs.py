from typing import Any

import pytest
import torch

from eyehand.policies.inputs import check_inputs, row_seeds
from eyehand.types import InputError


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"state": torch.zeros(2, 7)}, "state has 7 numbers per step.*trained on 4"),
        (
            {"image": {"front": torch.zeros(2, 32, 32, 3)}},
            r"reads camera 'corner4', the observation has \['front'\]",
        ),
        (
            {"image": {"corner4": torch.zeros(2, 64, 48, 3)}},
            "camera 'corner4' gives pictures of 64x48 pixels.*trained on 32x32",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], sentence: str) -> None:
    given = {"image": {"corner4": torch.zeros(2, 32, 32, 3)}, "state": torch.zeros(2, 4)}
    settings: dict[str, Any] = {"cameras": ("corner4",), "image_size": 32, "state_dim": 4}
    check_inputs(**given, **settings)
    with pytest.raises(InputError, match=sentence):
        check_inputs(**(given | change), **settings)


def test_seeds_follow_from_the_state_or_from_a_generator() -> None:
    state = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.5, 1.0]])
    first, twin, other = row_seeds(state).tolist()
    assert first == twin != other
    assert row_seeds(state.flip(0)).tolist() == [other, twin, first]

    def drawn(seed: int) -> list[int]:
        return row_seeds(state, torch.Generator().manual_seed(seed)).tolist()

    assert len(set(drawn(0))) == 3
    assert drawn(0) == drawn(0) != drawn(1)
