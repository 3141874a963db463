import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyehand.checksums import write_json
from eyehand.data.encoding import EncodedEpisode, encode_episode
from eyehand.data.pending import read_pending, write_pending
from eyehand.types import Episode, InputError


@pytest.fixture
def episode(make_episode: Callable[..., Episode]) -> EncodedEpisode:
    return encode_episode(make_episode(4, cameras=("top", "wrist")), fps=80)


def test_what_is_written_comes_back(tmp_path: Path, episode: EncodedEpisode) -> None:
    arrays = {"state": episode.state, "pose": np.arange(42.0).reshape(7, 2, 3)}
    written = write_pending(tmp_path / "000000", episode, arrays)
    found = read_pending(tmp_path / "000000")
    assert found == written
    found.check()
    assert (found.task, found.seed, found.length) == (episode.task, 4, 7)
    assert found.film("wrist") == episode.film["wrist"]
    assert found.film_size == max(map(len, episode.film.values()))
    for name, values in arrays.items():
        np.testing.assert_array_equal(found.numbers(name), values)
        assert found.numbers(name).dtype == values.dtype
    with pytest.raises(InputError, match=r"top\.npy cannot be read \(No such file"):
        found.numbers("top")


def test_every_flipped_byte_is_noticed(tmp_path: Path, episode: EncodedEpisode) -> None:
    path = tmp_path / "000000"
    write_pending(path, episode, {"state": episode.state})
    files = sorted(path.iterdir())
    assert [file.name for file in files] == ["episode.json", "state.npy", "top.mp4", "wrist.mp4"]
    for file in files:
        content = file.read_bytes()
        visible = [i for i, byte in enumerate(content) if not bytes([byte]).isspace()]
        for place in visible[:: len(visible) // 20]:
            damaged = bytearray(content)
            damaged[place] ^= 1
            file.write_bytes(damaged)
            with pytest.raises(InputError, match=file.name.replace(".", r"\.")):
                read_pending(path).check()
        file.write_bytes(content)
    read_pending(path).check()


def test_one_of_the_version_before_is_named(tmp_path: Path, episode: EncodedEpisode) -> None:
    write_pending(tmp_path / "000000", episode, {})
    file = tmp_path / "000000/episode.json"
    description = json.loads(file.read_bytes())
    del description["files"], description["checksum"]
    file.write_text(json.dumps(description))
    with pytest.raises(InputError, match="000000 is of another version of eyehand"):
        read_pending(tmp_path / "000000")
    write_json(file, {"task": "none"})
    with pytest.raises(InputError, match="000000 is of another version of eyehand"):
        read_pending(tmp_path / "000000")
