from itertools import islice

import numpy as np
import pytest
import torch

from eyehand.data.pictures import LabelledPictures, every_picture, load_pictures, picture_batches
from eyehand.types import InputError


def numbered(count: int = 10, size: int = 6) -> LabelledPictures:
    """LabelledPictures whose first pixel says which they are, labels of every pixel."""
    image = np.random.default_rng(0).integers(0, 200, (count, size, size, 1)).astype(np.uint8)
    return LabelledPictures(image, image[..., 0].astype(np.int64), [str(n) for n in range(200)])


def test_an_epoch_has_every_picture_once_and_the_next_another_order() -> None:
    pictures = LabelledPictures(np.zeros((12, 4, 4, 1), np.uint8), np.arange(12), "abcdefghijkl")
    batches = picture_batches(pictures, batch_size=4, random_shift=0, seed=3, step=0)
    first, second = (torch.cat([b.label for b in islice(batches, 3)]).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_a_batch_depends_on_its_number_alone() -> None:
    settings = {"batch_size": 3, "random_shift": 2, "seed": 1}
    whole = list(islice(picture_batches(numbered(), step=0, **settings), 8))
    later = next(picture_batches(numbered(), step=7, **settings))
    assert torch.equal(whole[7].image, later.image)
    assert torch.equal(whole[7].label, later.label)
    other = next(picture_batches(numbered(), step=7, **{**settings, "seed": 2}))
    assert not torch.equal(other.image, later.image)


def test_processes_share_a_batch() -> None:
    settings = {"batch_size": 4, "random_shift": 2, "seed": 1, "step": 5}
    whole = next(picture_batches(numbered(), **settings))
    shares = [
        next(picture_batches(numbered(), process_index=index, process_count=2, **settings))
        for index in range(2)
    ]
    assert torch.equal(torch.cat([share.image for share in shares]), whole.image)
    assert torch.equal(torch.cat([share.label for share in shares]), whole.label)
    with pytest.raises(InputError, match="cannot be shared by 3 processes"):
        picture_batches(numbered(), process_count=3, **settings)


def test_labels_of_pixels_move_with_their_pictures() -> None:
    batch = next(picture_batches(numbered(), batch_size=10, random_shift=3, seed=0, step=0))
    assert torch.equal(batch.image[..., 0].long(), batch.label)
    still = next(picture_batches(numbered(), batch_size=10, random_shift=0, seed=0, step=0))
    assert not torch.equal(batch.image, still.image)
    assert torch.equal(still.image, torch.from_numpy(numbered().image))


def test_shift_repeats_the_edge() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1)
    pictures = LabelledPictures(image, np.array([0]), ["one"])
    seen = {
        tuple(batch.image.flatten().tolist())
        for batch in islice(
            picture_batches(pictures, batch_size=1, random_shift=1, seed=0, step=0), 60
        )
    }
    assert (0, 0, 1, 0, 0, 1, 3, 3, 4) in seen  # one down and one to the right
    assert len(seen) == 9


def test_every_picture_is_asked_once_in_order() -> None:
    batches = list(every_picture(numbered(7), batch_size=3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([b.image for b in batches]), torch.from_numpy(numbered(7).image))


@pytest.mark.parametrize(
    ("count", "labels", "sentence"),
    [
        (3, [0, 1], "2 labels for 3 pictures"),
        (0, [], "0 labels for 0 pictures"),
        (2, [0, 2], "0 to 1, the number of a class; got 0 to 2"),
        (2, [-1, 0], "got -1 to 0"),
    ],
)
def test_refuses_labels_that_do_not_fit(count: int, labels: list[int], sentence: str) -> None:
    image = np.zeros((count, 4, 4, 1), np.uint8)
    with pytest.raises(InputError, match=sentence):
        LabelledPictures(image, np.array(labels, np.int64), ["a", "b"])


def test_refuses_labels_of_pixels_of_another_size() -> None:
    image = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(InputError, match="must have the pictures' height and width"):
        LabelledPictures(image, np.zeros((2, 4, 5), np.int64), "a")


def test_refuses_a_batch_that_is_larger_than_the_set() -> None:
    with pytest.raises(InputError, match="11 pictures is more than the 10"):
        next(picture_batches(numbered(), batch_size=11, random_shift=0, seed=0, step=0))


def test_unknown_set() -> None:
    with pytest.raises(InputError, match=r"'digit'\. Did you mean 'digits'\?"):
        load_pictures("digit")
