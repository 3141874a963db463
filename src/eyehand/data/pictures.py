"""Pictures with labels: whole sets in memory, and endless batches cut from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from jaxtyping import Int64, Shaped, UInt8

from eyehand.data.augmentation import draw_shifts, shift_into
from eyehand.functional.names import unknown_name
from eyehand.types import InputError, PictureBatch

PICTURE_SETS = {
    "fashion-mnist": "eyehand.data.fashion_mnist:load_fashion_mnist",
    "digits": "eyehand.data.digits:load_digits",
}
"""Every set by its name: ``module:function`` that returns its training and its test part."""


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures, what each shows, and what the labels mean."""

    image: UInt8[np.ndarray, "picture height width channel"]
    label: Int64[np.ndarray, " label *place"]
    """Number of the class of a picture, or of each of its pixels."""
    classes: Sequence[str]
    """Name of every class."""

    def __post_init__(self) -> None:
        """Refuse labels that do not belong to the pictures.

        Raises:
            InputError: If there are not as many labels as pictures or pixels, or none, or one is
                no class.
        """
        if len(self.image) != len(self.label) or not len(self.label):
            raise InputError(
                f"there must be one label for every picture, and at least one; got "
                f"{len(self.label)} labels for {len(self.image)} pictures."
            )
        if self.label.ndim > 1 and self.label.shape != self.image.shape[:3]:
            raise InputError(
                f"labels of pixels must have the pictures' height and width; got "
                f"{self.label.shape} for pictures {self.image.shape}."
            )
        lowest, highest = int(self.label.min()), int(self.label.max())
        if lowest < 0 or highest >= len(self.classes):
            raise InputError(
                f"labels must be 0 to {len(self.classes) - 1}, the number of a class; got "
                f"{lowest} to {highest}."
            )

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.label)


Parts = tuple[LabelledPictures, LabelledPictures]
"""What to learn from, and what to be asked."""


def load_pictures(name: str) -> Parts:
    """Return the training and the test part of a set.

    Raises:
        InputError: If the set is unknown, not installed, or damaged.
    """
    if name not in PICTURE_SETS:
        raise InputError(unknown_name("set of pictures", name, PICTURE_SETS))
    module, function = PICTURE_SETS[name].split(":")
    load: Callable[[], Parts] = getattr(import_module(module), function)
    return load()


def every_picture(pictures: LabelledPictures, *, batch_size: int) -> Iterator[PictureBatch]:
    """Give all pictures once, in their order; the last batch may be smaller."""
    for start in range(0, len(pictures), batch_size):
        part = slice(start, start + batch_size)
        yield PictureBatch(
            torch.from_numpy(pictures.image[part]), torch.from_numpy(pictures.label[part])
        )


def picture_batches(
    pictures: LabelledPictures, *, batch_size: int, random_shift: int, seed: int, step: int,
    process_index: int = 0, process_count: int = 1,
) -> Iterator[PictureBatch]:  # fmt: skip
    """Give endless batches from a step on; batch i depends on the seed and on i alone.

    Every epoch is a new order of all pictures; what is left at its end is left out.

    Args:
        pictures: The set.
        batch_size: Pictures in a batch, over all processes together, at most as many as there are.
        random_shift: Largest shift of a picture and its labels, pixels; what comes in from outside
            repeats the edge.
        seed: Decides order and shifts.
        step: The first batch that is given.
        process_index: Which process this is.
        process_count: Processes that share each batch.

    Raises:
        InputError: If there are fewer pictures than a batch has, the processes cannot share it
            evenly, or a shift may be as large as a picture.

    Example:
        >>> four = LabelledPictures(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4), "abcd")
        >>> batch = next(picture_batches(four, batch_size=4, random_shift=1, seed=0, step=0))
        >>> sorted(batch.label.tolist())
        [0, 1, 2, 3]
    """
    if batch_size > len(pictures):
        raise InputError(
            f"a batch of {batch_size} pictures is more than the {len(pictures)} there are."
        )
    if batch_size % process_count:
        raise InputError(
            f"a batch of {batch_size} pictures cannot be shared by {process_count} processes: "
            "their number must divide it."
        )
    smallest = min(pictures.image.shape[1:3])
    if random_shift >= smallest:
        raise InputError(
            f"pictures of {smallest} pixels can be shifted by {smallest - 1} at most; got "
            f"{random_shift}."
        )
    share = batch_size // process_count
    rows = slice(process_index * share, (process_index + 1) * share)
    return _endless(pictures, batch_size, random_shift, seed, step, rows)


def _endless(
    pictures: LabelledPictures,
    batch_size: int,
    random_shift: int,
    seed: int,
    step: int,
    rows: slice,
) -> Iterator[PictureBatch]:
    per_epoch, ordered, order = len(pictures) // batch_size, -1, np.empty(0, np.int64)
    while True:
        epoch, place = divmod(step, per_epoch)
        if epoch != ordered:
            ordered, order = epoch, np.random.default_rng((seed, epoch)).permutation(len(pictures))
        chosen = np.sort(order[place * batch_size : (place + 1) * batch_size])[rows]
        drawn = int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(drawn)
        # Drawn for the whole batch, so that a row does not depend on how many processes share it.
        shifts = draw_shifts(batch_size, random_shift, generator=generator)[rows]
        image, label = (_shifted(part[chosen], shifts) for part in (pictures.image, pictures.label))
        yield PictureBatch(torch.from_numpy(image), torch.from_numpy(label))
        step += 1


def _shifted(
    values: Shaped[np.ndarray, " picture *place"], shifts: Int64[np.ndarray, "picture 2"]
) -> Shaped[np.ndarray, " picture *place"]:
    """Move rows and columns of every picture; labels of whole pictures stay."""
    if values.ndim == 1:
        return values
    moved = np.empty_like(values)
    for target, picture, (down, right) in zip(moved, values, shifts.tolist(), strict=True):
        shift_into(target, picture, down, right)
    return moved
