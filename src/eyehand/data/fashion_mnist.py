"""Fashion-MNIST: 70,000 pictures of clothes, 28 x 28, ten classes (Xiao et al., 2017).

https://arxiv.org/abs/1708.07747. The files are those of Debian's package ``dataset-fashion-mnist``,
in the IDX format of MNIST: a magic number with the type and the number of axes, the sizes, the
bytes.
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from eyehand.data.pictures import LabelledPictures
from eyehand.types import InputError

CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
INSTALL = "sudo apt-get install -y dataset-fashion-mnist"
UNSIGNED_BYTE = 0x08
"""The type in an IDX file's magic number."""


def fashion_mnist_folder() -> Path:
    """Return the folder of the files: ``EYEHAND_FASHION_MNIST``, or where Debian puts them.

    Raises:
        InputError: If there is none; the sentence says how to get it.
    """
    named = os.environ.get("EYEHAND_FASHION_MNIST")
    folder = Path(named or "/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        raise InputError(
            f"Fashion-MNIST is not in {folder}: `{INSTALL}`, or name the folder of its four files "
            "in EYEHAND_FASHION_MNIST."
        )
    return folder


def load_fashion_mnist() -> tuple[LabelledPictures, LabelledPictures]:
    """Return the 60,000 training and the 10,000 test pictures, one channel each.

    Raises:
        InputError: If the files are missing or damaged.
    """
    folder = fashion_mnist_folder()
    train, test = (
        LabelledPictures(
            image=read_idx(folder / f"{part}-images-idx3-ubyte.gz", axes=3)[..., None],
            label=read_idx(folder / f"{part}-labels-idx1-ubyte.gz", axes=1).astype(np.int64),
            classes=CLASSES,
        )
        for part in ("train", "t10k")
    )
    return train, test


def read_idx(path: Path, *, axes: int) -> UInt8[np.ndarray, "..."]:
    """Read a gzipped IDX file of bytes.

    Args:
        path: The file.
        axes: How many axes it must have.

    Raises:
        InputError: If the file is missing, truncated, or holds something else.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); get it anew: `{INSTALL}`.") from error
    start = 4 + 4 * axes
    if content[:4] != bytes([0, 0, UNSIGNED_BYTE, axes]) or len(content) < start:
        raise InputError(
            f"{path} is no IDX file of bytes with {axes} axes; it begins {content[:4]!r}."
        )
    shape = np.frombuffer(content[4:start], ">u4")
    if len(content) - start != math.prod(map(int, shape)):
        raise InputError(
            f"{path} holds {len(content) - start} bytes, and its head says {shape.tolist()}."
        )
    return np.frombuffer(bytearray(content[start:]), np.uint8).reshape(shape)  # torch writes too
