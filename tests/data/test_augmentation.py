import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eyehand.data.augmentation import (
    STRONGEST_JITTER,
    draw_shifts,
    draw_tones,
    random_shift,
    recolor,
    shift_into,
)


def pictures(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)


@settings(deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    data=st.data(),
)
def test_shift_is_pad_and_crop(height: int, width: int, data: st.DataObject) -> None:
    down = data.draw(st.integers(-height + 1, height - 1))
    right = data.draw(st.integers(-width + 1, width - 1))
    picture = pictures(height, width).numpy()
    padded = np.pad(picture, ((9, 9), (9, 9), (0, 0)), mode="edge")
    want = padded[9 - down : 9 - down + height, 9 - right : 9 - right + width]
    got = np.full_like(picture, 7)
    shift_into(got, picture, down, right)
    np.testing.assert_array_equal(got, want)


def test_one_shift_for_a_window_and_others_for_others() -> None:
    window = pictures(1, 1, 12, 12).expand(40, 3, -1, -1, -1)
    shifted = random_shift(window, 4, generator=torch.Generator().manual_seed(0))
    assert (shifted == shifted[:, :1]).all()
    assert len(torch.unique(shifted[:, 0].flatten(1), dim=0)) > 20


def test_shifts_reach_both_ends_evenly() -> None:
    shifts = draw_shifts(9000, 1, generator=torch.Generator().manual_seed(0))
    assert shifts.shape == (9000, 2)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            assert 850 < (shifts == [down, right]).all(axis=1).sum() < 1150


@pytest.mark.parametrize("strength", [0.0, 0.1, STRONGEST_JITTER])
def test_recolor_matches_floats(strength: float) -> None:
    tones = draw_tones(200, strength, generator=torch.Generator().manual_seed(0))
    for gain, offset in tones:
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
        want = np.clip(ramp * (gain / 64) + offset / 64, 0, 255)
        recolor(ramp, int(gain), int(offset))
        assert np.abs(ramp - want).max() <= 0.5


def test_tones_are_contrast_around_the_middle_and_brightness() -> None:
    tones = draw_tones(5000, 0.2, generator=torch.Generator().manual_seed(0)) / 64
    contrast, offset = tones[:, 0], tones[:, 1]
    brightness = (offset - 128 * (1 - contrast)) / 255
    assert contrast.min() == pytest.approx(0.8, abs=0.01)
    assert contrast.max() == pytest.approx(1.2, abs=0.01)
    assert brightness.min() == pytest.approx(-0.2, abs=0.01)
    assert brightness.max() == pytest.approx(0.2, abs=0.01)


def test_inputs_stay_and_the_same_generator_gives_the_same_pictures() -> None:
    window = pictures(4, 2, 8, 8)
    before = window.clone()
    assert torch.equal(random_shift(window, 0, generator=torch.Generator()), before)
    one, two = (
        random_shift(window, 3, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, before)
    assert torch.equal(window, before)
