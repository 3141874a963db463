from typing import Any

import pytest
import torch

from eyehand.policies.inputs import check_inputs, only_camera, scale_image
from eyehand.types import InputError


def test_pictures_keep_their_channels_last_in_memory() -> None:
    image = torch.randint(0, 256, (2, 6, 8, 3), dtype=torch.uint8)
    got = scale_image(image)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert got.dtype == torch.float32
    torch.testing.assert_close((got.permute(0, 2, 3, 1) + 1) * 127.5, image.float())


def test_under_autocast_pictures_come_in_its_type() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert scale_image(torch.zeros(1, 2, 2, 3, dtype=torch.uint8)).dtype == torch.bfloat16


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


def test_several_cameras_are_refused_where_one_is_given() -> None:
    with pytest.raises(InputError, match=r"\['left', 'right'\].*one"):
        only_camera(("left", "right"))
