"""Frames/s and core of recording: simulation, expert, rendering and encoding, and each part alone.

Run (pinned to one core, so that the OpenGL driver has no other):
    taskset -c 0 python benchmarks/record.py [--tasks drawer-open,reach,pick-place]
"""

import argparse
import io
import time
from collections.abc import Callable

import av
import numpy as np

from eyehand.collection.demonstrate import demonstrate
from eyehand.data.encoding import encode_episode
from eyehand.data.video import encode_video
from eyehand.envs.metaworld import METAWORLD, MetaWorldEnv
from eyehand.types import Episode

EPISODES = 4


def psnr(got: np.ndarray, want: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio, dB."""
    error = float(((got.astype(float) - want) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def measure_task(task: str) -> list[Episode]:
    """Print the rates of one task and return its episodes."""
    environment = MetaWorldEnv(task, render_observations=False)
    demonstrate(
        METAWORLD, environment, seed=1000, perturbation=0.0
    )  # loads meshes, makes the renderer
    episodes: list[Episode] = []
    began = time.perf_counter()
    for seed in range(EPISODES):
        episode = demonstrate(METAWORLD, environment, seed=seed, perturbation=0.0)
        if episode is not None:
            encode_episode(episode, fps=METAWORLD.fps)
            episodes.append(episode)
    seconds = time.perf_counter() - began
    frames = sum(len(episode.state) for episode in episodes)
    render = timed(lambda: [environment.render() for _ in range(100)]) / 100
    encode = sum(timed(lambda e=e: encode_episode(e, fps=METAWORLD.fps)) for e in episodes) / max(
        frames, 1
    )
    print(
        f"{task}: {frames / seconds:.0f} frames/s in all ({frames} frames, {len(episodes)} of "
        f"{EPISODES} succeeded); render alone {1 / render:.0f}, encode alone {1 / encode:,.0f}"
    )
    environment.close()
    return episodes


def measure_codecs(film: np.ndarray) -> None:
    """Print speed, size and fidelity of our codec and of the usual ones."""
    candidates = {
        "libx264rgb quantiser 0 (ours)": None,
        "libx264 yuv444p crf 10": ("yuv444p", {"crf": "10", "preset": "ultrafast"}),
        "libx264 yuv420p crf 10": ("yuv420p", {"crf": "10", "preset": "ultrafast"}),
    }
    for name, settings in candidates.items():
        began = time.perf_counter()
        content = (
            encode_video(film, fps=METAWORLD.fps) if settings is None else encode(film, *settings)
        )
        seconds = time.perf_counter() - began
        with av.open(io.BytesIO(content)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        print(
            f"{name}: {len(film) / seconds:,.0f} frames/s, {len(content) / len(film):,.0f} bytes a "
            f"frame, PSNR {psnr(np.stack(frames), film):.1f} dB"
        )


def encode(film: np.ndarray, pixels: str, options: dict[str, str]) -> bytes:
    """Encode with the usual H.264 encoder, key frame every 8 frames, one thread."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=METAWORLD.fps, options=options)
        stream.height, stream.width = film.shape[1:3]
        stream.pix_fmt, stream.gop_size = pixels, 8
        stream.codec_context.thread_count = 1
        for picture in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="drawer-open,reach,pick-place")
    episodes = [
        e for task in METAWORLD.select_tasks(parser.parse_args().tasks) for e in measure_task(task)
    ]
    measure_codecs(np.concatenate([episode.image["corner4"] for episode in episodes]))


if __name__ == "__main__":
    main()
