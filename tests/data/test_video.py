import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyehand.data.video import decode_video, encode_video, join_videos
from eyehand.types import InputError


def film(seed: int, length: int, height: int = 16, width: int = 16) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (length, height, width, 3), dtype=np.uint8)


@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    height=st.integers(9, 40),
    width=st.integers(9, 40),
    data=st.data(),
)
def test_joined_films_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    height: int,
    width: int,
    data: st.DataObject,
) -> None:
    films = [film(seed, length, height, width) for seed, length in enumerate(lengths)]
    path = tmp_path_factory.mktemp("video") / "film.mp4"
    join_videos([encode_video(f, fps=80) for f in films], path, fps=80)
    want = np.concatenate(films)
    start = data.draw(st.integers(0, len(want) - 1))
    numbers, got = zip(*decode_video(path, fps=80, start=start), strict=True)
    assert numbers == tuple(range(start, len(want)))
    np.testing.assert_array_equal(np.stack(got), want[start:])


@pytest.mark.parametrize("fps", [10, 30, 80])
def test_numbers_follow_the_frame_rate(tmp_path: Path, fps: int) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(encode_video(film(0, 9), fps=fps))
    assert [number for number, _ in decode_video(path, fps=fps)] == list(range(9))


def test_same_frames_same_bytes() -> None:
    assert encode_video(film(0, 20), fps=80) == encode_video(film(0, 20), fps=80)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.95])
def test_truncated(tmp_path: Path, kept: float) -> None:
    content = encode_video(film(0, 30), fps=80)
    path = tmp_path / "short.mp4"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=r"short\.mp4 cannot be read as a video"):
        list(decode_video(path, fps=80))


def test_an_unknown_codec_is_one_sentence(tmp_path: Path) -> None:
    """PyAV gives a stream without a decoder then, or none at all."""
    content = encode_video(film(0, 3), fps=80)
    for old, new in ((b"avc1", b"avcX"), (b"moov", b"moox")):
        path = tmp_path / "odd.mp4"
        path.write_bytes(content.replace(old, new))
        with pytest.raises(InputError, match=r"odd\.mp4 cannot be read as a video"):
            list(decode_video(path, fps=80))


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.mp4 is missing"):
        next(decode_video(tmp_path / "none.mp4", fps=80))


def test_reading_can_stop_early(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(encode_video(film(0, 30), fps=80))
    assert [n for n, _ in itertools.islice(decode_video(path, fps=80), 3)] == [0, 1, 2]
