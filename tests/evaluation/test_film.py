"""Films: the replay is the episode, the file plays, and what is drawn is where it belongs."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ImageColor

from eyehand.envs.metaworld import MAX_STEPS, METAWORLD, MetaWorldEnv
from eyehand.envs.rollout import Outcome, Start
from eyehand.evaluation import film
from eyehand.evaluation.film import (
    COLORS,
    FAILURE,
    SUCCESS,
    FilmLayout,
    PlayConfig,
    film_episode,
    is_whole_film,
    play,
    write_film,
)
from eyehand.types import Actor, InputError


def expert_episode(task: str, seed: int) -> Outcome:
    env = MetaWorldEnv(task, render_observations=False)
    env.reset(seed=seed)
    actions, terminated, truncated = [], False, False
    while not (terminated or truncated):
        actions.append(env.expert_action())
        _, _, terminated, truncated, _ = env.step(actions[-1])
    env.close()
    start = Start(task, seed, "do it")
    return Outcome(start, terminated, np.stack(actions))


def pictures(file: Path) -> list[np.ndarray]:
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_replay_of_a_success_succeeds_and_plays(tmp_path: Path) -> None:
    outcome = expert_episode("reach", 1_000_003)
    assert outcome.success
    file = tmp_path / "film.mp4"
    film_episode(METAWORLD, outcome, file, size=160)
    with av.open(file) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 20
    shown = pictures(file)
    before_the_end = 1 + (outcome.steps - 1) // 4
    assert len(shown) == before_the_end + 20
    assert np.abs(shown[0].astype(int) - shown[-1]).mean() > 1
    assert not list(tmp_path.glob("*.partial"))


def test_an_episode_is_always_the_same_film(tmp_path: Path) -> None:
    """The encoder took what lay in its memory before: films of one episode had many hashes."""
    outcome, films = expert_episode("reach", 1_000_003), set()
    for number in range(5):
        _ = [np.full(size, 50 * number, np.uint8) for size in range(1000, 200_000, 1000)]
        film_episode(METAWORLD, outcome, tmp_path / "film.mp4", size=160, stride=8)
        films.add((tmp_path / "film.mp4").read_bytes())
    assert len(films) == 1


FILM_AGAIN = """
import sys
from pathlib import Path
import numpy as np
from eyehand.envs.rollout import Outcome, Start
from eyehand.envs.suite import find_suite
from eyehand.evaluation.film import film_episode

if __name__ == "__main__":
    actions, file, quality = np.load(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    outcome = Outcome(Start("reach", 1_000_003, "do it"), True, actions)
    film_episode(find_suite("metaworld"), outcome, file, quality=quality)
"""


@pytest.mark.slow
@pytest.mark.parametrize("quality", ["fast", "film"])
def test_every_process_makes_the_same_film(tmp_path: Path, quality: str) -> None:
    """Memory that a process gets is filled with another byte in each (glibc's MALLOC_PERTURB_)."""
    outcome, films = expert_episode("reach", 1_000_003), []
    np.save(tmp_path / "actions.npy", outcome.actions)
    for byte, threads in [(1, 1), (85, 2), (170, 1), (254, 2), (0, 1)]:
        numbers = {"OMP_NUM_THREADS": threads, "LP_NUM_THREADS": threads - 1}
        subprocess.run(
            [sys.executable, "-c", FILM_AGAIN, "actions.npy", "film.mp4", quality],
            env=os.environ | {name: str(value) for name, value in numbers.items()}
            | {"MALLOC_PERTURB_": str(byte)},
            cwd=tmp_path, check=True,
        )  # fmt: skip
        films.append((tmp_path / "film.mp4").read_bytes())
    assert len(set(films)) == 1


def test_a_changed_byte_of_a_film_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    assert not is_whole_film(file)
    write_film([np.full((32, 16, 3), 10 * number, np.uint8) for number in range(9)], file, fps=20)
    assert is_whole_film(file)
    assert len(pictures(file)) == 9
    whole = file.read_bytes()
    for number in [*range(0, len(whole), 41), *range(len(whole) - 14, len(whole))]:
        file.write_bytes(whole[:number])
        assert not is_whole_film(file)
        file.write_bytes(whole[:number] + bytes([whole[number] ^ 4]) + whole[number + 1 :])
        assert not is_whole_film(file)


def test_replay_that_ends_otherwise_is_an_error(tmp_path: Path) -> None:
    outcome = expert_episode("reach", 1_000_003)
    short = Outcome(outcome.start, True, outcome.actions[:5])
    with pytest.raises(InputError, match=r"reach with seed 1000003 ended with success=False"):
        film_episode(METAWORLD, short, tmp_path / "film.mp4", size=160)
    still = np.zeros_like(outcome.actions[:1])
    late = Outcome(outcome.start, True, np.concatenate([outcome.actions, still]))
    with pytest.raises(InputError, match=f"after {outcome.steps} steps, the episode"):
        film_episode(METAWORLD, late, tmp_path / "film.mp4", size=160)
    assert not (tmp_path / "film.mp4").exists()


def colors(picture: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, picture.reshape(-1, 3).tolist()))


@pytest.mark.parametrize(
    "sentence", ["go", "a sentence that is far too long for one line " * 2, ""]
)
def test_layout_holds_the_picture_and_the_growing_plot(sentence: str) -> None:
    layout = FilmLayout(METAWORLD, sentence, 10, most=500, size=160)
    image = np.full((160, 160, 3), 77, dtype=np.uint8)
    heights = np.linspace(-1, 1, 4, dtype=np.float32)
    first = layout.picture(image, step=0)
    assert first.shape[1] == 160
    assert first.shape[0] % 2 == 0
    np.testing.assert_array_equal(first[layout.top : layout.top + 160], image)
    previous = 0
    for step in range(1, 11):
        layout.plot(step, heights)
        plot = layout.picture(image, step=step)[layout.plot_top :]
        drawn = np.argwhere((plot == ImageColor.getrgb(COLORS[3])).all(-1))
        assert drawn[:, 1].max() > previous
        previous = drawn[:, 1].max()
    assert previous == pytest.approx(160 - layout.margin, abs=1)
    assert {ImageColor.getrgb(color) for color in COLORS[:4]} <= colors(plot)
    highest, lowest = (
        np.argwhere((plot == ImageColor.getrgb(COLORS[number])).all(-1))[:, 0].mean()
        for number in (3, 0)
    )
    assert highest < 5
    assert lowest > 35


@pytest.mark.parametrize(("success", "color"), [(True, SUCCESS), (False, FAILURE)])
def test_end_is_marked(success: bool, color: str) -> None:
    layout = FilmLayout(METAWORLD, "go", 10, most=500, size=160)
    image = np.full((160, 160, 3), 77, dtype=np.uint8)
    marked = layout.picture(image, step=10, success=success)
    np.testing.assert_array_equal(marked[layout.top, 80], ImageColor.getrgb(color))
    np.testing.assert_array_equal(marked[layout.top + 80, 80], 77)


def test_film_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least one picture: .*film\.mp4"):
        write_film([], tmp_path / "film.mp4", fps=20)
    assert not (tmp_path / "film.mp4").exists()


def test_play_tells_the_sentence_and_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, still_policy: Actor
) -> None:
    told: list[Start] = []
    asked: dict[str, object] = {}

    def fake_rollout(
        policy: object, suite: object, starts: list[Start], **arguments: object
    ) -> list[Outcome]:
        told.extend(starts)
        asked.update(arguments)
        actions = np.zeros((MAX_STEPS, 4), np.float32)
        return [Outcome(start, False, actions) for start in starts]

    filmed = []
    monkeypatch.setattr(film, "rollout", fake_rollout)
    monkeypatch.setattr(film, "film_episode", lambda *a, **k: filmed.append((a, k)))
    config = PlayConfig("drawer-open", tmp_path / "new" / "film.mp4", instruction="wave", seed=7)
    outcome = play(still_policy, config, cameras={"work_area": 32})
    assert asked["cameras"] == {"work_area": 32}
    assert told == [Start("drawer-open", 7, "wave")]
    assert not outcome.success
    ((arguments, named),) = filmed
    assert arguments == (METAWORLD, outcome, tmp_path / "new" / "film.mp4")
    assert named["quality"] == "film"
    assert config.out.parent.is_dir()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"task": "easy"}, "no task 'easy'"),
        ({"task": "easy", "suite": "metaworld"}, "no task of metaworld 'easy'"),
        ({"suite": "metawrld"}, "no suite 'metawrld'"),
        ({"task": "drawer-opn"}, "Did you mean 'drawer-open'"),
        ({"out": Path("film.avi")}, r"--out must end in \.mp4. Got 'film\.avi'"),
        ({"seed": -3}, "--seed must be 0 to 2,147,483,647; got -3"),
        ({"size": 301}, "--size must be even. Got 301"),
        (
            {"instruction": "go \udcff"},
            r"--instruction must be text that can be printed\. Got .* character 4",
        ),
        ({"instruction": ""}, r"--instruction must have at least one word\. Got ''\."),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PlayConfig(**{"task": "reach", **wrong})  # type: ignore[arg-type]
