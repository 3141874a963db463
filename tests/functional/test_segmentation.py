import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from eyehand.functional.segmentation import confusion_matrix, segmentation_scores


@pytest.mark.parametrize("classes", [2, 5])
def test_matches_torchmetrics(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    label = torch.randint(classes, (3, 20, 30), generator=generator)
    other = torch.randint(classes, (3, 20, 30), generator=generator)
    predicted = torch.where(torch.rand(3, 20, 30, generator=generator) < 0.6, label, other)
    confusion = confusion_matrix(predicted, label, classes=classes)
    theirs = multiclass_confusion_matrix(predicted, label, num_classes=classes)
    assert torch.equal(confusion, theirs)
    scores = segmentation_scores(confusion)
    settings = {"num_classes": classes}
    want = (
        multiclass_accuracy(predicted, label, average="micro", **settings),
        multiclass_accuracy(predicted, label, average="macro", **settings),
        multiclass_jaccard_index(predicted, label, average="macro", **settings),
        multiclass_jaccard_index(predicted, label, average="weighted", **settings),
    )
    torch.testing.assert_close(torch.tensor(scores), torch.stack(want).float(), rtol=0, atol=1e-6)


def test_worked_by_hand() -> None:
    # Three classes, the third of which no pixel is, and one pixel is taken for.
    scores = segmentation_scores(torch.tensor([[5, 1, 0], [2, 1, 1], [0, 0, 0]]))
    assert scores.pixel_accuracy == pytest.approx(6 / 10)
    assert scores.mean_accuracy == pytest.approx((5 / 6 + 1 / 4) / 2)
    assert scores.mean_iou == pytest.approx((5 / 8 + 1 / 5) / 2)
    assert scores.frequency_weighted_iou == pytest.approx((6 * 5 / 8 + 4 * 1 / 5) / 10)


def test_matrices_of_parts_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    label, predicted = torch.randint(4, (2, 6, 7, 8), generator=generator)
    whole = confusion_matrix(predicted, label, classes=4)
    parts = sum(confusion_matrix(predicted[i], label[i], classes=4) for i in range(6))
    assert torch.equal(whole, torch.as_tensor(parts))


@pytest.mark.parametrize(("value", "sentence"), [(4, "0 to 3; got 4 to 4"), (-1, "got -1 to -1")])
def test_refuses_what_is_no_class(value: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        confusion_matrix(torch.tensor([value]), torch.tensor([0]), classes=4)
