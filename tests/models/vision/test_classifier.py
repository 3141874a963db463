import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyehand.models.vision.classifier import AUXILIARY_WEIGHT, Classifier
from eyehand.types import PictureBatch


def pictures(size: int = 8, *, pixels: bool = False) -> PictureBatch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (6, size, size, 3), generator=generator, dtype=torch.uint8)
    shape = (6, size, size) if pixels else (6,)
    return PictureBatch(image, torch.randint(4, shape, generator=generator))


def test_the_network_sees_scaled_pictures_from_minus_one_to_one() -> None:
    seen: list[Tensor] = []

    class Watcher(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            seen.append(image)
            return image.mean(dim=(2, 3))

    image = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)[None, :, :, None]
    Classifier(Watcher(), image_size=None)(image)
    assert seen[0].tolist() == [[[[-1, 1], [1, -1]]]]
    Classifier(Watcher(), image_size=5)(image)
    assert seen[1].shape == (1, 1, 5, 5)


def test_loss_is_the_cross_entropy_of_pictures_and_of_pixels() -> None:
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    for network, batch in (
        (whole, pictures()),
        (nn.Conv2d(3, 4, 3, padding=1), pictures(pixels=True)),
    ):
        classifier = Classifier(network, image_size=None)
        logits = classifier(batch.image)
        losses = classifier.loss(batch)
        torch.testing.assert_close(losses["loss"], F.cross_entropy(logits, batch.label))
        assert losses["error"] == (logits.argmax(1) != batch.label).float().mean()


def test_auxiliary_classifiers_count_less() -> None:
    class Three(nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x = image.flatten(1)[:, :4]
            return x, 2 * x, -x

    batch = pictures()
    classifier = Classifier(Three(), image_size=None)
    logits = classifier(batch.image)
    main, *others = (F.cross_entropy(x, batch.label) for x in logits)
    torch.testing.assert_close(
        classifier.loss(batch)["loss"], main + AUXILIARY_WEIGHT * (others[0] + others[1])
    )


@pytest.mark.parametrize("pixels", [False, True])
def test_confusion_counts_every_answer_in_evaluation_mode(pixels: bool) -> None:
    torch.manual_seed(0)
    network = (
        nn.Sequential(nn.Dropout(0.9), nn.Conv2d(3, 4, 3, padding=1))
        if pixels
        else nn.Sequential(nn.Dropout(0.9), nn.Flatten(), nn.Linear(192, 4))
    )
    batch = pictures(pixels=pixels)
    classifier = Classifier(network, image_size=None).train()
    confusion = classifier.confusion([batch, batch], classes=4)
    answer = classifier.eval()(batch.image).argmax(dim=1)
    assert confusion.sum() == 2 * batch.label.numel()
    assert confusion.diagonal().sum() == 2 * (answer == batch.label).sum()
    assert confusion[1, 2] == 2 * ((batch.label == 1) & (answer == 2)).sum()
