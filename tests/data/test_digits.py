import numpy as np
from sklearn import datasets

from eyehand.data.pictures import load_pictures


def test_digits_are_scikit_learns() -> None:
    train, test = load_pictures("digits")
    assert (len(train), len(test)) == (1437, 360)
    theirs = datasets.load_digits()
    assert test.image.shape == (360, 8, 8, 1)
    np.testing.assert_allclose(test.image[..., 0] * (16 / 255), theirs.images[-360:], atol=0.04)
    np.testing.assert_array_equal(test.label, theirs.target[-360:])
    assert set(train.label) == set(test.label) == set(range(10))
