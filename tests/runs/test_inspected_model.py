import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from eyehand.functional.picture import scale_image
from eyehand.models.vision import pretrained
from eyehand.runs.inspected_model import InspectedModel, find_inspected
from eyehand.types import InputError


def pictures(size: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


def find(
    name: str, *, image_size: int | None = None, channels: int | None = None
) -> InspectedModel:
    return find_inspected(
        name, pictures=pictures, image_size=image_size, channels=channels, batch=2
    )


@pytest.mark.parametrize(
    ("name", "shape"),
    [("lenet5", (2, 1, 32, 32)), ("mobilenet", (2, 3, 64, 64)), ("vit-tiny", (2, 3, 64, 64))],
)
def test_a_network_by_its_name(name: str, shape: tuple[int, ...]) -> None:
    subject = find(name, image_size=shape[-1])
    assert subject.eye is subject.module
    assert subject.image.shape == shape
    with torch.no_grad():
        assert len(subject.module(*subject.inputs)) == 2
    again = find(name, image_size=shape[-1])
    for ours, theirs in zip(subject.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["bcz", "mt50"])
def test_a_policy_is_run_by_its_loss_and_sees_by_its_encoder(name: str) -> None:
    subject = find(name)
    losses = subject.call(subject.module, *subject.inputs)
    assert losses["loss"].requires_grad
    assert subject.module.get_submodule(subject.eye_name) is subject.eye
    torch.testing.assert_close(
        subject.image, scale_image(pictures(subject.image.shape[-1], 2)), rtol=0, atol=0
    )
    maps = subject.eye(subject.image)
    assert len(maps[0]) == 2


def test_somebodys_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys_networks.py").write_text(
        "from torch import nn\n"
        "def build(): return nn.Conv2d(1, 2, 3)\n"
        "def other(): return 3\n"
        "def broken(): raise OSError('no weights')\n"
        "def leaves(): raise SystemExit('bye')\n"
        "def lazy(): return nn.LazyConv2d(2, 3)\n"
        "def half(): return nn.Conv2d(3, 2, 3).bfloat16()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    subject = find("somebodys_networks:build", image_size=16, channels=1)
    assert subject.image.shape == (2, 1, 16, 16)
    assert isinstance(subject.module, nn.Conv2d)
    assert find("somebodys_networks:half", image_size=16).image.dtype == torch.bfloat16
    for factory, sentence in (
        ("other", "must return a torch.nn.Module; it returned int"),
        ("broken", "OSError: no weights"),
        ("leaves", "SystemExit: bye"),
        ("lazy", "LazyConv2d has layers that do not know their size yet"),
        ("missing", "has no attribute 'missing'"),
    ):
        with pytest.raises(InputError, match=sentence):
            find(f"somebodys_networks:{factory}")


def test_a_model_of_timm_has_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def create_model(name: str, **settings: object) -> nn.Module:
        asked.append((name, settings))
        return nn.Conv2d(3, 4, 3)

    timm = ModuleType("timm")
    timm.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert find("timm:resnet18", image_size=32).image.shape == (2, 3, 32, 32)
    assert asked == [("resnet18", {"pretrained": False})]
    assert pretrained.build_timm("resnet18").out_channels == 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnet", r"no model 'resnet'\. Did you mean 'resnet\d+'.*module:factory"),
        ("no_such_module:build", "no_such_module"),
        ("vgg11:", "module:factory"),
    ],
)
def test_what_is_nothing_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        find(name)


def test_a_network_made_for_inference_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inference_networks.py").write_text(
        "import torch\n"
        "def build():\n"
        "    with torch.inference_mode():\n"
        "        return torch.nn.Conv2d(3, 2, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(InputError, match=r"made in torch\.inference_mode"):
        find("inference_networks:build")


def test_a_folder_that_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"is no checkpoint: it has no config\.json"):
        find(str(tmp_path))
    (tmp_path / "lenet5").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find("lenet5").image.shape == (2, 1, 32, 32)  # a folder does not hide a name of ours


def test_what_is_asked_for_in_vain_is_refused() -> None:
    with pytest.raises(InputError, match="bcz reads pictures of its own size"):
        find("bcz", image_size=64)
    assert find("mobilenet", image_size=32, channels=4).image.shape == (2, 4, 32, 32)
