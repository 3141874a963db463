import gzip
from pathlib import Path

import numpy as np
import pytest

from eyehand.data.fashion_mnist import read_idx
from eyehand.data.pictures import load_pictures
from eyehand.types import InputError


def write(path: Path, values: np.ndarray, *, head: bytes | None = None, cut: int = 0) -> None:
    head = bytes([0, 0, 8, values.ndim]) if head is None else head
    content = head + np.array(values.shape, ">u4").tobytes() + values.tobytes()
    path.write_bytes(gzip.compress(content[: len(content) - cut]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    generator = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 10)):
        image = generator.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        write(tmp_path / f"{part}-images-idx3-ubyte.gz", image)
        write(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    monkeypatch.setenv("EYEHAND_FASHION_MNIST", str(tmp_path))
    return tmp_path


def test_reads_pictures_and_labels(folder: Path) -> None:
    train, test = load_pictures("fashion-mnist")
    assert train.image.shape == (20, 28, 28, 1)
    assert test.label.tolist() == list(range(10))
    assert train.classes[9] == "ankle boot"
    want = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(train.image[..., 0], want)


def test_says_how_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EYEHAND_FASHION_MNIST", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere.*apt-get install -y dataset-fashion-mnist"):
        load_pictures("fashion-mnist")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "cannot be read"),
        (lambda path: path.write_bytes(b"no gzip"), "cannot be read"),
        (
            lambda path: write(path, np.zeros((2, 3, 3), np.uint8), head=bytes([0, 0, 13, 3])),
            "no IDX file of bytes with 3 axes",
        ),
        (
            lambda path: write(path, np.zeros((2, 3, 3), np.uint8), cut=5),
            r"holds 13 bytes, and its head says \[2, 3, 3\]",
        ),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path: Path, damage: object, sentence: str) -> None:
    path = tmp_path / "images.gz"
    write(path, np.zeros((2, 28, 28), np.uint8))
    damage(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=sentence):
        read_idx(path, axes=3)
