"""scikit-learn's digits: 1,797 handwritten digits, 8 x 8, in 17 greys; no download, no file."""

import numpy as np

from eyehand.data.pictures import LabelledPictures
from eyehand.types import InputError

TEST_PICTURES = 360
"""The last ones; scikit-learn has no split of its own, and neighbours may be by the same hand."""


def load_digits() -> tuple[LabelledPictures, LabelledPictures]:
    """Return 1,437 training and 360 test pictures, one channel each.

    Raises:
        InputError: If scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise InputError(
            "the digits come with scikit-learn: `pip install scikit-learn`."
        ) from error
    found = datasets.load_digits()
    image = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    label = found.target.astype(np.int64)
    classes = [str(digit) for digit in range(10)]
    return LabelledPictures(
        image[:-TEST_PICTURES], label[:-TEST_PICTURES], classes
    ), LabelledPictures(image[-TEST_PICTURES:], label[-TEST_PICTURES:], classes)
