from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from eyehand.data.encoding import encode_episode
from eyehand.types import Episode, InputError

MakeEpisode = Callable[..., Episode]


def test_fields_and_columns_travel_together(make_episode: MakeEpisode) -> None:
    mask, force = np.arange(7) > 2, np.ones((7, 6), np.float32)
    episode = make_episode(0, landmarks=2)
    encoded = encode_episode(replace(episode, action_mask=mask, columns={"force": force}), fps=80)
    assert set(encoded.columns) == {"force", "landmarks", "action_mask"}
    assert encoded.columns["landmarks"] is episode.landmarks
    assert encoded.columns["action_mask"] is mask
    assert encoded.shape == {"top": (16, 16)}
    assert encoded.image_statistics["top"]["count"] == [7]
    assert encode_episode(make_episode(0), fps=80).columns == {}


@pytest.mark.parametrize("feature", ["state", "action", "landmarks"])
def test_numbers_that_are_not_finite_are_refused(make_episode: MakeEpisode, feature: str) -> None:
    episode = make_episode(3, landmarks=2)
    getattr(episode, feature)[5, 1] = np.inf
    with pytest.raises(InputError, match=rf"'task-1' with seed 3 has the {feature} .* at frame 5"):
        encode_episode(episode, fps=80)


def test_lengths_that_differ_are_refused(make_episode: MakeEpisode) -> None:
    episode = make_episode(0)
    film = episode.image["top"]
    episode.image["top"] = film[:-1]  # type: ignore[index]  # built right, then spoilt
    with pytest.raises(InputError, match=r"'action': 7, 'top': 6"):
        encode_episode(episode, fps=80)
    episode.image["top"] = film  # type: ignore[index]
    with pytest.raises(InputError, match="has no instruction"):
        encode_episode(replace(episode, instruction=" "), fps=80)
    episode = make_episode(0, landmarks=2)
    episode.landmarks.resize((6, 2, 3), refcheck=False)  # built right, then spoilt
    with pytest.raises(InputError, match=r"'action': 7, 'landmarks': 6, 'top': 7"):
        encode_episode(episode, fps=80)


def test_a_column_that_is_not_finite_is_refused(make_episode: MakeEpisode) -> None:
    force = np.ones((7, 6), np.float32)
    force[4, 2] = np.nan
    with pytest.raises(InputError, match=r"has the force .*nan.* at frame 4"):
        encode_episode(replace(make_episode(0), columns={"force": force}), fps=80)
