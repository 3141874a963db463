"""Videos of the LeRobot format: lossless H.264 in mp4, encoded, joined and decoded with PyAV.

Why lossless RGB (``libx264rgb``, quantiser 0): small objects are what a policy must see, and at
96 pixels a cube is a few pixels wide. Measured on rendered Meta-World pictures of that size, one
core: 4,400 frames/s and 4.1 kB a frame, bit for bit what the simulator drew. The usual
``yuv420p`` halves the resolution of the colours and stays at 32 dB PSNR whatever its quality
setting; ``yuv444p`` at quality 10 has 43 dB and single errors of 45 levels at 2.0 kB a frame.
A key frame every 8 frames makes reading one frame cheap.
"""

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from eyehand.types import InputError

CODEC = "libx264rgb"
KEY_FRAME_EVERY = 8
"""Frames; at 4 a file is a third larger, at 16 a sixth smaller and twice as slow to seek in."""


def encode_video(frames: UInt8[np.ndarray, "time height width 3"], *, fps: int) -> bytes:
    """Return an mp4 file that holds ``frames`` exactly; the same frames give the same bytes.

    Args:
        frames: RGB pictures, at least one.
        fps: Frames per second.

    Example:
        >>> frames = np.zeros((3, 16, 16, 3), np.uint8)
        >>> encode_video(frames, fps=80)[4:8]
        b'ftyp'
    """
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream(CODEC, rate=fps, options={"qp": "0", "preset": "ultrafast"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        stream.gop_size = KEY_FRAME_EVERY
        stream.codec_context.thread_count = 1  # several threads would change the bytes
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def join_videos(films: Sequence[bytes], path: Path, *, fps: int) -> None:
    """Write one mp4 file with all ``films`` one after another, without encoding them anew.

    Args:
        films: Files from `encode_video` with the same picture size.
        path: The file to write.
        fps: Frames per second of all of them.
    """
    with av.open(str(path), "w", format="mp4") as target:
        joined: av.VideoStream | None = None
        offset = 0
        for film in films:
            with av.open(io.BytesIO(film), "r", format="mp4") as source:
                stream = source.streams.video[0]
                if joined is None:
                    joined = target.add_stream_from_template(stream)
                    joined.time_base = stream.time_base
                assert stream.time_base is not None
                ticks = Fraction(1, fps) / stream.time_base
                frames = 0
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue  # the empty packet that ends a stream
                    packet.pts += int(offset * ticks)
                    packet.dts += int(offset * ticks)
                    packet.stream = joined
                    target.mux(packet)
                    frames += 1
                offset += frames


def decode_video(
    path: Path, *, fps: int, start: int = 0
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
    """Yield the number of each frame from ``start`` on, counted from the file's begin, and it.

    Works for any codec that PyAV reads; LeRobot's own files are AV1.

    Args:
        path: The video file.
        fps: Frames per second of the data set; frames are numbered by their time.
        start: First frame wanted; it is reached through the key frame before it.

    Raises:
        InputError: If the file is missing, truncated or not a video.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: restore the file, or record the data set anew.")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}
            assert stream.time_base is not None
            if start > 0:
                container.seek(int(Fraction(start, fps) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                assert frame.pts is not None
                number = round(frame.pts * stream.time_base * fps)
                if number >= start:
                    yield number, _picture(frame)
    except (
        Exception
    ) as error:  # damaged bytes fail in PyAV in many ways, a missing codec among them
        raise InputError(
            f"{path} cannot be read as a video: it is truncated or altered. Restore the file, or "
            "record the data set anew."
        ) from error


def _picture(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    if frame.format.name != "gbrp":  # what another codec gives
        return frame.to_ndarray(format="rgb24")
    # Three copies instead of FFmpeg's general conversion: 5,000 frames/s instead of 2,000.
    picture = np.empty((frame.height, frame.width, 3), np.uint8)
    for channel, plane in zip((1, 2, 0), frame.planes, strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        picture[..., channel] = rows[: frame.height, : frame.width]
    return picture
